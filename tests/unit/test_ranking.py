"""Ranks, marks and scorings, on tables that are made up and on the challenge's own."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from math import exp
from pathlib import Path

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srprof.compare import scoring
from srprof.compare.ranking import METRICS, RANKED, Cell, Entry, Origin, RankTable, ranks
from srprof.compare.results import load_reference, load_results
from srprof.compare.scoring import SCORINGS, Scoring, find, placements, scorings, standing
from srprof.errors import InputError

DATA = Path(scoring.__file__).parents[1] / "data" / "ntire2022.json"

#: Sums as published in the challenge's report (issue 6), where ranks of unrounded figures were
#: summed: ours, of the rounded ones, tie in params or FLOPs and are one lower in both sub-tracks.
PUBLISHED_SUMS = {
    "NKU-ESR": (12, 48),
    "Alpan Team": (18, 51),
    "Dragon": (38, 70),
    "Aselsan Research": (27, 98),
    "Express": (31, 117),
}


def row(name: str, kind: str = "given", ranked: bool = True, **values: float) -> Entry:
    origin = Origin(kind)
    return Entry(name, {m: Cell(v, origin) for m, v in values.items()}, ranked)


def test_ranks_share_ties():
    assert ranks([3, 1, None, 1, 2]) == (4, 1, None, 1, 3)
    assert ranks([3, 1, None, 1, 2], higher=True) == (1, 3, None, 3, 2)


@given(st.lists(st.none() | st.integers(0, 9) | st.floats(0, 9), max_size=30))
def test_a_rank_is_one_and_the_number_of_strictly_better(values: list[float | None]):
    for value, rank in zip(values, ranks(values), strict=True):
        known = [v for v in values if v is not None]
        assert rank == (None if value is None else 1 + sum(v < value for v in known))


def test_marks_go_to_values_and_not_to_rows():
    table = RankTable(tuple(row(n, params=v) for n, v in zip("abcd", (2, 1, 1, 3), strict=True)))
    assert table.marks("params") == ("second", "best", "best", "")
    better = RankTable((row("a", psnr_dB=28), row("b", psnr_dB=29)))
    assert better.marks("psnr_dB") == ("second", "best")
    assert RankTable((row("a", params=1), row("b"))).marks("params") == ("", "")


def test_unranked_rows_push_nobody():
    table = RankTable((row("a", params=2), row("b", ranked=False, params=1)))
    assert table.ranks("params") == (1, None)


def test_beside_published_values_all_compare_at_the_printed_digits():
    ours, theirs = row("a", params=341_066), row("b", "published", params=341_000)
    assert RankTable((ours, theirs)).ranks("params") == (1, 1)
    assert RankTable((ours, row("b", params=341_000))).ranks("params") == (2, 1)


def test_bad_tables():
    with pytest.raises(InputError, match="nothing to rank"):
        RankTable(())
    with pytest.raises(InputError, match="two models are called 'a'"):
        RankTable((row("a"), row("a")))
    rainbow = Entry("rainbow", {}, reference="NTIRE 2022")
    assert len(RankTable((row("rainbow"), rainbow)).entries) == 2


# -- the challenge's own table -------------------------------------------------------------------


@pytest.fixture(scope="module")
def challenge() -> tuple[Entry, ...]:
    return load_reference("ntire2022")


def test_main_track_order_is_the_published_one(challenge: tuple[Entry, ...]):
    published = {r["team"]: r["main_track"] for r in json.loads(DATA.read_text())["rows"]}
    found = standing(challenge, find("main"))
    places = dict(
        zip((e.name for e in found.table.entries), find("main").places(found.table), strict=True)
    )
    assert len(places) == 45
    assert places == published
    assert [p for p in places.values() if p] == list(range(1, 36))


def test_sub_track_sums(challenge: tuple[Entry, ...]):
    """Against pandas' ranks of the same rows, and the five published sums that differ."""
    frame = pandas.DataFrame(json.loads(DATA.read_text())["rows"])
    frame = frame[frame["ranked"]].set_index("team")
    columns = ["params_M", "flops_G", "time_ms", "acts_M", "memory_MiB"]
    expected = frame[columns].rank(method="min").astype(int)
    table = RankTable(challenge)
    names = [entry.name for entry in challenge]
    sub1 = dict(zip(names, find("sub1").score(table), strict=True))
    sub2 = dict(zip(names, find("sub2").score(table), strict=True))
    assert {n: s for n, s in sub1.items() if s} == dict(expected[columns[:2]].sum(axis=1))
    assert {n: s for n, s in sub2.items() if s} == dict(expected.sum(axis=1))
    for name, (first, second) in PUBLISHED_SUMS.items():
        assert (sub1[name], sub2[name]) == (first - 1, second - 1)
        tied = expected.loc[name, columns[:2]]
        same = [(expected[c] == tied[c]).sum() for c in columns[:2]]
        assert max(same) > 1, name  # a tie is what makes the difference


def test_the_data_is_whole(challenge: tuple[Entry, ...]):
    assert sum(entry.ranked for entry in challenge) == 35
    assert all(set(entry.cells) == set(METRICS) for entry in challenge)
    assert {cell.origin.kind for entry in challenge for cell in entry.cells.values()} == {
        "published"
    }
    first = challenge[0].cells
    assert METRICS["memory"].written(first["memory"].value) == "377.91"
    assert METRICS["params"].written(first["params"].value) == "0.317"


def test_placements_are_ranks_among_the_ranked(challenge: tuple[Entry, ...]):
    mine = row("net", runtime_ms=27.5, memory=300 * 2**20, params=1)
    (found,) = placements(standing([mine, *challenge], find("main")))
    assert found.name == "net"
    assert found.ranks == {"runtime_ms": 2, "memory": 3, "params": 1}
    assert found.tracks == {"main": 2}


# -- scorings ------------------------------------------------------------------------------------


def test_sums_need_every_rank():
    table = RankTable(
        (row("a", params=1, flops=2), row("b", params=1), row("c", params=3, flops=1))
    )
    assert find("sub1").score(table) == (3, None, 4)


@pytest.mark.parametrize(
    "name, runtime, flops, params",
    [
        ("ntire2024", 13.54, 19.67e9, 0.317e6),
        ("ntire2025", 16.69, 16.70e9, 0.276e6),
        ("ntire2026", 7.74, 9.83e9, 0.151e6),
    ],
)
def test_later_years_give_their_baseline_the_published_score(name, runtime, flops, params):
    """Each README has the baseline's scores: all 7.3891."""
    table = RankTable(
        (
            row("baseline", runtime_ms=runtime, flops=flops, params=params),
            row("free", runtime_ms=0, flops=flops, params=params),
        )
    )
    first, second = find(name).score(table)
    assert f"{first:.4f}" == "7.3891"
    weight = 0.8 if name == "ntire2026" else 0.7
    assert first - second == pytest.approx(weight * (exp(2) - 1))


def test_every_scoring_says_how_and_where_from():
    assert len({s.name for s in SCORINGS}) == len(SCORINGS)
    assert all(s.how and s.source for s in SCORINGS)
    with pytest.raises(InputError, match="did you mean sub2"):
        find("sub-2")


def by_convs(table: RankTable) -> tuple[float | None, ...]:
    return table.values("convs")


PLUG_IN = Scoring("convs", "fewest convs", "by convs", "a test", by_convs)
CLASH = Scoring("main", "another", "by convs", "a test", by_convs)
NONE_AT_ALL = 3


def announce(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    point = EntryPoint("test", f"{__name__}:{name}", scoring.GROUP)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: (point,))
    monkeypatch.setattr(EntryPoint, "load", lambda self: globals()[name])
    scorings.cache_clear()


@pytest.fixture(autouse=True)
def forget_plug_ins():
    yield
    scorings.cache_clear()


def test_a_package_adds_a_scoring(monkeypatch: pytest.MonkeyPatch):
    announce(monkeypatch, "PLUG_IN")
    found = standing([row("a", convs=3), row("b", convs=2)], find("convs"))
    assert [entry.name for entry in found.table.entries] == ["b", "a"]


@pytest.mark.parametrize(
    "name, message", [("CLASH", "two scorings are called 'main'"), ("NONE_AT_ALL", "it is 3")]
)
def test_a_package_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, name: str, message: str):
    announce(monkeypatch, name)
    with pytest.raises(InputError, match=message):
        find("main")


# -- tables of the user's own --------------------------------------------------------------------

HEAD = "name,params_M,flops_G,runtime_ms,memory_MiB,activations_M"


def results(tmp_path: Path, text: str, suffix: str = ".csv") -> tuple[Entry, ...]:
    path = tmp_path / f"results{suffix}"
    path.write_text(text, encoding="utf-8")
    return load_results(str(path))


def test_units_and_unknown_cells(tmp_path: Path):
    (entry,) = results(
        tmp_path, "model,params_K,flops,time_ms,memory_bytes,acts_M\nx,341,5e9,,7,2\n"
    )
    assert {m: cell.value for m, cell in entry.cells.items()} == {
        "params": 341_000, "flops": 5e9, "memory": 7, "activations": 2e6
    }  # fmt: skip


def test_two_rows_of_one_name_are_refused_with_the_file(tmp_path: Path):
    with pytest.raises(InputError, match=r"results\.csv, row 2 \(x\): two models are called 'x'"):
        results(tmp_path, f"{HEAD}\nx,1,2,3,4,5\nx ,2,2,3,4,5\n")


def test_json_rows(tmp_path: Path):
    rows = json.loads(DATA.read_text())
    assert len(results(tmp_path, json.dumps(rows), ".json")) == 45
    assert len(results(tmp_path, json.dumps(rows["rows"]), ".json")) == 45


@pytest.mark.parametrize(
    "text, message",
    [
        (f"{HEAD}\na,1,2,3,4,5\nb,1,much,3,4,5\n", r"row 2 \(b\), column flops_G: 'much'"),
        (f"{HEAD}\na,1,2,3,4,nan\n", r"row 1 \(a\), column activations_M: 'nan'"),
        (f"{HEAD}\na,1,2,-3,4,5\n", r"row 1 \(a\), column runtime_ms: '-3'"),
        (f"{HEAD}\n,1,2,3,4,5\n", "row 1, column name: there is no name"),
        (f"{HEAD}\na,1,2\n", "row 1: 3 cells, and the header has 6"),
        ("name,params_M,flops_G\na,1,2\n", "no column runtime_ms, memory_MiB, activations_M;"),
        ("params_M,flops_G,runtime_ms,memory_MiB,acts_M\n1,2,3,4,5\n", "no column name;"),
        (f"{HEAD},ranked\na,1,2,3,4,5,perhaps\n", "column ranked: 'perhaps'"),
        (f"{HEAD}\n", "has no rows"),
        ("", "is empty"),
        ('name\n"a', "is no CSV"),
    ],
)
def test_complaints_about_csv(tmp_path: Path, text: str, message: str):
    with pytest.raises(InputError, match=message):
        results(tmp_path, text)


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "is not whole JSON"),
        ("3", "write a list of objects"),
        ('{"rows": [3]}', "write a list of objects"),
        ("[]", "has no rows"),
        ('[{"name": 3, "params": 1}]', "has no column flops_G"),
        (
            '[{"name": "a", "params": true, "flops": 1, "time_ms": 1, "memory": 1, "acts": 1}]',
            r"row 1 \(a\), column params: True",
        ),
        (
            '[{"name": "a", "ranked": [], "params": 1, "flops": 1, "time_ms": 1, "memory": 1, '
            '"acts": 1}]',
            "column ranked: ",
        ),
    ],
)
def test_complaints_about_json(tmp_path: Path, text: str, message: str):
    with pytest.raises(InputError, match=message):
        results(tmp_path, text, ".json")


def test_a_table_that_is_none_is_named_with_the_nearest():
    with pytest.raises(InputError, match="did you mean ntire20"):
        load_reference("ntire22")


def test_what_the_challenge_ranks():
    assert set(RANKED) == {"params", "flops", "runtime_ms", "memory", "activations"}
