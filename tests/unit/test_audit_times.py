"""Which images took longer than their size explains."""

from __future__ import annotations

import numpy as np
import pytest

from srprof.auditing.times import slow
from tests.made_up_results import sizes, times

LARGE = [9.0, *sizes()[1:]]  # the first image is larger than any other


def _rows(of: list[float], scales: tuple[float, ...] = (3, 20, 5, 9, 30, 4)) -> np.ndarray:
    return np.array([times(scale, of, seed) for seed, scale in enumerate(scales)])


def test_a_cold_first_image_is_found_and_what_it_should_take():
    lists = _rows(sizes())
    lists[1, 0] += 150
    found = slow(lists)
    assert [one.cold for one in found] == [False, True, False, False, False, False]
    assert found[1].expected == pytest.approx(1 + 20 * sizes()[0], rel=0.05)
    assert all(one.outliers == () for one in found)


@pytest.mark.parametrize("of", [sizes(), LARGE])
def test_a_first_image_that_is_only_large_is_not_cold(of: list[float]):
    assert not any(one.cold for one in slow(_rows(of)))


def test_cold_ones_that_are_most_do_not_hide_each_other():
    lists = _rows(sizes())
    lists[1:, 0] += 120
    # within the row's own range: only the one row that is not cold tells it
    lists[4, 0] = lists[4].max() - 5
    assert [one.cold for one in slow(lists)] == [False, True, True, True, True, True]


def test_noise_at_the_first_image_is_not_cold():
    """As much as at others: the machine, and not the program's begin."""
    lists = _rows(sizes())
    lists[2, 0] *= 2.5
    lists[2, 9] *= 4
    lists[2, 17] *= 4
    (found,) = slow(lists)[2:3]
    assert not found.cold
    assert {9, 17} <= set(found.outliers)


def test_outliers_are_named_without_the_cold_one():
    lists = _rows(sizes())
    lists[3, 0] += 400
    lists[3, [5, 30]] *= 3
    found = slow(lists)
    assert (found[3].cold, found[3].outliers) == (True, (5, 30))
    assert all(one.outliers == () for n, one in enumerate(found) if n != 3)


@pytest.mark.parametrize("rows", [1, 2])
def test_few_rows_are_held_against_their_own_median(rows: int):
    lists = _rows(sizes())[:rows]
    assert not any(one.cold for one in slow(lists))
    lists[:, 0] += 1000
    found = slow(lists)
    assert all(one.cold for one in found)
    assert found[0].expected == np.median(lists[0])


def test_a_list_of_one_image_says_nothing():
    assert slow(np.array([[5.0], [6.0], [7.0]]))[0].outliers == ()


def test_equal_times_are_not_out_of_line():
    assert not any(one.cold or one.outliers for one in slow(np.full((4, 20), 3.0)))
