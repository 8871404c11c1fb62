"""Hostile input for `srprof.cli.main`: arguments, files, and networks of misbehaving parts.

`folder.py` has whole files of each kind, small enough that a command on one takes milliseconds; a
case is one command on copies of them, of which something is spoilt. `tests/integration/bad_input/
test_fuzz.py` runs some of each kind, and `benchmarks/fuzz.py` as many as one likes.
"""
