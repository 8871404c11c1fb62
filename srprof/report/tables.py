"""The tables of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from srprof.challenge.years import chosen
from srprof.compare.published import MEASURES
from srprof.render.document import Cell, Column, Section, Table
from srprof.words import shape_text

if TYPE_CHECKING:
    from srprof.report.record import ComparedTable, Environment, FigureCell, ReportRecord


def facts(record: ReportRecord) -> str:
    """How many models, at which sizes: the ranking's are the challenge's whatever the input."""
    models = len(record.models)
    said = f"{models} model{'s' * (models != 1)} at LR {record.input}"
    if record.ranking is not None:
        taken = chosen(*record.references).sizes
        sizes = zip(taken._fields, map(shape_text, taken), strict=True)
        of = ", ".join(f"{what} at {size}" for what, size in sizes)
        said += f", but the ranking as the challenge has it: {of}"
    return said + "".join(f"; time predicted on {device.title}" for device in record.devices)


def peaks(record: ReportRecord) -> Table:
    """The peaks of every model, where the eager one is, and the predicted times."""
    columns = (
        Column("model"),
        *(Column(f"{p.name} {p.unit}", "scaled", factor=p.factor) for p in record.peaks),
        Column("eager at node", "number"),
        *(Column(f"predicted ms, {device.name}", "number") for device in record.devices),
    )
    rows = tuple(
        (
            model.name,
            *(model.peak[peak.name] for peak in record.peaks),
            model.peak_node["eager"],
            *(
                Cell(t.predicted_ms, f"{t.predicted_ms:.2f} ± {t.uncertainty_ms:.2f}")
                for t in model.devices
            ),
        )
        for model in record.models
    )
    return Table(columns, rows)


def comparison(table: ComparedTable) -> Section:
    """Published figures beside ours: three columns a measure, and how ours were counted."""
    columns = [Column("model")]
    for measure in map(MEASURES.__getitem__, table.measures):
        columns += [
            Column(f"{measure.title} {measure.unit}".strip() + ", published", "number"),
            Column("predicted" if measure.unit == "ms" else "ours", "number"),
            Column("difference"),
        ]
    rows = tuple(
        (row.name, *(c for name in table.measures for c in _cells(name, row.figures.get(name))))
        for row in table.rows
    )
    lines = (table.note,) if table.note else ()
    return Section(table.title, lines, Table(tuple(columns), rows), _how(table))


def _cells(name: str, cell: FigureCell | None) -> tuple[Cell | None, Cell | None, str | None]:
    if cell is None:
        return None, None, None
    measure, published, ours = MEASURES[name], cell.published, cell.ours
    difference = None
    if cell.agrees:
        difference = "the same digits"
    elif published and ours is not None:
        difference = f"{ours / published - 1:+.2%}"
        difference += "" if cell.reproducible else ", not reproducible"
    decimals = measure.decimals + (measure.factor != 1)
    return (
        None if published is None else Cell(published, f"{published:.{measure.decimals}f}"),
        None if ours is None else Cell(ours, f"{ours:.{decimals}f}"),
        difference,
    )


def _how(table: ComparedTable) -> tuple[str, ...]:
    """How ours was counted, where it was not as the measure is by default."""
    measures = [MEASURES[name] for name in table.measures if MEASURES[name].counts]
    timed, others = dict[str, None](), dict[tuple[str, str], list[str]]()
    for row in table.rows:
        for name, cell in row.figures.items():
            if cell.uncertainty is not None:
                timed[f"time: {cell.how}"] = None
            elif cell.ours is not None and cell.how != MEASURES[name].how:
                others.setdefault((MEASURES[name].title, cell.how), []).append(row.name)
    return (
        *(f"{measure.title}: {measure.how}" for measure in measures),
        *timed,
        *(f"{title} of {', '.join(names)}: {how}" for (title, how), names in others.items()),
    )


def environment(environment: Environment) -> Table:
    """What made the report."""
    rows = (
        ("command", environment.command),
        ("Python", environment.python),
        ("system", environment.system),
        *((name, version or "not installed") for name, version in environment.packages.items()),
    )
    return Table((Column("what"), Column("value", long=True)), rows)
