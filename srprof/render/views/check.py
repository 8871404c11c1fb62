"""A gate's report: a table of what matters, and why."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from srprof.codec import pick
from srprof.gate.formats import location
from srprof.gate.record import UPDATE, Report, Result, Row
from srprof.quantities import format_quantity
from srprof.render.charts import AFTER, Series, bars, digits
from srprof.render.document import Cell, Chart, Column, Document, Section, Table

#: Version of the JSON object, and what its values of a kind are in.
SCHEMA = 1
UNITS = {"bytes": "bytes", "count": "", "time": "ns"}

_COLUMNS = (
    Column("model"),
    Column("metric"),
    *(Column(name, "number") for name in ("baseline", "now", "change", "limit")),
    Column("verdict"),
)


def document(report: Report, root: str = "") -> Document:
    """The summary with its table, then each check; JSON names source files from `root`."""
    failed = sum(result.failed for result in report.results) + len(report.gone)
    count = len(report.results)
    hold = "the check holds" if count == 1 else f"all {count} checks hold"
    title = f"{failed} of {count + len(report.gone)} checks failed" if failed else hold
    rows = [(r, row) for r in report.results for row in r.rows]
    every = tuple(_cells(*pair) for pair in rows)
    # a person wants to see what has a limit, or is not as it was
    shown = tuple(_cells(r, x) for r, x in rows if x.limit is not None or x.change or x.fails)
    lines = (*filter(None, (report.updated,)), *(f"accepted: {line}" for line in report.accepted))
    charts = (partial(_bars, rows),) if any(row.limit for _, row in rows) else ()
    sections = [Section(title, lines, Table(_COLUMNS, shown) if shown else None, charts=charts)]
    sections += [
        _section(r) for r in report.results if r.reasons or r.warnings or r.shrank or r.notes
    ]
    if report.gone:
        sections.append(Section("baseline", tuple(f"FAILED: {r}" for r in report.gone_reasons)))
    return Document(tuple(sections), data=lambda: _data(report, root), main=Table(_COLUMNS, every))


def _bars(rows: Sequence[tuple[Result, Row]]) -> Chart:
    """Every figure that has a limit, as a share of it."""
    shares = {
        f"{result.name} {row.metric}": digits(100 * row.now / row.limit)
        for result, row in rows
        if row.limit
    }
    series = Series("now", list(shares.values()), AFTER)
    caption = "What each figure takes of its limit, which is the line."
    return bars("share of the limit (%)", caption, shares, series, limit=100)


def _data(report: Report, root: str) -> dict[str, object]:
    """Every figure, verdict and explanation; values are whole numbers in `unit`."""
    return {
        "schema": SCHEMA,
        "failed": report.failed,
        "checks": [_check(result, root) for result in report.results],
        "gone": list(report.gone),
        "updated": report.updated or None,
        **({"accepted": list(report.accepted)} if report.accepted else {}),
    }


def _check(result: Result, root: str) -> dict[str, object]:
    file, line = location(result, root)
    return {
        **pick(result, "name failed problems"),
        "left_out": [*result.released, *result.left_out],
        **pick(result, "explanation"),
        **(pick(result, "notes") if result.notes else {}),
        "file": file or None,
        "line": line or None,
        "metrics": [
            {
                "metric": row.metric,
                "unit": UNITS[row.kind],
                **pick(row, "baseline now change allowed limit compared"),
                "failed": row.fails,
                "verdict": row.verdict,
            }
            for row in result.rows
        ],
    }


def _cells(result: Result, row: Row) -> tuple[object, ...]:
    values = (row.baseline if row.compared else None, row.now, row.change, row.limit)
    cells = (
        None if value is None else Cell(value, format_quantity(value, row.kind, sign))
        for value, sign in zip(values, (False, False, True, False), strict=True)
    )
    return result.name, row.metric, *cells, row.verdict


def _section(result: Result) -> Section:
    lines = [f"FAILED: {reason}" for reason in result.reasons]
    lines += [f"warning: {text}" for text in result.warnings]
    lines += [f"  {line}" for line in result.explanation]
    lines += [f"note: {text}" for text in result.notes if text not in " ".join(result.problems)]
    if result.shrank:
        better = ", ".join(row.metric for row in result.rows if row.shrank)
        lines.append(f"went down: {better}; {UPDATE}, so that it stays so")
    return Section(result.name, tuple(lines))
