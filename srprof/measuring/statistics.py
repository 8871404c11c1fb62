"""What a set of timings says, and how far it can be trusted.

The habit is that of `torch.utils.benchmark`: raw samples are kept, a summary names its own
doubts, and no more digits are shown than the samples support. All that a summary says is written
to one decimal place, so that a median lies within its quartiles when both are read. Only the
standard library here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb, floor, isfinite, log10

#: Share of the median above which the interquartile range is too wide to compare two models by.
WIDE_SPREAD = 0.1
#: With fewer samples no pair of them encloses the median with 95 % certainty: 1 - 2 / 2^5 = 0.94.
FEWEST = 6
#: Timers are good for no more; figures where nobody knows how many there are.
MOST_FIGURES, USUAL_FIGURES = 6, 3

#: The doubts that a summary may name, and what helps.
DOUBTS = {
    "few samples": f"fewer than {FEWEST} samples give no 95 % interval: raise --repeat",
    "wide spread": f"the interquartile range is over {WIDE_SPREAD:.0%} of the median: close other "
    "programs, hold the clocks, or raise --repeat",
}


@dataclass(frozen=True, slots=True)
class Summary:
    """What the samples say, in their own unit.

    Attributes:
        median, mean: of all samples. q1, q3: the quartiles, interpolated linearly.
        interval: lowest and highest value that the median may have with 95 % certainty, whatever
            the distribution: two of the samples, by their rank. None with too few of them.
        figures: significant figures of the median that are written; None where there is no
            interval that supports them.
        doubts: keys of `DOUBTS`.
    """

    count: int
    median: float
    mean: float
    q1: float
    q3: float
    interval: tuple[float, float] | None
    figures: int | None
    doubts: tuple[str, ...]

    @property
    def iqr(self) -> float:
        """The interquartile range."""
        return self.q3 - self.q1

    @property
    def place(self) -> int:
        """The decimal place to which all of these are written: 0 for ones, -1 for tenths.

        That of the first figure of the interval's width. Of each of them a figure is left.
        """
        lowest = min(self.q1, self.mean, self.median, *(self.interval or ()))
        return last_place(self.median, self.interval, lowest)

    def written(self, value: float) -> str:
        """One of these in plain digits, to the same place as the others: none passes another."""
        decimals = -self.place
        return f"{round(value, decimals):.{max(decimals, 0)}f}"


def summarize(samples: Sequence[float]) -> Summary:
    """The summary of one sample or more; a ValueError if one is no positive number."""
    if not samples or not all(isfinite(sample) and sample > 0 for sample in samples):
        raise ValueError("timings are positive numbers, at least one of them")
    ordered = sorted(samples)
    median, q1, q3 = (quantile(ordered, share) for share in (0.5, 0.25, 0.75))
    interval = median_interval(ordered)
    doubts = {"few samples": interval is None, "wide spread": q3 - q1 > WIDE_SPREAD * median}
    summary = Summary(
        count=len(ordered),
        median=median,
        mean=sum(ordered) / len(ordered),
        q1=q1,
        q3=q3,
        interval=interval,
        figures=None,
        doubts=tuple(doubt for doubt, holds in doubts.items() if holds),
    )
    figures = _place(median) - summary.place + 1
    return summary if interval is None else replace(summary, figures=figures)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which a share of the ascending samples lies, interpolated linearly."""
    position = share * (len(ordered) - 1)
    below = floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def median_interval(ordered: Sequence[float]) -> tuple[float, float] | None:
    """The narrowest pair of samples, equally far from both ends, with 95 % coverage of the median.

    Each sample is below the true median with probability 1/2, so the number below it is binomial:
    the k-th smallest and the k-th largest of n enclose it unless fewer than k are on one side. No
    assumption on the distribution is made, which for latencies (skewed, with a tail) is the point.
    """
    n = len(ordered)
    outside, rank = 0, 0  # outside: 2^n times the probability that fewer than `rank` are below
    while rank < n / 2:
        more = outside + comb(n, rank)
        if 2 * more > 0.05 * 2**n:
            break
        outside, rank = more, rank + 1
    return (ordered[rank - 1], ordered[n - rank]) if rank else None


def last_place(value: float, interval: tuple[float, float] | None, lowest: float) -> int:
    """The decimal place of a value's last figure: of the first of its interval's width.

    So rounding moves it by less than it is in doubt. No coarser than the first figure of the
    `lowest` that is written beside it, no finer than a timer.
    """
    first = _place(value)
    place = first + 1 - USUAL_FIGURES
    if interval is not None:
        place = first + 1 - MOST_FIGURES
        if (width := interval[1] - interval[0]) > 0:
            place = max(place, _place(width))
    return min(place, _place(lowest))


def _place(value: float) -> int:
    """The decimal place of a positive value's first figure."""
    return floor(log10(value) + 1e-9)  # 12.4 - 12.3 is a tenth
