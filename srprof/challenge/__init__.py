"""Challenges as they are held: each year's rules, their results, and the scripts that made these."""
