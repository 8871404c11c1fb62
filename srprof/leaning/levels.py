"""Levels of leanness, and the passes that each is made of. No torch: `--help` names them."""

from __future__ import annotations

from srprof.errors import InputError

#: Levels, with the passes of each in order.
LEVELS = {
    "exact": ("release", "in-place", "schedule"),
    "equivalent": ("release", "fold-bn", "split-fusion", "in-place", "schedule"),
}

#: What each does, in a line.
MEANING = {
    "release": "a value is dropped after its last use",
    "fold-bn": "batch norms become part of the convolutions before them",
    "split-fusion": "a concatenation before a 1x1 convolution becomes a sum of partial ones",
    "in-place": "an element-wise call writes into an argument that is needed no longer",
    "schedule": "independent calls in the order with the lowest peak",
}


def check_level(level: str) -> None:
    """Raise `InputError` for what is no level."""
    if level not in LEVELS:
        raise InputError(f"level {level!r} is none; there are {' and '.join(LEVELS)}")
