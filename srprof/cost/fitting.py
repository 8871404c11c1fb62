"""Fit a device profile to measured runtimes: few parameters, with priors and bounds.

Each parameter is a figure of the profile with a physical meaning (the share of the peak that
tiles of 64 channels reach, the share of the bandwidth that copies reach), held near what the
hardware suggests by a prior. There is no constant for a network. Gauss-Newton on the logarithms,
each step a bounded linear least-squares problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from srprof.cost.classes import NodeCost
from srprof.cost.estimate import estimate_costs, total_seconds
from srprof.cost.profiles import Profile
from srprof.errors import InputError
from srprof.ops import FAMILIES

Vector = NDArray[np.float64]

#: A family that takes less than this share of the samples' time was not seen by a fit.
SEEN = 0.02

_STEPS = 30
_SWEEPS = 500


@dataclass(frozen=True)
class Sample:
    """A measured run: what its nodes ask of the device, and the seconds that it took.

    A bench is one of many calls `in_a_row`, so that its host launches while the device works.
    """

    name: str
    costs: tuple[NodeCost, ...]
    seconds: float
    in_a_row: bool = False


@dataclass(frozen=True)
class Parameter:
    """A figure of a profile to fit, by its key for `Profile.with_values`.

    Attributes:
        prior: its value without data. spread: relative standard deviation of that belief.
        lower, upper: what is physically possible.
    """

    key: str
    prior: float
    spread: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Fit:
    """A fitted profile and how good it is.

    Attributes:
        profile: its held-out errors are the leave-one-out ones.
        values: by parameter key.
        measured, predicted: seconds by sample.
        left_out: seconds predicted for each sample by a fit that did not see it.
    """

    profile: Profile
    values: dict[str, float]
    measured: tuple[float, ...]
    predicted: tuple[float, ...]
    left_out: tuple[float, ...]

    @property
    def mean_error(self) -> float:
        """Mean of |predicted / measured - 1|."""
        return mean_error(self.predicted, self.measured)

    @property
    def leave_one_out(self) -> float:
        """The same with each sample predicted by a fit that did not see it."""
        return mean_error(self.left_out, self.measured)


def fit(
    samples: Sequence[Sample],
    profile: Profile,
    parameters: Sequence[Parameter],
    noise: float = 0.04,
    folds: int | Sequence[int] | None = None,
) -> Fit:
    """Fit figures of a profile to measured runs, with predictions of runs that were left out.

    Args:
        samples: at least two, of positive times.
        folds: how many fits each leave out a share of the samples, or the number of the fit that
            leaves out each; None leaves out one at a time.
        noise: relative standard deviation of a measured time, which the priors weigh against.

    Raises:
        InputError: fewer than two samples, or a time that is not positive.
    """
    if len(samples) < 2:
        raise InputError(f"a fit needs at least 2 measured runs, not {len(samples)}")
    for sample in samples:
        if not sample.seconds > 0:
            raise InputError(f"{sample.name}: a time of {sample.seconds} s cannot be fitted")
    values = _solve(samples, profile, parameters, noise)
    fitted = profile.with_values(values)
    measured = tuple(sample.seconds for sample in samples)
    left_out = [0.0] * len(samples)
    if folds is None or isinstance(folds, int):
        folds = [index % (folds or len(samples)) for index in range(len(samples))]
    for fold in sorted(set(folds)):
        others = [s for s, left in zip(samples, folds, strict=True) if left != fold]
        without = profile.with_values(_solve(others, profile, parameters, noise))
        for index, sample in enumerate(samples):
            if folds[index] == fold:
                left_out[index] = _predict([sample], without)[0]
    fitted = replace(
        fitted,
        held_out_error=mean_error(left_out, measured),
        held_out_rms=rms_error(left_out, measured),
        fitted=_seen(samples, fitted),
    )
    predicted = tuple(_predict(samples, fitted))
    return Fit(fitted, values, measured, predicted, tuple(left_out))


def _solve(
    samples: Sequence[Sample], profile: Profile, parameters: Sequence[Parameter], noise: float
) -> dict[str, float]:
    """The parameters that explain the samples best, given the priors, by key."""
    prior, lower, upper = np.log([(p.prior, p.lower, p.upper) for p in parameters]).T
    spread = np.array([p.spread for p in parameters])
    target = np.log([sample.seconds for sample in samples])

    def at(point: Vector) -> dict[str, float]:
        return dict(zip((p.key for p in parameters), np.exp(point).tolist(), strict=True))

    def residuals(point: Vector) -> Vector:
        predicted = np.log(_predict(samples, profile.with_values(at(point))))
        return np.concatenate([(target - predicted) / noise, (prior - point) / spread])

    point = np.clip(prior, lower, upper)
    error = residuals(point)
    for _ in range(_STEPS):
        slopes = [(error - residuals(point + h)) / 1e-4 for h in 1e-4 * np.eye(len(point))]
        step = bounded_least_squares(np.array(slopes).T, error, lower - point, upper - point)
        # The estimate has corners (the longer of two times), so a full step may overshoot.
        for _ in range(8):
            tried = residuals(point + step)
            if tried @ tried < error @ error:
                break
            step = step / 2
        else:
            break
        point, error = point + step, tried
        if np.abs(step).max() < 1e-6:
            break
    return at(point)


def bounded_least_squares(matrix: Vector, target: Vector, lower: Vector, upper: Vector) -> Vector:
    """The x in [lower, upper] with the least |matrix x - target|, by coordinate descent.

    Args:
        matrix: (m, n). target: (m,). lower, upper: (n,), infinite where there is no bound;
            `lower` of 0 makes it non-negative least squares.

    Returns:
        (n,). A column of zeros leaves its x at the bound nearest to 0.
    """
    gram, moment = matrix.T @ matrix, matrix.T @ target
    x: Vector = np.clip(np.zeros(len(moment)), lower, upper)
    for _ in range(_SWEEPS):
        largest = 0.0
        for i, curvature in enumerate(np.diag(gram)):
            if curvature > 0:
                best = x[i] + (moment[i] - gram[i] @ x) / curvature
                best = min(max(best, lower[i]), upper[i])
                largest = max(largest, abs(best - x[i]))
                x[i] = best
        if largest <= 1e-12 * (1 + np.abs(x).max()):
            break
    return x


def mean_error(predicted: Sequence[float], measured: Sequence[float]) -> float:
    """Mean of |predicted / measured - 1|."""
    return sum(abs(p / m - 1) for p, m in zip(predicted, measured, strict=True)) / len(measured)


def rms_error(predicted: Sequence[float], measured: Sequence[float]) -> float:
    """Root mean square of predicted / measured - 1."""
    squares = [(p / m - 1) ** 2 for p, m in zip(predicted, measured, strict=True)]
    return float(np.sqrt(sum(squares) / len(squares)))


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation; ties share their mean rank. NaN if one is constant."""
    from pandas import Series

    with np.errstate(invalid="ignore"):
        return float(Series(first).rank().corr(Series(second).rank()))


def _predict(samples: Sequence[Sample], profile: Profile) -> list[float]:
    return [total_seconds(s.costs, profile, in_a_row=s.in_a_row) for s in samples]


def _seen(samples: Sequence[Sample], profile: Profile) -> tuple[str, ...]:
    """The families that take a share of the samples' time worth fitting."""
    seconds = dict.fromkeys(FAMILIES, 0.0)
    for sample in samples:
        for node in estimate_costs(sample.costs, profile).nodes:
            if node.bound != "free":
                seconds[node.cost.family] += node.seconds
    return tuple(f for f, t in seconds.items() if t >= SEEN * sum(seconds.values()))
