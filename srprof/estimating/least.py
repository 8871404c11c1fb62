"""From which size on a graph's functions hold. No torch."""

from __future__ import annotations

from collections.abc import Callable

from srprof.errors import InputError, ModelError
from srprof.estimating.graphs import FIRST, Builder, Fitted
from srprof.tiling.sizes import SizeRule


def least(builder: Builder, fitted: Fitted, dtype: str, rule: SizeRule) -> int:
    """The smallest side from which on the functions hold.

    By bisection of squares, of which many were traced before; then beside a long side.
    """

    def holds(*size: int) -> bool:
        try:
            sample = builder.sample(dtype, 1, *size)
        except (InputError, ModelError):
            return False
        return sample.script.graph == fitted.script.graph and builder.holds(fitted.forms, sample)

    def square(side: int) -> bool:
        return holds(side, side)

    def beside(side: int) -> bool:
        other = builder.at_least(max(FIRST[0][1], side))
        return holds(side, other) and holds(other, side)

    def first(low: int, high: int, *conditions: Callable[[int], bool]) -> int:
        """The first index behind `low` of which all hold, as they do of `high`."""
        while high - low > 1:
            middle = (low + high) // 2
            good = all(condition(rule.side(middle)) for condition in conditions)
            low, high = (low, middle) if good else (middle, high)
        return high

    if rule.step is None or (square(rule.least) and beside(rule.least)):
        return rule.least
    most = rule.index(builder.at_least(FIRST[0][0]))
    traced = {s.size[1] for s in builder.samples.values() if s.size == (1, s.size[1], s.size[1])}
    known = sorted(side for side in traced if rule.least < side <= rule.side(most))
    start = next((rule.index(side) for side in known if square(side)), most)
    found = first(0, start, square)
    if not beside(rule.side(found)):
        found = first(found, most, square, beside)
    return rule.side(found)
