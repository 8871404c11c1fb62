"""Published figures beside ours."""

from __future__ import annotations

from srprof.analysis.record import Comparison
from srprof.compare.published import MEASURES
from srprof.render.document import Cell, Column

_NUMBERS = (Column("published", "number"), Column("ours", "number"))
COLUMNS = (Column("figure"), *_NUMBERS, Column("difference"), Column("counted", long=True))


def row(comparison: Comparison) -> tuple[object, ...]:
    """Figure, published, ours, difference, convention; in the measure's unit."""
    measure, ours = MEASURES[comparison.measure], comparison.ours
    unit = f" {measure.unit}" if measure.unit else ""
    exact = measure.factor == 1 and ours is not None and ours == int(ours)
    decimals = 0 if exact else measure.decimals + 2
    return (
        measure.title,
        Cell(comparison.published, f"{comparison.published:.{measure.decimals}f}{unit}"),
        None if ours is None else Cell(ours, f"{ours:.{decimals}f}{unit}"),
        _difference(comparison),
        comparison.how,
    )


def _difference(comparison: Comparison) -> object:
    if comparison.difference is None:
        return None
    said = "the same digits" if comparison.agrees else f"{comparison.difference:+.2%}"
    if not comparison.agrees and not comparison.reproducible:
        said += ", not reproducible"
    return Cell(comparison.difference, said)
