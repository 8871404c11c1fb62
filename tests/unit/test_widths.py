"""Which width is the best, which are not needed, and which are tried; made-up rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from srprof import spec
from srprof.advising.record import Width, Widths
from srprof.advising.widths import nearest


def widths(present: int, times: dict[int, float], *failed: int) -> Widths:
    rows = [Width(value, latency_ms=ms) for value, ms in times.items()]
    rows += [Width(value, error="it raised") for value in failed]
    return Widths("nf", present, tuple(sorted(rows, key=lambda row: row.value)))


TIMES = {32: 3.0, 48: 5.0, 50: 6.0, 64: 4.5, 72: 7.0, 80: 7.0}


@pytest.mark.parametrize(
    ("present", "best"),
    [(32, 32), (48, 64), (50, 64), (64, 64), (72, 80), (80, 80)],
)
def test_the_best_is_the_fastest_that_is_not_narrower_and_the_widest_of_these(present, best):
    assert widths(present, TIMES).best.value == best


def test_a_width_that_cannot_be_built_is_neither_the_best_nor_in_the_way():
    found = widths(50, TIMES, 56, 96)
    assert found.best.value == 64 and [row.value for row in found.built] == [*TIMES]
    assert found.dominating(found.now).value == 64


def test_what_a_wider_one_is_as_fast_as_is_dominated_by_the_fastest_such():
    found = widths(50, TIMES)
    by = {row.value: found.dominating(row) for row in found.rows}
    assert {value: row and row.value for value, row in by.items()} == {
        32: None, 48: 64, 50: 64, 64: None, 72: 80, 80: None,
    }  # fmt: skip


def test_the_front_gets_faster_with_each_narrower_width():
    found = widths(50, TIMES)
    front = [row for row in found.rows if found.dominating(row) is None]
    assert [row.latency_ms for row in front] == sorted({row.latency_ms for row in front})


@pytest.mark.parametrize(
    ("width", "tried"),
    [
        (50, (48, 56, 64)),
        (64, (48, 72, 80, 96)),
        (48, (32, 56, 64)),
        (36, (32, 40, 48, 64)),
        (16, (8, 24, 32)),
        (9, (8, 16, 32)),
        (8, (16, 32)),
    ],
)
def test_the_nearest_whole_widths_on_both_sides(width, tried):
    assert nearest(width) == tried


@pytest.mark.parametrize(
    ("text", "by_place", "changed"),
    [
        ("fmen_s", (), "fmen_s(n_feats=64)"),
        ("fmen_s(2, n_feats=48)", ("scale",), "fmen_s(2, n_feats=64)"),
        ("fmen_s(n_feats=48, scale=2)", (), "fmen_s(n_feats=64, scale=2)"),
        ("fmen_s(2, 48, 16)", ("scale", "n_feats", "mid_feats"), "fmen_s(2, 64, 16)"),
    ],
)
def test_an_argument_is_changed_where_the_spec_gives_it(text, by_place, changed):
    found = spec.parse(text).with_argument("n_feats", 64, by_place)
    assert found.text == changed and found == spec.parse(changed)


def test_a_file_stays_in_the_spec(tmp_path: Path):
    file = tmp_path / "net.py"
    file.touch()
    assert spec.parse(f"{file}:Net(3)").with_argument("nf", 4).text == f"{file}:Net(3, nf=4)"
