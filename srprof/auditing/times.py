"""Per-image times: which image took longer than its size explains. Pure functions, numpy alone.

The sizes of a challenge's images are often not public, but all its networks ran the same ones. So
what an image should take in a row is what that row's other images took which take other rows as
long as this one does. A first image that was cold tells nothing of its size, so those that a row's
own list shows are found first, and then the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Times = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: Images to each side, in the order of another row's times, that say what an image should take.
_NEAR = 5
#: Of what the other rows say. A quarter may be below: chance slows images and speeds none up.
_LOW = 0.25
#: With fewer rows a list only has its own median to say what an image should take.
FEWEST = 3
#: By how much the first image's excess is more than any other's, if the program was cold.
_COLD = 1.25
#: Robust standard deviations, and the share of what it should take, by which an image is too slow.
_SIGMAS, _SHARE = 10.0, 1.0


@dataclass(frozen=True, slots=True)
class Slow:
    """What is out of line in one list of times.

    Attributes:
        expected: ms of the first image by the others; cold: it took more than twice as long, and
            exceeds that by more than any other image does.
        outliers: indices of images that took more than twice as long as expected, without a cold
            first one.
    """

    expected: float
    cold: bool
    outliers: tuple[int, ...]


def slow(times: Times) -> tuple[Slow, ...]:
    """What is out of line in each row; times are (rows, images), in ms, of the same images."""
    expected = np.broadcast_to(np.median(times, axis=1, keepdims=True), times.shape)
    cold = _cold(times, expected)
    rows, images = times.shape
    if rows >= FEWEST and images > 2 * _NEAR + 1:
        # or it is as large, which every other row then says
        cold &= _too_slow(times, _expected(times, np.zeros_like(cold), low=0.0))[:, 0]
        for _ in range(rows):  # each that is found frees the others of what it said
            expected = _expected(times, cold)
            before, cold = cold, cold | _cold(times, expected)
            if (before == cold).all():
                break
    outliers = _too_slow(times, expected)
    outliers[cold, 0] = False
    return tuple(
        Slow(float(row[0]), bool(first), tuple(map(int, np.flatnonzero(far))))
        for row, first, far in zip(expected, cold, outliers, strict=True)
    )


def _too_slow(times: Times, expected: Times) -> Flags:
    """The images that took more than twice as long as expected, and beyond the row's noise."""
    excess = times - expected
    middle = np.median(excess, axis=1, keepdims=True)
    sigma = 1.4826 * np.median(np.abs(excess - middle), axis=1, keepdims=True)
    found: Flags = (excess > _SIGMAS * sigma) & (excess > _SHARE * expected)
    return found


def _cold(times: Times, expected: Times) -> Flags:
    """The rows whose first image is too slow, and by more than any other image."""
    excess = times - expected
    most = excess[:, 1:].max(axis=1, initial=0.0)
    found: Flags = _too_slow(times, expected)[:, 0] & (excess[:, 0] > _COLD * most)
    return found


def _expected(times: Times, cold: Flags, low: float = _LOW) -> Times:
    """What each image should take, (rows, images), by the rows whose first image is not cold.

    Of what they say it is that which a share of them, `low`, is below; where all say nothing of an
    image, the row's median.
    """
    by_row = np.stack([_by(row, times, first) for row, first in zip(times, cold, strict=True)])
    found = np.empty_like(times)
    for row, own in enumerate(times):
        others = np.delete(by_row[:, row], row, axis=0)
        told = ~np.isnan(others).all(axis=0)
        found[row] = np.median(own)
        found[row, told] = np.nanquantile(others[:, told], low, axis=0)
    return found


def _by(reference: Times, times: Times, cold: np.bool_) -> Times:
    """What each image should take in each row, by one row's times of the same images."""
    order = np.argsort(reference, kind="stable")
    found = np.full_like(times, np.nan)
    if cold:
        order = order[order != 0]
    near = np.median(sliding_window_view(times[:, order], 2 * _NEAR + 1, axis=1), axis=2)
    middles = np.clip(np.arange(order.size), _NEAR, order.size - _NEAR - 1)
    found[:, order] = near[:, middles - _NEAR]
    # beyond the last window an image is larger than what it is compared with
    last = order[-_NEAR:]
    found[:, last] *= reference[last] / reference[order[-_NEAR - 1]]
    return found
