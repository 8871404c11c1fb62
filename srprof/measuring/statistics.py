"""What a set of timings says, and how far it can be trusted.

The habit is that of `torch.utils.benchmark`: raw samples are kept, a summary names its own
doubts, and no more digits are shown than the samples support. Only the standard library here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, comb, floor, inf, isfinite, log10

#: Share of the median above which the interquartile range is too wide to compare two models by.
WIDE_SPREAD = 0.1
#: With fewer samples no pair of them encloses the median with 95 % certainty: 1 - 2 / 2^5 = 0.94.
FEWEST = 6
#: Timers are good for no more.
MOST_FIGURES = 6

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
        figures: significant figures of the median that the interval supports, at least 1; None
            where there is no interval.
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


def summarize(samples: Sequence[float]) -> Summary:
    """The summary of one sample or more; a ValueError if one is no positive number."""
    if not samples or not all(isfinite(sample) and sample > 0 for sample in samples):
        raise ValueError("timings are positive numbers, at least one of them")
    ordered = sorted(samples)
    median, q1, q3 = (quantile(ordered, share) for share in (0.5, 0.25, 0.75))
    interval = median_interval(ordered)
    doubts = {"few samples": interval is None, "wide spread": q3 - q1 > WIDE_SPREAD * median}
    return Summary(
        count=len(ordered),
        median=median,
        mean=sum(ordered) / len(ordered),
        q1=q1,
        q3=q3,
        interval=interval,
        figures=None if interval is None else significant_figures(median, interval),
        doubts=tuple(doubt for doubt, holds in doubts.items() if holds),
    )


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


def significant_figures(value: float, interval: tuple[float, float]) -> int:
    """Figures of the value whose last one the interval leaves certain to within one unit."""
    width = interval[1] - interval[0]
    last = ceil(log10(width) - 1e-9) if width > 0 else -inf
    figures = floor(log10(value)) + 1 - last
    return int(min(max(figures, 1), MOST_FIGURES))


def written(value: float, figures: int | None) -> str:
    """A positive value in plain digits, no more significant ones than are known; 3 if unknown."""
    known = 3 if figures is None else figures
    rounded = float(f"{value:.{known - 1}e}")  # 9.99 to two figures is 10, not 10.0
    decimals = known - 1 - floor(log10(rounded))
    return f"{rounded:.{max(decimals, 0)}f}"
