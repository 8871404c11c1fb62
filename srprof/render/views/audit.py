"""An audit: rows with their doubts, figures beside predicted ones, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

from srprof.auditing.explaining import COUNTS
from srprof.auditing.record import (
    Audit,
    CountAudit,
    RowAudit,
    Standing,
    TableAudit,
    Unsettled,
)
from srprof.compare.ranking import METRICS, Metric
from srprof.render.document import Cell, Column, Document, Picture, Section, Table, notes
from srprof.render.figures import as_svg
from srprof.render.figures.errors import draw
from srprof.words import some

#: Entries that a line names.
_LISTED = 12
#: What explains a peak, as a table says it.
BY = {
    "image": "an image",
    "scratch": "an image, scratch",
    "constructor": "the constructor",
    "script": "the script's warm-up",
    "unexplained": "not explained",
}
#: Scores from here on are powers of ten.
_LARGE = 1e5
_CAPTION = "How many networks' predicted figures are how near the published ones."
_ELSEWHERE = (
    "Memory on {} was measured by others than the challenge, of the same networks at the same "
    "image, with another torch."
)

_Take = Callable[[RowAudit], object]


def document(audit: Audit) -> Document:
    """For each table its rows, figures beside predicted ones, and findings."""
    tables = audit.tables
    sections = tuple(section for table in tables for section in _sections(table, audit.source))
    coded = [table for table in tables if table.with_code]
    return Document(
        sections,
        audit.to_dict,
        appendix=lambda: tuple(map(_all_figures, coded)),
        main=_flat(tables),
    )


def _sections(table: TableAudit, source: str) -> tuple[Section, ...]:
    """One table's: its rows, its figures where code was given, its findings and notes."""
    count = "one entry" if len(table.rows) == 1 else f"{len(table.rows)} entries"
    title = f"{table.title or source}: {count}"
    times = Section(title, tuple(_lines(table)), _times(table)) if _has_times(table) else None
    code = (_figures(table, None if times else title),) if table.with_code else ()
    found = tuple((Cell(row.name), finding.text) for row in table.rows for finding in row.findings)
    columns = (Column("Entry"), Column("What was found", long=True))
    findings = (Section("Findings", table=Table(columns, found)),) if found else ()
    return (*([times] if times else []), *code, *findings, *notes(table.notes))


def _has_times(table: TableAudit) -> bool:
    return any(one.images for row in table.rows for one in row.times)


def _lines(table: TableAudit) -> Iterator[str]:
    """What stands out of the times."""
    cold = [row.name for row in table.rows if row.cold]
    if cold:
        yield f"The first image is cold in {len(cold)}: {some(cold, _LISTED)}."
    below = [row.name for row in table.rows if row.ranked is False]
    if below:
        yield f"PSNR below the year's floor, so without a score: {some(below, _LISTED)}."
    pairs: dict[frozenset[str], list[Unsettled]] = {}
    for pair in table.unsettled:
        pairs.setdefault(frozenset((pair.first, pair.second)), []).append(pair)
    for same in pairs.values():
        shares = ", ".join(f"{pair.turned:.0%} by {_said(pair.order)}" for pair in same)
        names = f"{same[0].first} and {same[0].second}"
        yield f"The order of {names} is not settled: resamples turn it, {shares}."
    for turn in table.turned:
        yield (
            f"By {turn.order} {turn.first} is before {turn.second} as stated, and behind it "
            "without the cold first images."
        )


def _said(order: str) -> str:
    name, _, without = order.partition("_")
    return f"{name} without cold first images" if without else name


def _times(table: TableAudit) -> Table:
    """A row for each entry that has times, by place as stated."""
    rows = [row for row in table.rows if row.mean() is not None]
    rows.sort(key=lambda row: row.mean() or 0.0)
    fields = [
        (Column("Entry"), lambda row: row.name),
        (Column("runtime ms", "time"), lambda row: row.mean()),
        (Column("place", "number"), lambda row: _place(row, "runtime")),
        (Column("first image ms", "fixed", decimals=1, spare=3), _first("first")),
        (Column("expected", "fixed", decimals=1, spare=2), _first("expected")),
        (Column("without it ms", "time"), lambda row: row.mean(True) if row.cold else None),
        (Column("place then", "number", spare=1), lambda row: _place(row, "runtime_without_first")),
        (
            Column("out of line", "count", spare=4),
            lambda row: sum(len(t.outliers) for t in row.times),
        ),
    ]
    if any("score" in row.standings for row in rows):
        fields += [
            (Column("score", "number", spare=1), _score),
            (Column("place by it", "number", spare=2), lambda row: _place(row, "score")),
        ]
    return Table.build(rows, *fields)


def _first(name: str) -> Callable[[RowAudit], float | None]:
    """Takes a figure of the program's first image."""
    return lambda row: getattr(row.times[0], name) if row.times else None


def _place(row: RowAudit, order: str) -> Cell | None:
    """A place, with its interval where that is more."""
    standing: Standing | None = row.standings.get(order)
    if standing is None:
        return None
    more = "" if standing.low == standing.high else f" ({standing.low}-{standing.high})"
    return Cell(standing.place, f"{standing.place}{more}")


def _score(row: RowAudit) -> Cell | None:
    standing = row.standings.get("score")
    if standing is None:
        return None
    value = standing.value
    return Cell(value, f"{value:.2e}" if value >= _LARGE else f"{value:,.2f}")


def _figures(table: TableAudit, title: str | None) -> Section:
    """Whether published figures are the predicted ones, or how far they are off."""
    rows = [row for row in table.rows if row.predicted is not None or row.failed]
    built = Table.build(
        rows,
        (Column("Entry"), lambda row: row.name),
        (Column("counts", long=True), _counts),
        (Column("memory MiB", "mib"), lambda row: row.memory and row.memory.published),
        (Column("predicted", "mib"), _memory),
        (Column("error", "change"), lambda row: row.memory and row.memory.error),
        (Column("it is of"), lambda row: row.memory and BY[row.memory.by]),
        (
            Column("predicted ms", "time", spare=1),
            lambda row: row.predicted and row.predicted.runtime_ms,
        ),
    )
    head = title or "Beside what srprof predicts of the code"
    errors = table.errors()
    drawn = Picture(_CAPTION, lambda: as_svg(lambda: draw(errors)))
    return Section(head, tuple(_summary(table)), built, pictures=(drawn,) if errors else ())


def _all_figures(table: TableAudit) -> Section:
    """Every published figure with the predicted one beside it."""
    rows = [row for row in table.rows if row.predicted is not None]
    others = sorted({name for row in rows for name in row.elsewhere})
    fields: list[tuple[Column, Callable[[RowAudit], object]]] = [
        (Column("Entry"), lambda row: row.name),
        (Column("number", "number"), lambda row: row.number),
    ]
    for name in COUNTS:
        fields += _pair(METRICS[name], _published(name), _predicted(name))
    fields += _pair(METRICS["memory"], _held("published"), _memory)
    for other in others:
        fields += _pair(METRICS["memory"], _on(other, "published"), _on(other, "predicted"), other)
    fields += _pair(METRICS["runtime_ms"], RowAudit.mean, _predicted("runtime_ms"))
    heading = f"Every figure{table.title and f' of {table.title}'}, published and predicted"
    lines = (_ELSEWHERE.format(", ".join(others)),) if others else ()
    return Section(heading, lines, Table.build(rows, *fields))


def _pair(
    metric: Metric, published: _Take, predicted: _Take, where: str = ""
) -> list[tuple[Column, _Take]]:
    """Two columns of a metric; a dash where nothing is published."""
    decimals = (
        metric.decimals + 1 if metric.name in COUNTS and metric.factor > 1 else metric.decimals
    )
    title = f"{metric.title} {metric.unit}".strip()
    of: dict[str, Any] = {"kind": "scaled", "factor": metric.factor, "decimals": decimals}
    said = f"{title}, {where}" if where else title
    return [(Column(said, **of), published), (Column("predicted", **of), predicted)]


def _published(name: str) -> _Take:
    return lambda row: next((c.published for c in row.counts if c.name == name), None)


def _predicted(name: str) -> _Take:
    return lambda row: None if row.predicted is None else getattr(row.predicted, name)


def _held(name: str) -> _Take:
    return lambda row: None if row.memory is None else getattr(row.memory, name)


def _memory(row: RowAudit) -> int | None:
    """The predicted peak, of the GPU that the published one is of, so far as that is known."""
    if row.memory is not None:
        return row.memory.predicted
    return None if row.predicted is None else row.predicted.memory


def _on(device: str, name: str) -> _Take:
    return lambda row: getattr(row.elsewhere.get(device), name, None)


def _counts(row: RowAudit) -> str:
    """Whether the counts are the published ones, or which are not."""
    if row.failed:
        return f"not run: {row.failed}"
    if not row.counts:
        return "none published"
    differ = [count for count in row.counts if not count.equal]
    return ", ".join(map(_differing, differ)) or "all equal"


def _differing(count: CountAudit) -> str:
    metric = METRICS[count.name]
    ours = "unknown" if count.predicted is None else _digits(count.predicted, metric.factor)
    return f"{metric.title} {_digits(count.published, metric.factor)}, predicted {ours}"


def _digits(value: float, factor: float) -> str:
    return f"{value / factor:.6g}"


def _summary(table: TableAudit) -> Iterator[str]:
    """How many figures agree, and how near memory is."""
    asked = [row for row in table.rows if row.predicted is not None or row.failed]
    ran = [row for row in asked if row.predicted is not None]
    counted = [row for row in ran if row.counts]
    if counted:
        equal = sum(all(count.equal for count in row.counts) for row in counted)
        yield f"All counts are the published digits in {equal} of {len(counted)} entries that ran."
    errors = dict(table.errors())
    held = [row.memory.by != "unexplained" for row in ran if row.memory is not None]
    if held:
        yield (
            f"Memory: {sum(held)} of {len(held)} published peaks are explained; predicted ones: "
            f"{_spread(errors.pop('memory'))}."
        )
    timed = errors.pop("runtime", ())
    if timed:
        yield f"Runtime, predicted for {table.profile}: {_spread(timed)}."
    for name, elsewhere in errors.items():
        measured = f"as measured of {len(elsewhere)} networks"
        yield f"{name.capitalize()}, {measured}: {_spread(elsewhere)}."
    if len(ran) < len(asked):
        yield f"Not run: {some((row.name for row in asked if row.predicted is None), _LISTED)}."


def _spread(errors: Sequence[float]) -> str:
    """Errors in words."""
    return f"off by {median(errors):.2%} in the median, at most {max(errors):.1%}"


def _flat(tables: tuple[TableAudit, ...]) -> Table:
    """One table for programs: a row for each entry of each year."""
    pairs = [(table, row) for table in tables for row in table.rows]
    return Table.build(
        pairs,
        (Column("year", key="year"), lambda pair: pair[0].year),
        (Column("entry", key="entry"), lambda pair: pair[1].name),
        (Column("runtime_ms", key="runtime_ms"), lambda pair: pair[1].mean()),
        (Column("without", key="runtime_ms_without_first"), lambda pair: pair[1].mean(True)),
        (Column("cold", key="cold"), lambda pair: pair[1].cold),
        (Column("place", key="place"), lambda pair: _of(pair[1], "place")),
        (Column("low", key="place_low"), lambda pair: _of(pair[1], "low")),
        (Column("high", key="place_high"), lambda pair: _of(pair[1], "high")),
        (Column("memory", key="memory"), lambda pair: pair[1].memory and pair[1].memory.published),
        (Column("predicted", key="predicted_memory"), lambda pair: _memory(pair[1])),
        (Column("by", key="by"), lambda pair: pair[1].memory and pair[1].memory.by),
        (Column("failed", key="failed"), lambda pair: pair[1].failed or None),
    )


def _of(row: RowAudit, name: str) -> int | None:
    standing = row.standings.get("runtime")
    return None if standing is None else int(getattr(standing, name))
