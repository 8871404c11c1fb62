"""Which image sizes a network takes, found by trying. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: Sides that are tried first: multiples of many numbers, large enough for most networks.
_LIKELY = (256, 240, 252, 512)
#: And then these, for networks of one size.
_OTHERS = range(8, 513, 8)


@dataclass(frozen=True, slots=True)
class SizeRule:
    """The heights and widths that a network takes: `least`, and on in steps of `step`.

    Attributes:
        least: LR pixels of the smallest; step: None if there is no other.
    """

    least: int
    step: int | None

    def side(self, index: int) -> int:
        """The side of this index, from 0; a fixed size has one only."""
        return self.least + index * (self.step or 0)

    def index(self, side: int) -> int:
        """Index of the largest side that is no larger than this, at least 0."""
        return 0 if self.step is None else max(0, (side - self.least) // self.step)

    def at_least(self, side: int) -> int:
        """The smallest side that is no smaller than this; the fixed one if there is no other."""
        step = self.step or 1
        return self.least + max(0, -(-(side - self.least) // step)) * (self.step or 0)

    def __str__(self) -> str:
        if self.step is None:
            return f"images of {self.least}x{self.least} only"
        if self.step == 1:
            return f"every side from {self.least} pixels on"
        return f"sides of {self.side(0)}, {self.side(1)}, {self.side(2)}, ... pixels"

    @property
    def aligned(self) -> bool:
        """Whether the sides are multiples of the step."""
        return self.step is not None and self.least % self.step == 0


def size_rule(takes: Callable[[int], bool], first: tuple[int, ...] = ()) -> SizeRule | None:
    """The sides of square images that a network takes; None if it takes none that was tried.

    It is assumed that it takes all from a smallest on, in steps of one length. So the step is
    sought above a side that it takes, up to twice that side, and the smallest by bisection.

    Args:
        takes: whether it takes a square image of this side.
        first: sides to try before others.
    """
    base = next((side for side in (*first, *_LIKELY, *_OTHERS) if takes(side)), None)
    if base is None:
        return None
    step = next((d for d in range(1, max(base, 64) + 1) if takes(base + d)), None)
    if step is None:
        return SizeRule(base, None)
    smallest = base % step or step
    low, high = -1, (base - smallest) // step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if takes(smallest + middle * step) else (middle, high)
    return SizeRule(smallest + high * step, step)
