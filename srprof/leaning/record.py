"""What each pass of a lean network saves, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srprof.shown import Shown

if TYPE_CHECKING:
    from srprof.analysis import Analysis
    from srprof.leaning.module import Lean
    from srprof.tiling.locality import Locality


@dataclass(frozen=True)
class Stage:
    """The network after a pass and all before it.

    Attributes:
        name: of the pass; "eager" is the network as it is.
        peaks: bytes by kind of peak, as `memory.peak` of `analyze --format json`.
        seconds: predicted for the profile's device; None without one.
    """

    name: str
    peaks: Mapping[str, int]
    seconds: float | None = None


@dataclass(frozen=True, repr=False)
class Savings(Shown):
    """What each pass saves at one input.

    Attributes:
        stages: the network as it is, then one for each pass in order.
        before, after: analyses of the first and the last.
        lean: the network made so, on the CPU; without tiles.
        tiling: what is known of the network's halo, if it was to run in tiles.
        objective: what was to be least on the profile's device.
        ended: calls before which filled channels had to end, as they mix or count them.
        bound: bytes below which no order of the lean network's calls, with what they may overwrite,
            has its eager peak; None in tiles.
    """

    stages: tuple[Stage, ...]
    before: Analysis
    after: Analysis
    lean: Lean
    tiling: Locality | None = None
    objective: str = "both"
    ended: tuple[str, ...] = ()
    bound: int | None = None

    view = "lean"

    @property
    def gap(self) -> float | None:
        """By what share of the bound the lean peak lies above it."""
        return self.bound and self.stages[-1].peaks["eager"] / self.bound - 1
