"""Fitting a profile: least squares, priors, bounds and what leave-one-out says."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import srprof
from srprof.cost.estimate import estimate, estimate_costs
from srprof.cost.fitting import (
    Parameter,
    Sample,
    bounded_least_squares,
    fit,
    mean_error,
    rms_error,
    spearman,
)
from srprof.cost.profiles import load_profile
from srprof.errors import InputError
from srprof.ops import Product
from tests.made_up_costs import cost, plain_device

ROOT = Path(__file__).parents[2]
numbers = st.floats(-5, 5, allow_subnormal=False)


def test_least_squares_without_bounds():
    rng = np.random.default_rng(0)
    matrix, target = rng.normal(size=(9, 3)), rng.normal(size=9)
    free = np.full(3, np.inf)
    expected = np.linalg.lstsq(matrix, target, rcond=None)[0]
    assert bounded_least_squares(matrix, target, -free, free) == pytest.approx(expected)


def test_non_negative_least_squares():
    matrix, target = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([1.0, 2.0])
    # Without bounds (-1, 2); with x0 at 0, x1 is the mean of 1 and 2.
    found = bounded_least_squares(matrix, target, np.zeros(2), np.full(2, np.inf))
    assert found == pytest.approx([0, 1.5])


def test_a_column_of_zeros_stays_at_the_bound_nearest_to_zero():
    found = bounded_least_squares(
        np.array([[1.0, 0.0]]), np.array([3.0]), np.array([0.0, 2.0]), np.array([9.0, 9.0])
    )
    assert found == pytest.approx([3, 2])


@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=2, max_size=6), numbers, numbers)
def test_no_point_within_the_bounds_is_better(rows, first, second):
    table = np.array(rows)
    matrix, target = table[:, :2], table[:, 2]
    lower, upper = np.minimum([first, second], 0), np.maximum([first, second], 0) + 0.1
    best = bounded_least_squares(matrix, target, lower, upper)
    assert np.all((lower <= best) & (best <= upper))
    error = np.sum((matrix @ best - target) ** 2)
    for other in np.random.default_rng(0).uniform(lower, upper, size=(50, 2)):
        assert error <= np.sum((matrix @ other - target) ** 2) + 1e-6 * (1 + error)


def test_mean_error():
    assert mean_error([110, 80], [100, 100]) == pytest.approx(0.15)


def test_rms_error():
    assert rms_error([103, 96], [100, 100]) == pytest.approx((0.5 * (0.03**2 + 0.04**2)) ** 0.5)


def test_spearman():
    assert spearman([1, 2, 3], [10, 20, 21]) == pytest.approx(1)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.9486833)  # ties
    assert np.isnan(spearman([1, 1], [1, 2]))


TILE = Parameter("compute.tile_32", prior=1.0, spread=0.5, lower=0.1, upper=1.2)
COPIES = Parameter("bandwidth_share", prior=1.0, spread=0.5, lower=0.1, upper=1.2)


def runs(device, count=6):
    """Networks of two nodes, one bound by arithmetic and one by memory, run on a device."""
    rng = np.random.default_rng(1)
    found = []
    for index in range(count):
        work, nbytes = rng.integers(1, 100, size=2)
        nodes = (
            cost("conv", product=Product(1, 1280 * int(work), 32, 500)),
            cost("elementwise", read=int(nbytes) * 1_000_000),
        )
        found.append(Sample(f"net{index}", nodes, estimate_costs(nodes, device).seconds))
    return found


def test_what_made_the_times_is_found_again():
    start = plain_device(compute={"tile_64": 0.01, "tile_128": 0.01, "tile_32": 1.0})
    truth = start.with_values({"compute.tile_32": 0.4, "bandwidth_share": 0.7})
    found = fit(runs(truth), start, [TILE, COPIES], noise=0.001)
    assert found.values == pytest.approx({"compute.tile_32": 0.4, "bandwidth_share": 0.7}, rel=0.01)
    assert found.mean_error < 0.01
    assert found.leave_one_out < 0.01
    assert found.profile.held_out_error == found.leave_one_out <= found.profile.held_out_rms
    assert found.profile.fitted == ("conv", "elementwise")
    assert found.predicted == pytest.approx(found.measured, rel=0.01)


def test_data_that_say_nothing_leave_the_prior():
    start = plain_device()
    nodes = (cost("elementwise", read=1_000_000),)
    samples = [Sample(str(i), nodes, 11e-6) for i in range(3)]
    assert fit(samples, start, [TILE]).values == {"compute.tile_32": pytest.approx(1.0)}


def test_a_firm_prior_outweighs_few_data():
    start = plain_device()
    truth = start.with_values({"bandwidth_share": 0.5})
    firm = Parameter("bandwidth_share", prior=1.0, spread=0.001, lower=0.1, upper=1.2)
    assert fit(runs(truth), start, [firm]).values["bandwidth_share"] == pytest.approx(1, abs=0.01)


def test_bounds_hold():
    start = plain_device()
    truth = start.with_values({"bandwidth_share": 0.2})
    bounded = Parameter("bandwidth_share", prior=1.0, spread=5, lower=0.6, upper=1.2)
    assert fit(runs(truth), start, [bounded]).values["bandwidth_share"] == pytest.approx(0.6)


def test_leave_one_out_is_honest():
    """A network unlike the others is predicted badly by them."""
    start = plain_device()
    nodes = (cost("elementwise", read=1_000_000),)
    samples = [Sample(str(i), nodes, 10e-6) for i in range(4)]
    odd = Sample("odd", (cost("norm", read=1_000_000),), 50e-6)
    found = fit([*samples, odd], start, [COPIES])
    assert found.left_out[-1] == pytest.approx(11e-6, rel=0.1)
    assert found.leave_one_out > found.mean_error


def test_too_little_to_fit():
    sample = Sample("net", (cost(),), 1.0)
    with pytest.raises(InputError, match="at least 2 measured runs, not 1"):
        fit([sample], plain_device(), [COPIES])
    with pytest.raises(InputError, match=r"net: a time of 0\.0 s cannot be fitted"):
        fit([sample, Sample("net", (), 0.0)], plain_device(), [COPIES])


def test_the_stored_fit_is_what_the_command_gives(monkeypatch):
    """`profiles.toml` says that this benchmark made its `ntire2022`; the goals are issue 5's."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delitem(sys.modules, "fit_ntire2022", raising=False)
    import fit_ntire2022

    found = fit(fit_ntire2022.samples(), load_profile("gtx1080ti"), fit_ntire2022.PARAMETERS)
    stored = load_profile("ntire2022")
    for table in ("compute", "bandwidth_share"):
        assert getattr(stored, table) == pytest.approx(getattr(found.profile, table), rel=2e-3)
    assert stored.launch == pytest.approx(found.profile.launch, rel=2e-3)
    assert stored.held_out_error == pytest.approx(found.leave_one_out, rel=2e-3)
    assert stored.held_out_rms == pytest.approx(found.profile.held_out_rms, rel=2e-3)
    assert stored.fitted == found.profile.fitted
    assert found.mean_error <= 0.05
    assert found.leave_one_out <= 0.10
    assert spearman(found.predicted, found.measured) >= 0.9


def test_tables_1_and_2_in_sign():
    """FMEN's authors: attention costs time, and an ERB takes less than a residual block."""
    device = load_profile("ntire2022")

    def seconds(spec):
        return estimate(srprof.trace(spec, (1, 3, 339, 510)), device).seconds

    baseline = seconds("fmen_baseline")
    for spec in ("fmen_baseline(attention='cca')", "fmen_baseline(attention='esa')", "fmen"):
        assert 1.01 < seconds(spec) / baseline < 1.2, spec
    assert 1.05 < seconds("edsr_baseline") / seconds("edsr_baseline(block='erb')") < 1.15


def test_folds_leave_out_their_share_together():
    """With two folds of three runs, the first and the third are predicted from the second."""
    samples = [
        Sample(name, (cost(read=1_000_000),), seconds)
        for name, seconds in (("a", 30e-6), ("b", 20e-6), ("c", 30e-6))
    ]
    found = fit(samples, plain_device(), [COPIES], noise=0.001, folds=2)
    alone = fit([samples[1]] * 2, plain_device(), [COPIES], noise=0.001)
    assert found.left_out[0] == found.left_out[2] == pytest.approx(alone.predicted[0], rel=1e-3)
    assert found.left_out[1] == pytest.approx(30e-6, rel=0.02)
    assert fit(samples, plain_device(), [COPIES], folds=9).left_out == pytest.approx(
        fit(samples, plain_device(), [COPIES]).left_out
    )
