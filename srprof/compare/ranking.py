"""Rank networks as the NTIRE challenge on efficient super-resolution does.

A table is data: each cell is a value and where it comes from. Ranks, marks and scores are pure
functions of it. The rules are those of the 2022 challenge (Li et al., "NTIRE 2022 Challenge on
Efficient Super-Resolution: Methods and Results", CVPRW 2022, sections 2 and 4): in each metric a
row's rank is 1 + the number of strictly better rows, so ties share one; the main track goes by
runtime, sub-track 1 by the sum of the ranks in params and FLOPs, sub-track 2 by the sum of the
ranks in runtime, params, FLOPs, activations and memory. PSNR and convs are shown and not ranked.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from srprof.errors import InputError
from srprof.figures import find

Kind = Literal["predicted", "measured", "published", "given"]
Mark = Literal["best", "second", ""]


@dataclass(frozen=True, slots=True)
class Metric:
    """A column of the table.

    Attributes:
        name: its key; the unit of its values is bytes for `memory`, else stands in the name
            (`runtime_ms`) or is a plain count.
        title, unit: for a person; factor: of that unit; decimals: as the challenge prints it.
        ranked: the challenge ranks it. higher: more is better.
    """

    name: str
    title: str
    unit: str
    factor: float
    decimals: int
    ranked: bool = True
    higher: bool = False

    def written(self, value: float) -> str:
        """The digits that the table prints."""
        return f"{value / self.factor:.{self.decimals}f}"


def _column(figure: str, name: str = "", title: str = "", ranked: bool = True) -> Metric:
    """The column of a figure, which the challenge calls otherwise where a name is given."""
    row = find(figure)
    title = title or row.title[0].upper() + row.title[1:]
    return Metric(name or figure, title, row.unit, row.factor, row.decimals, ranked)


#: The columns, in the order in which they are shown.
METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        _column("params"),
        _column("flops"),
        _column("latency_ms", "runtime_ms", "Runtime"),
        _column("allocated", "memory", "Memory"),
        _column("activations"),
        _column("convs", ranked=False),
        Metric("psnr_dB", "PSNR", "dB", 1, 2, ranked=False, higher=True),
    )
}

#: What the challenge ranks, in the order in which people say it.
RANKED = tuple(name for name, metric in METRICS.items() if metric.ranked)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from.

    Attributes:
        kind: srprof predicted it, a device measured it, somebody published it, or the user gave
            it in a file.
        what: how, in words. device: that it was predicted for or measured on. source: the record,
            file or publication.
    """

    kind: Kind
    what: str = ""
    device: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """A value in its metric's unit, and where it comes from."""

    value: float
    origin: Origin


@dataclass(frozen=True, slots=True)
class Entry:
    """A row: a network with what is known of it.

    Attributes:
        cells: by metric; one that is missing is not known.
        ranked: it takes part in the ranking; the challenge leaves out rows of too low a PSNR.
        reference: the published table that it belongs to, "" for the user's own.
        peaks: bytes by way of counting memory, where known.
        notes: what a reader must know of it, one line each.
    """

    name: str
    cells: Mapping[str, Cell]
    ranked: bool = True
    reference: str = ""
    peaks: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RankTable:
    """Rows to rank, in any order.

    An InputError if there are none, or two of one name (a published one may share the user's).
    """

    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        if not self.entries:
            raise InputError("there is nothing to rank: name at least one model")
        names = Counter((entry.name, entry.reference) for entry in self.entries)
        for (name, _), count in names.items():
            if count > 1:
                mend = "leave one out, or give it other arguments or another name"
                raise InputError(f"two models are called {name!r}: {mend}")

    def values(self, metric: str) -> tuple[float | None, ...]:
        """The values that are compared, in the metric's unit; None is not known or not ranked.

        Published values are known to the digits that were printed. Where some of a column are
        published, all of it is compared at those digits, so that a network does not lose to its
        own rounded figure; else exactly.
        """
        column = METRICS[metric]
        cells = [entry.cells.get(metric) for entry in self.entries]
        coarse = any(cell is not None and cell.origin.kind == "published" for cell in cells)

        def value(entry: Entry) -> float | None:
            cell = entry.cells.get(metric)
            if cell is None or not entry.ranked:
                return None
            return column.factor * float(column.written(cell.value)) if coarse else cell.value

        return tuple(map(value, self.entries))

    def ranks(self, metric: str) -> tuple[int | None, ...]:
        """The challenge's rank of every row in a metric; None where there is no value."""
        return ranks(self.values(metric), METRICS[metric].higher)

    def marks(self, metric: str) -> tuple[Mark, ...]:
        """The best and the second best value among the ranked rows; equal values share a mark.

        One value alone is not marked: there is nothing that it is better than.
        """
        values = self.values(metric)
        known = [value for value in values if value is not None]
        order = sorted(set(known), reverse=METRICS[metric].higher) if len(known) > 1 else []
        names: tuple[Mark, ...] = ("best", "second")
        marks: dict[float | None, Mark] = dict(zip(order, names, strict=False))
        return tuple(marks.get(value, "") for value in values)


def ranks(values: Sequence[float | None], higher: bool = False) -> tuple[int | None, ...]:
    """1 + the number of strictly better values; lower is better unless `higher`."""
    signed = [None if v is None else -v if higher else v for v in values]
    known = sorted(v for v in signed if v is not None)
    return tuple(None if v is None else 1 + bisect_left(known, v) for v in signed)


def memory_orders(entries: Sequence[Entry]) -> dict[str, tuple[tuple[str, int], ...]]:
    """Names and bytes from the smallest to the largest, by each way of counting memory.

    Only rows of which every way is known; empty if there are fewer than two.
    """
    known = [entry for entry in entries if entry.peaks]
    if len(known) < 2:
        return {}
    return {
        way: tuple(sorted(((e.name, e.peaks[way]) for e in known), key=lambda item: item[1]))
        for way in known[0].peaks
    }
