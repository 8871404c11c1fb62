"""The NTIRE challenges on efficient super-resolution: each year's rules, and what it published."""
