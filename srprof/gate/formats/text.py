"""For a person: a table of what matters, and why."""

from __future__ import annotations

from srprof.gate.check import UPDATE, Report, Result, Row
from srprof.quantities import format_quantity
from srprof.render.tables import Column, Section, Table
from srprof.render.text import plain_sections

COLUMNS = (
    Column("model"),
    Column("metric"),
    *(Column(name, "number") for name in ("baseline", "now", "change", "limit")),
    Column("verdict"),
)


def render(report: Report, root: str) -> str:
    """Headings, the table, and the explanation of each check that changed."""
    return plain_sections(sections(report))


def sections(report: Report) -> list[Section]:
    """The summary with its table, then what is to be said of each check."""
    failed = sum(result.failed for result in report.results) + len(report.gone)
    count = len(report.results)
    title = f"{failed} of {count + len(report.gone)} checks failed" if failed else _hold(count)
    rows = tuple(_cells(r, row) for r in report.results for row in r.rows if _shown(row))
    lines = (report.updated,) if report.updated else ()
    table = Table(COLUMNS, rows) if rows else None
    found = [Section(title, lines, table)]
    found += [_section(r) for r in report.results if r.reasons or r.left_out or r.shrank]
    if report.gone:
        found.append(Section("baseline", tuple(f"FAILED: {r}" for r in report.gone_reasons)))
    return found


def _hold(count: int) -> str:
    return "the check holds" if count == 1 else f"all {count} checks hold"


def _shown(row: Row) -> bool:
    """Whether a person wants to see it: it has a limit, or is not as it was."""
    return row.limit is not None or bool(row.change) or row.fails


def _cells(result: Result, row: Row) -> tuple[str | None, ...]:
    values = (row.baseline if row.compared else None, row.now, row.change, row.limit)
    texts = [
        None if value is None else format_quantity(value, row.kind, sign)
        for value, sign in zip(values, (False, False, True, False), strict=True)
    ]
    return result.name, row.metric, *texts, row.verdict


def _section(result: Result) -> Section:
    lines = [f"FAILED: {reason}" for reason in result.reasons]
    if result.partial:
        lines += [f"warning: {text}" for text in result.left_out]
    lines += [f"  {line}" for line in result.explanation]
    if result.shrank:
        better = ", ".join(row.metric for row in result.rows if row.shrank)
        lines.append(f"went down: {better}; {UPDATE}, so that it stays so")
    return Section(result.name, tuple(lines))
