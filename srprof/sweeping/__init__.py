"""Sweeps: a network at every point of a grid of arguments and inputs.

`grid.py` reads what is asked for, `journal.py` keeps each finished row at once, `worker.py`
computes rows in other processes, `run.py` brings them together. None of them loads torch in the
process that asks.
"""
