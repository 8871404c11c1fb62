"""Scorings: from a table to one figure for each row, the lower the better.

A scoring is a pure function of the table, found by name. A package adds its own through the
entry-point group `srprof.scorings`, each entry point naming a `Scoring`.

The challenges' own are made of `srprof.challenge.years`, which has their sources.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import exp

from srprof.challenge.years import NOT_PUBLIC, YEARS, Year
from srprof.compare.ranking import RANKED, Entry, RankTable, ranks
from srprof.errors import InputError
from srprof.registry import announced
from srprof.shown import Shown
from srprof.words import did_you_mean, one_line

GROUP = "srprof.scorings"

Scores = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Scoring:
    """A way to order a table.

    Attributes:
        name: what `--scoring` takes. title: for a person.
        how: the formula in words. source: where it is published.
        score: a pure function of the table: for each row a figure, the lower the better; None
            for a row that it cannot score.
        decimals: of the figure, as printed.
        caution: what a reader of the scores must know.
    """

    name: str
    title: str
    how: str
    source: str
    score: Callable[[RankTable], Scores]
    decimals: int = 0
    caution: str = ""

    def places(self, table: RankTable) -> tuple[int | None, ...]:
        """1 + the number of rows with a strictly lower score; None without a score."""
        return ranks(self.score(table))


def by_value(metric: str) -> Callable[[RankTable], Scores]:
    """Score by a metric's own values."""
    return lambda table: table.values(metric)


def by_rank_sum(metrics: Sequence[str]) -> Callable[[RankTable], Scores]:
    """Score by the sum of the ranks in these metrics; None where one of them is not known."""
    return lambda table: _sums([table.ranks(metric) for metric in metrics])


def _sums(columns: Sequence[Sequence[float | None]]) -> Scores:
    """The sum of each row; None where one of its values is not known."""
    rows = ([v for v in row if v is not None] for row in zip(*columns, strict=True))
    return tuple(sum(row) if len(row) == len(columns) else None for row in rows)


def by_ratios(
    baseline: Mapping[str, float], weights: Mapping[str, float]
) -> Callable[[RankTable], Scores]:
    """Score by the weighted sum of exp(2 x value / baseline's value)."""

    def score(table: RankTable) -> Scores:
        columns = [
            [None if v is None else weights[m] * exp(2 * v / baseline[m]) for v in table.values(m)]
            for m in weights
        ]
        return _sums(columns)

    return score


_REPORT_2022 = YEARS["ntire2022"].source


def _of_year(year: Year) -> Scoring:
    """The main track of a year that scores each row by itself."""
    runtime = year.baseline["runtime_ms"]
    return Scoring(
        name=year.name,
        title=f"{year.title} main track",
        how=f"{year.formula}, the figures being those of {year.network}",
        source=year.source,
        score=by_ratios(year.baseline, year.weights),
        decimals=4,
        caution=f"the baseline's {runtime:g} ms are of an {year.gpu} and that year's images, and "
        "its FLOPs are fvcore's, without activations: scores of other devices, sizes and counts "
        "order rows, and are not those of that challenge",
    )


SCORINGS: tuple[Scoring, ...] = (
    Scoring("main", "main track", "by runtime", _REPORT_2022, by_value("runtime_ms"), 2),
    Scoring("sub1", "sub-track 1", "sum of the ranks in params and FLOPs", _REPORT_2022,
            by_rank_sum(("params", "flops"))),
    Scoring("sub2", "sub-track 2",
            "sum of the ranks in runtime, params, FLOPs, activations and memory", _REPORT_2022,
            by_rank_sum(RANKED)),
    *(_of_year(year) for year in YEARS.values() if year.weights),
)  # fmt: skip

#: The tracks of 2022, which `--ranks` shows beside the values.
TRACKS = ("main", "sub1", "sub2")


@cache
def scorings() -> Mapping[str, Scoring]:
    """Every scoring by name: srprof's own, then those of other packages.

    An InputError if two claim one name, or a package's cannot be loaded.
    """
    found = {scoring.name: scoring for scoring in SCORINGS}
    for place, scoring in announced(GROUP, "scoring", _checked):
        if scoring.name in found:
            mend = f"uninstall the package of {place}, or rename it"
            raise InputError(f"two scorings are called {scoring.name!r}: {mend}")
        found[scoring.name] = scoring
    return found


def _checked(scoring: object) -> Scoring:
    if not isinstance(scoring, Scoring):
        raise TypeError(f"it is {scoring!r}, which is no srprof.compare.scoring.Scoring")
    return scoring


def find(name: str) -> Scoring:
    """The scoring of that name; an InputError suggests the nearest names if there is none."""
    known = scorings()
    if name in known:
        return known[name]
    near = did_you_mean(name.lower(), known, count=2, cutoff=0.5)
    if name in NOT_PUBLIC:
        near = f"{NOT_PUBLIC[name]};"
    raise InputError(one_line(f"there is no scoring {name!r}: {near} there is {', '.join(known)}"))


@dataclass(frozen=True, repr=False)
class Standing(Shown):
    """A table in the order of a scoring.

    Attributes:
        scoring: that the rows are ordered by.
        table: its rows from the first place to the last, then those without a place.
        notes: what a reader must know of how the rows came about, one line each.
        failed: of them, those that say which models raised and have no row.
        tracks: names of the scorings that are shown beside it, if asked for.
    """

    view = "ranking"

    scoring: Scoring
    table: RankTable
    notes: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    tracks: tuple[str, ...] = TRACKS

    def scorings(self, tracks: bool) -> tuple[Scoring, ...]:
        """The scorings to show: the tracks if asked for, and the one that orders."""
        shown = [scoring for scoring in SCORINGS if tracks and scoring.name in self.tracks]
        return tuple(dict.fromkeys([*shown, self.scoring]))


def standing(entries: Sequence[Entry], scoring: Scoring, notes: Sequence[str] = ()) -> Standing:
    """Order rows by a scoring; those of one place stay in their order. Raises as `RankTable`."""
    places = scoring.places(table := RankTable(tuple(entries)))
    order = sorted(range(len(places)), key=lambda i: places[i] or len(places) + 1)
    return Standing(scoring, RankTable(tuple(table.entries[i] for i in order)), tuple(notes))


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one of the user's rows stands in a table, as far as that is known.

    `ranks` are by metric, and `tracks` are places by scoring.
    """

    name: str
    ranks: Mapping[str, int]
    tracks: Mapping[str, int]


def placements(standing: Standing) -> tuple[Placement, ...]:
    """The user's own rows among all ranked ones, in the order of the table."""
    table = standing.table
    ranked = {metric: table.ranks(metric) for metric in RANKED}
    tracks = {scoring.name: scoring.places(table) for scoring in standing.scorings(tracks=True)}

    def known(columns: Mapping[str, tuple[int | None, ...]], row: int) -> dict[str, int]:
        return {name: place for name, c in columns.items() if (place := c[row]) is not None}

    own = [(row, entry) for row, entry in enumerate(table.entries) if not entry.reference]
    return tuple(Placement(e.name, known(ranked, row), known(tracks, row)) for row, e in own)
