"""Places, the intervals in which resamples of the images have them, and orders that turn."""

from __future__ import annotations

import numpy as np
import pytest

from srprof.auditing.orders import orders, resampled_means, turned
from srprof.auditing.run import audit_table
from srprof.challenge.results import Results, parse_results
from srprof.challenge.years import YEARS, score
from tests.made_up_results import results, row, sizes, times


def _table(data: dict[str, object], year: str | None = None) -> Results:
    return parse_results(data, "f", year)[0]


def test_resamples_are_of_images_and_not_of_times():
    """One row is another times two: so is each of its means."""
    list_ = np.array(times(5, sizes(), 1))
    means = resampled_means([[list_], [2 * list_]])
    assert means[:, 1] == pytest.approx(2 * means[:, 0])
    assert means[:, 0].std() > 0
    assert means[:, 0].mean() == pytest.approx(list_.mean(), rel=0.01)


def test_an_image_that_does_not_count_is_in_no_mean():
    list_ = np.array([np.nan, 2.0, 2.0, 2.0])
    assert set(resampled_means([[list_]])[:, 0].round(9)) <= {2.0, 0.0}


def test_the_same_file_gives_the_same_intervals():
    one, other = (audit_table(_table(results()), {}) for _ in range(2))
    assert one == other


def test_rows_that_are_as_fast_are_not_settled():
    found = audit_table(_table(results()), {})
    places = {row.name: row.standings["runtime_without_first"] for row in found.rows}
    assert [places[name].place for name in ("18_warm", "00_base")] == [1, 2]
    assert (places["18_warm"].low, places["18_warm"].high) == (1, 1)
    pairs = {(p.first, p.second) for p in found.unsettled if p.order == "runtime"}
    assert pairs == {("01_wide", "02_twin")}


def test_a_cold_image_that_turned_an_order_is_told():
    slower, faster = times(5, sizes(), 1), times(4.6, sizes(), 2)
    faster[0] += 90
    data = {
        "1_a": row(slower, slower),
        "2_b": row(faster, times(4.6, sizes(), 3)),
        "3_c": row(times(9, sizes(), 4), times(9, sizes(), 5)),
    }
    (turn,) = audit_table(_table(data), {}).turned
    assert (turn.order, turn.first, turn.second) == ("runtime", "1_a", "2_b")


def test_scores_are_the_years_of_rows_at_its_floor():
    data = results()
    data["01_wide"]["test_ave_psnr"] = 26.9849  # 26.98 in print
    data["00_base"]["test_ave_psnr"] = 26.9851
    found = audit_table(_table(data, "2026"), {})
    ranked = {row.name: row.ranked for row in found.rows}
    assert ranked == {"00_base": True, "01_wide": False, "02_twin": True, "18_warm": True}
    base = next(row for row in found.rows if row.name == "00_base")
    runtime = base.mean()
    assert runtime is not None
    expected = score(YEARS["ntire2026"], runtime, 0.0125e9, 500)
    assert base.standings["score"].value == pytest.approx(expected)
    assert "score" not in next(row for row in found.rows if row.name == "01_wide").standings


def test_rows_without_lists_have_no_place():
    table = _table({"1_a": {"valid_ave_runtime": 3.0}, "2_b": {"valid_ave_runtime": 2.0}})
    assert orders(table.rows, audit_table(table, {}).rows, None) == {}
    assert list(turned((), {})) == []
