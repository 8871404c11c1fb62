"""A table's orders with their doubt: how they would come out with other images.

A bootstrap over images. All rows ran the same ones, so a resample draws images and not times:
what a large image adds to one row it adds to all. Pure functions of the lists, numpy alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srprof.auditing.record import RowAudit, Standing, Turned, Unsettled
from srprof.challenge.results import Result
from srprof.challenge.years import Year

Array = NDArray[np.float64]

#: Resamples, the seed by which they are drawn, and what an interval leaves out at each end.
RESAMPLES = 10_000
_SEED = 2026
_TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Order:
    """An order: standings by index of the row, and the pairs that are not settled."""

    standings: Mapping[int, Standing]
    unsettled: tuple[Unsettled, ...]


def orders(
    results: Sequence[Result], rows: Sequence[RowAudit], year: Year | None
) -> dict[str, Order]:
    """The table by runtime and by the year's score, as stated and without cold first images.

    Rows that have no list of each of their sets have no place; nor has one by score whose PSNR is
    below the floor, or whose FLOPs or parameters are not told.
    """
    listed = [n for n, row in enumerate(results) if row.sets and all(s.times for s in row.sets)]
    found = {}
    for key, without in (("", False), ("_without_first", True)):
        means = resampled_means([_lists(results[n], rows[n], without) for n in listed])
        stated = [rows[n].mean(without) or 0.0 for n in listed]
        found[f"runtime{key}"] = _order(f"runtime{key}", rows, listed, stated, means)
        scored = [i for i, n in enumerate(listed) if year and _has_score(results[n], rows[n], year)]
        if year is not None and scored:
            of = [results[listed[i]] for i in scored]
            values = _scores(year, of, np.array([[stated[i] for i in scored]]))[0].tolist()
            resampled = _scores(year, of, means[:, scored])
            chosen = [listed[i] for i in scored]
            found[f"score{key}"] = _order(f"score{key}", rows, chosen, values, resampled)
    return {name: order for name, order in sorted(found.items()) if order.standings}


def _lists(result: Result, row: RowAudit, without: bool) -> list[Array]:
    """A row's times by set; a cold first image is a NaN where it does not count."""
    lists = [np.array(one.times) for one in result.sets]
    for times, audited in zip(lists, row.times, strict=True):
        if without and audited.cold:
            times[0] = np.nan
    return lists


def _has_score(result: Result, row: RowAudit, year: Year) -> bool:
    known = result.flops is not None and result.params is not None
    return bool(year.weights) and row.ranked is not False and known


def _scores(year: Year, results: Sequence[Result], runtimes: Array) -> Array:
    """The year's scores; runtimes are (resamples, rows)."""
    given = {
        "runtime_ms": runtimes,
        "flops": np.array([row.flops for row in results]),
        "params": np.array([row.params for row in results]),
    }
    terms = (w * np.exp(2 * given[m] / year.baseline[m]) for m, w in year.weights.items())
    scores: Array = sum(terms, np.zeros_like(runtimes))
    return scores


def resampled_means(rows: Sequence[Sequence[Array]]) -> Array:
    """Means over the sets of each row's mean times, (resamples, rows).

    Rows with as many images of a set ran the same ones and are drawn together. A NaN is an image
    that does not count.
    """
    sums = np.zeros((RESAMPLES, len(rows)))
    sets = {(place, times.size) for row in rows for place, times in enumerate(row)}
    for place, size in sorted(sets):
        chosen = [n for n, row in enumerate(rows) if len(row) > place and row[place].size == size]
        draws = np.random.default_rng((_SEED, place, size))
        drawn = draws.multinomial(size, np.full(size, 1 / size), size=RESAMPLES)
        times = np.array([rows[n][place] for n in chosen])
        counted = ~np.isnan(times)
        # nothing is left only where one image is: then it stays
        left = np.maximum(drawn @ counted.T, 1)
        sums[:, chosen] += (drawn @ np.where(counted, times, 0.0).T) / left
    sizes: Array = np.array([len(row) for row in rows])
    return sums / sizes


def _order(
    name: str,
    rows: Sequence[RowAudit],
    chosen: Sequence[int],
    values: list[float],
    resampled: Array,
) -> Order:
    """An order of some rows by their values, the lower the better."""
    places = [1 + sum(other < value for other in values) for value in values]
    ranks = 1 + np.argsort(np.argsort(resampled, axis=1), axis=1)
    low, high = np.quantile(ranks, (_TAIL, 1 - _TAIL), axis=0, method="nearest").astype(int)
    standings = {
        row: Standing(float(values[i]), places[i], int(low[i]), int(high[i]))
        for i, row in enumerate(chosen)
    }
    by_place = sorted(range(len(chosen)), key=lambda i: values[i])
    pairs = ((a, b) for n, a in enumerate(by_place) for b in by_place[n + 1 :])
    shares = ((a, b, float(np.mean(resampled[:, b] <= resampled[:, a]))) for a, b in pairs)
    names = [rows[row].name for row in chosen]
    return Order(
        standings,
        tuple(
            Unsettled(name, names[a], names[b], share) for a, b, share in shares if share > _TAIL
        ),
    )


def turned(rows: Sequence[RowAudit], found: Mapping[str, Order]) -> Iterator[Turned]:
    """Pairs of rows, the first ahead as stated, whose order is another without cold images."""
    for name in ("runtime", "score"):
        if name not in found:
            continue
        stated, rest = (found[f"{name}{key}"].standings for key in ("", "_without_first"))
        by_place = sorted(stated, key=lambda row: stated[row].value)
        for n, first in enumerate(by_place):
            for second in by_place[n + 1 :]:
                if rest[second].value < rest[first].value:
                    yield Turned(name, rows[first].name, rows[second].name)
