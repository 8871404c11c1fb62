"""Places with their doubt: how a ranking by mean times would come out with other images.

A bootstrap over images. All rows ran the same ones, so a resample draws images and not times:
what a large image adds to one row it adds to all. Pure functions, numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Resamples, the seed by which they are drawn, and what an interval leaves out at each end.
RESAMPLES = 10_000
_SEED = 20260
_TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Place:
    """A place, 1 the best, and the interval in which 95 % of the resamples have it."""

    place: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Unsettled:
    """Two rows, by index, of which the slower is faster in more than 2.5 % of the resamples."""

    first: int
    second: int
    reversed: float


def resampled_means(lists: Sequence[Sequence[float]]) -> Array:
    """Mean times of resamples, (resamples, rows).

    Rows with as many images ran the same ones and are drawn together, other ones by themselves.
    A NaN is an image that does not count.
    """
    means = np.empty((RESAMPLES, len(lists)))
    for size in {len(times) for times in lists}:
        rows = [row for row, times in enumerate(lists) if len(times) == size]
        drawn = np.random.default_rng([_SEED, size]).multinomial(
            size, np.full(size, 1 / size), size=RESAMPLES
        )
        times = np.array([lists[row] for row in rows])
        counted = ~np.isnan(times)
        means[:, rows] = (drawn @ np.where(counted, times, 0).T) / (drawn @ counted.T)
    return means


def places(values: Sequence[float], resampled: Array) -> tuple[Place, ...]:
    """The place of each row by its value, the lower the better, with its interval."""
    ranks = np.argsort(np.argsort(resampled, axis=1), axis=1) + 1
    ends = np.quantile(ranks, (_TAIL, 1 - _TAIL), axis=0, method="nearest").astype(int)
    here = [1 + sum(other < value for other in values) for value in values]
    return tuple(map(Place, here, map(int, ends[0]), map(int, ends[1])))


def unsettled(values: Sequence[float], resampled: Array) -> tuple[Unsettled, ...]:
    """The pairs of rows whose order the images do not settle, the best first."""
    order = np.argsort(values, kind="stable")
    found = []
    for n, first in enumerate(order):
        for second in order[n + 1 :]:
            turned = float(np.mean(resampled[:, second] <= resampled[:, first]))
            if turned > _TAIL:
                found.append(Unsettled(int(first), int(second), turned))
    return tuple(found)
