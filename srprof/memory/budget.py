"""The largest size within a budget: searches over a row of growing sizes, by index from 0.

Each size that is asked for costs a trace, so the searches guess from what they know: activations
grow with the image's area, and the most of several such sums is the peak. No torch.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

#: Bytes at an index of the row; infinite where no such size can be.
Bytes = Callable[[int], float]
#: What the bytes grow with, about in proportion: pixels, or images of a batch.
Area = Callable[[int], float]

#: The second index that is asked for, and how much farther than known a guess may go.
_SECOND = 32
_FARTHER = 16


def largest_growing(needs: Bytes, budget: int, area: Area, end: int) -> int | None:
    """The last index within the budget; None if the first is over it.

    Args:
        needs: bytes, which never fall from one index to the next.
        area: only where to look depends on it, not what is found.
        end: the first index that is not to be tried, at least 1.
    """
    known = {0: needs(0)}
    if known[0] > budget:
        return None
    low, high, turn = 0, end, 0
    while high - low > 1:
        guess = _guess(known, low, high, budget, area, turn)
        known[guess] = needs(guess)
        low, high = (guess, high) if known[guess] <= budget else (low, guess)
        turn += 1
    return low


def largest_within(needs: Bytes, bound: Bytes, budget: int, area: Area, end: int) -> int | None:
    """The last index within the budget, of bytes that may fall from one index to the next.

    An allocator's blocks do not fit each size alike. So all indices above the one that is found,
    up to where the bound is over the budget, were asked for.

    Args:
        needs: bytes, at no index less than the bound.
        bound: bytes that never fall from one index to the next.
    """
    top = largest_growing(bound, budget, area, end)
    if top is None:
        return None
    return next((index for index in range(top, -1, -1) if needs(index) <= budget), None)


def _guess(known: dict[int, float], low: int, high: int, budget: int, area: Area, turn: int) -> int:
    """Where the budget may end, between low, which is within it, and high, which is not."""
    if high not in known:  # nothing was over the budget yet: go on from the last two
        farthest = min(high - 1, max(_SECOND, _FARTHER * low))
        earlier = max((index for index in known if index < low), default=None)
        if earlier is None:
            return farthest
        return max(_line(known, earlier, low, budget, area, farthest), low + 1)
    if turn % 4 == 3 or known[high] == float("inf"):  # bends can make lines creep
        return (low + high) // 2
    return max(_line(known, low, high, budget, area, high - 1), low + 1)


def _line(
    known: dict[int, float], first: int, second: int, budget: int, area: Area, most: int
) -> int:
    """The last index up to `most` at which the line through two is within the budget."""
    rise = known[second] - known[first]
    if rise <= 0:
        return most
    width = area(second) - area(first)
    limit = area(first) + width * (budget - known[first]) / rise
    return first + bisect_right(range(first + 1, most + 1), limit, key=area)
