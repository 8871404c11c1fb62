"""An entry's checks, what to mend, and what its figures are worth in the score."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from srprof import figures
from srprof.challenge.years import score
from srprof.linting.record import Lint, Price, Standing
from srprof.paths import place, short_path
from srprof.render.charts import AFTER, Series, bars, digits
from srprof.render.document import Cell, Chart, Column, Document, Section, Table, notes
from srprof.words import shape_text

_UNITS = {"runtime_ms": ("runtime", "ms", 1.0), "flops": ("FLOPs", "G", 1e9)}
_UNITS["params"] = ("params", "M", 1e6)
#: What one step of each metric is called.
_STEPS = {"runtime_ms": "1 ms", "flops": "1 G", "params": "1 K"}


def document(lint: Lint) -> Document:
    """The checks, then what to mend, then the score."""
    main = _checks(lint)
    sections = [Section(_title(lint), (_summary(lint),), main)]
    sections += _to_mend(lint)
    sections += _score(lint)
    return Document((*sections, *notes(lint.notes)), data=lint.to_dict, main=main)


def _title(lint: Lint) -> str:
    of = f", built by {short_path(lint.script)} as team {lint.team}" if lint.script else ""
    return f"{lint.name} for {lint.rules.title}{of}"


def _summary(lint: Lint) -> str:
    counts = ", ".join(f"{number} {status}" for status, number in lint.counts.items())
    return f"{len(lint.checks)} checks: {counts}"


def _checks(lint: Lint) -> Table:
    rows = [(check, finding) for check in lint.checks for finding in check.findings]
    return Table.build(
        rows,
        (Column("check"), lambda row: row[0].title),
        (Column("verdict"), lambda row: row[1].status),
        (Column("found", long=True), lambda row: row[1].what),
        (Column("at"), lambda row: place(row[1].file, row[1].line) or None),
    )


def _to_mend(lint: Lint) -> list[Section]:
    """What to do about each finding that is not well, the failed ones first."""
    rows = [
        (check, finding)
        for status in ("failed", "warned")
        for check in lint.checks
        for finding in check.findings
        if finding.status == status
    ]
    table = Table.build(
        rows,
        (Column("check"), lambda row: row[0].title),
        (Column("what to do", long=True), lambda row: row[1].mend),
        (Column("at"), lambda row: place(row[1].file, row[1].line) or None),
        (Column("which has", long=True, spare=1), lambda row: row[1].code or None),
    )
    return [Section("What to mend", (), table)] if rows else []


def _score(lint: Lint) -> list[Section]:
    found = lint.standing
    if found is None:
        return [Section("Score", (f"None: {lint.unscored}.",))]
    year = lint.rules
    flops = figures.find(year.flops)
    lines = (
        f"{found.score:.3f} ± {found.uncertainty:.3f}, the lower the better; {year.network}, the "
        f"baseline, has {score(year, **year.baseline):.3f}.",
        f"{year.formula}",
        f"Runtime {found.runtime_ms:.2f} ± {found.uncertainty_ms:.2f} ms is predicted for "
        f"{year.gpu} at {shape_text(found.image[-2:])}; FLOPs: {flops.meaning}.",
    )
    charts = (partial(_bars, lint, found),)
    sections = [Section("Score", lines, _terms(found), charts=charts)]
    if found.edits:
        after = ("Each with all above it. An edit that lowers memory may cost time.",)
        sections.append(Section("Edits, priced", (), _edits(found.edits), after))
    if found.widths:
        after = ("Each alone, against the entry; what it does to PSNR is for you to measure.",)
        sections.append(Section("Widths, priced", (), _widths(found.widths), after))
    return sections


def _terms(found: Standing) -> Table:
    def value(metric: str, number: float) -> Cell:
        _, unit, factor = _UNITS[metric]
        return Cell(number, f"{number / factor:.3f} {unit}")

    return Table.build(
        found.terms,
        (Column("metric"), lambda t: _UNITS[t.metric][0]),
        (Column("entry", "number"), lambda t: value(t.metric, t.value)),
        (Column("baseline", "number"), lambda t: value(t.metric, t.baseline)),
        (Column("in the score", "fixed", decimals=3), lambda t: t.score),
        (Column("a step of"), lambda t: _STEPS[t.metric]),
        (Column("is worth", "fixed", decimals=4), lambda t: t.worth),
    )


def _edits(prices: tuple[Price, ...]) -> Table:
    return Table.build(
        prices,
        (Column("edit"), lambda p: p.kind),
        (Column("line"), lambda p: place(p.file, p.line)),
        (Column("what to write", long=True), lambda p: p.what),
        (Column("ms", "fixed", decimals=2), lambda p: p.runtime_ms),
        *_SCORED,
    )


def _widths(prices: tuple[Price, ...]) -> Table:
    return Table.build(
        prices,
        (Column("width"), lambda p: p.what),
        (Column("ms", "fixed", decimals=2), lambda p: p.runtime_ms),
        (Column("FLOPs G", "scaled", factor=1e9), lambda p: p.flops),
        (Column("params M", "scaled", factor=1e6, decimals=3), lambda p: p.params),
        *_SCORED,
    )


_SCORED: tuple[tuple[Column, Callable[[Price], object]], ...] = (
    (Column("score", "fixed", decimals=3), lambda p: p.score),
    (Column("change", "number"), lambda p: Cell(p.change, f"{p.change:+.3f}")),
)


def _bars(lint: Lint, found: Standing) -> Chart:
    """What each metric adds to the score."""
    names = [_UNITS[term.metric][0] for term in found.terms]
    series = Series("score", [digits(term.score) for term in found.terms], AFTER)
    return bars("part of the score", "What each metric adds to the score.", names, series)
