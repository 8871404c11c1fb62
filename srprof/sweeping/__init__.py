"""Sweeps: a network at every point of a grid; torch is only loaded where rows are computed."""
