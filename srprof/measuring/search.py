"""The largest input that still fits."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

from srprof.inputs import TensorSpec

#: Sides are tried in multiples of this, which most networks' strides and windows divide.
_STEP = 16


def largest_that_fits(fits: Callable[[int], bool], below: int) -> int | None:
    """The largest size from 1 on that fits, by bisection; None if none does.

    What is larger than a size that does not fit must not fit either, nor must `below`. `fits` is
    asked about log2(below) times, and about sizes near 1 only if it must be.
    """
    return bisect_left(range(1, below), True, key=lambda size: not fits(size)) or None


def largest_image(
    args: Sequence[Any], fits: Callable[[tuple[int, ...]], bool]
) -> tuple[int, ...] | None:
    """The largest image (n, c, h, w) of nearly the same proportions that `fits`.

    There is an answer only where the arguments of the call that did not fit are one image.
    """
    if len(args) != 1 or not isinstance(args[0], TensorSpec) or len(args[0].shape) != 4:
        return None
    images, channels, height, width = args[0].shape

    def shape(steps: int) -> tuple[int, ...]:
        columns = max(1, round(steps * width / height))
        return images, channels, steps * _STEP, columns * _STEP

    steps = largest_that_fits(lambda steps: fits(shape(steps)), -(-height // _STEP))
    return None if steps is None else shape(steps)
