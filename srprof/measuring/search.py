"""The largest input that still fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from srprof.inputs import TensorSpec

#: Sides are tried in multiples of this, which most networks' strides and windows divide.
_STEP = 16


def largest_that_fits(fits: Callable[[int], bool], below: int) -> int | None:
    """The largest size from 1 on that fits, by bisection; None if none does.

    Args:
        fits: whether a size fits; what is larger than a size that does not, does not either. It
            is asked about log2(below) times, and about sizes near 1 only if it must be.
        below: a size known not to fit, or the first one not to be tried.
    """
    largest, too_large = 0, below
    while too_large - largest > 1:
        size = (largest + too_large) // 2
        if fits(size):
            largest = size
        else:
            too_large = size
    return largest or None


def largest_image(
    args: Sequence[Any], fits: Callable[[tuple[int, ...]], bool]
) -> tuple[int, ...] | None:
    """The largest image (n, c, h, w) of nearly the same proportions that fits.

    Args:
        args: of the call that did not fit; with anything but one image there is no answer.
        fits: whether an image of a shape does.
    """
    if len(args) != 1 or not isinstance(args[0], TensorSpec) or len(args[0].shape) != 4:
        return None
    images, channels, height, width = args[0].shape

    def shape(steps: int) -> tuple[int, ...]:
        columns = max(1, round(steps * width / height))
        return images, channels, steps * _STEP, columns * _STEP

    steps = largest_that_fits(lambda steps: fits(shape(steps)), -(-height // _STEP))
    return None if steps is None else shape(steps)
