"""Levels of leanness, and the passes that each is made of. No torch: `--help` names them."""

from __future__ import annotations

from typing import Literal, get_args

from srprof.errors import InputError
from srprof.words import did_you_mean

#: What a form is chosen for: the lowest peak, the least time, or the least product of the two.
Objective = Literal["memory", "time", "both"]
#: What runs a plan.
Backend = Literal["eager", "inductor", "cudagraph"]
OBJECTIVES, BACKENDS = get_args(Objective), get_args(Backend)

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
    "constants": "what weights and sizes alone decide is made once and kept",
    "layout": "maps have their channels innermost, from the first convolution to the last",
    "widths": "channels are filled up to what the device's kernels want",
    "biases": "biases are among the weights of filled channels, and no calls of their own",
    "steps": "the bias and element-wise calls after a convolution are one call",
    "in-place": "an element-wise call writes into an argument that is needed no longer",
    "schedule": "independent calls in the order with the lowest peak",
}


def check_one(what: str, value: str, known: tuple[str, ...]) -> None:
    """Raise `InputError` for what is none of these."""
    if value not in known:
        hint = did_you_mean(value, known)
        raise InputError(f"{what} {value!r} is none of {', '.join(known)}{hint}")


def check_level(level: str) -> None:
    """Raise `InputError` for what is no level."""
    if level not in LEVELS:
        raise InputError(f"level {level!r} is none; there are {' and '.join(LEVELS)}")
