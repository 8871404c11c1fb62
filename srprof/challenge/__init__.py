"""Challenges as they are held: their rules by year, their results, and the scripts behind them."""
