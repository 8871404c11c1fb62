"""A calibration: what was timed, and the profile that was fitted to it. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from srprof.cost.classes import NodeCost
from srprof.cost.fitting import Fit
from srprof.cost.profiles import Profile
from srprof.measuring.statistics import quantile
from srprof.shown import Shown


@dataclass(frozen=True)
class Timed:
    """One bench: its nodes' costs, and samples, seconds of one call each, by round."""

    name: str
    group: str
    costs: tuple[NodeCost, ...]
    samples: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """The lower quartile: other programs only ever add, and to a part of the samples."""
        return quantile(sorted(self.samples), 0.25)

    @property
    def spread(self) -> float:
        """The interquartile range of the samples, relative to their median."""
        ordered = sorted(self.samples)
        return (quantile(ordered, 0.75) - quantile(ordered, 0.25)) / quantile(ordered, 0.5)

    @property
    def work(self) -> float:
        """FLOPs of a product, else bytes moved."""
        flops = sum(cost.flops for cost in self.costs)
        return flops or sum(cost.read + cost.written for cost in self.costs)


@dataclass(frozen=True, repr=False)
class Calibration(Shown):
    """A device's profile and what it was made from: what was timed, `rounds` times, and the fit."""

    view = "calibration"

    roofs: tuple[Timed, ...]
    benches: tuple[Timed, ...]
    fit: Fit
    rounds: int

    @property
    def profile(self) -> Profile:
        """What was made."""
        return self.fit.profile

    @cached_property
    def spread(self) -> float:
        """The spread of the median bench."""
        return median(timed.spread for timed in (*self.roofs, *self.benches))


def errors(predicted: Sequence[float], benches: Sequence[Timed]) -> Mapping[str, float]:
    """The median of |predicted / measured - 1| by group of benches."""
    by_group: dict[str, list[float]] = {}
    for seconds, timed in zip(predicted, benches, strict=True):
        by_group.setdefault(timed.group, []).append(abs(seconds / timed.seconds - 1))
    return {group: median(members) for group, members in by_group.items()}
