"""Challenges as they are held: their results, and the scripts that made these. No torch here."""
