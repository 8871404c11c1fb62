"""The NTIRE challenges on efficient super-resolution: rules by year, results, and their scripts."""
