"""Advice: changes of a network's source that lower its peak, each tried on the recorded run.

`source.py` reads the functions' statements, `replay.py` changes a record as an edit of the source
would, `candidates.py` finds edits, `search.py` picks them; none of these imports torch. `run.py`
records a network and asks them. What an edit writes is data (`rewrite.py`); `editing.py` carries it
out by libcst, `patching.py` in the user's files.
`widths.py` traces the same network at other widths, for what a device would take.
"""
