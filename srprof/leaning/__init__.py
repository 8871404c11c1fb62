"""Lean: the same outputs in less memory. Called `leaning` because `srprof.lean` is the function.

`capture` makes a graph of a network, `rewriting` replaces parts of it, `liveness` reads off which
storages its steps make and read, `schedule` decides order and in-place writes on that, `source`
writes the result as Python, and `module` runs it.
"""
