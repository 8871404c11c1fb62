"""A sweep: a row for each configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from srprof import figures
from srprof._version import __version__
from srprof.render.document import Column, Document, Kind, Section, Table
from srprof.sweeping.grid import unit
from srprof.sweeping.record import Row, SweepPlan

_KINDS: Mapping[str, Kind] = {"count": "count", "bytes": "mib", "time": "time"}


def document(plan: SweepPlan, rows: Sequence[Row]) -> Document:
    """Arguments, input and metrics, and the errors if there are any; programs have them always."""
    values = tuple(tuple(row[name] for name in plan.columns) for row in rows)
    main = Table(tuple(map(_column, plan.columns)), values)
    failed = any(row["error"] for row in rows)
    table = main if failed else Table(main.columns[:-1], tuple(row[:-1] for row in main.rows))
    count = f"{len(rows)} configurations" if len(rows) > 1 else "one configuration"
    section = Section(f"{plan.call.spec}: {count}", (), table)
    return Document((section,), lambda: _data(plan, rows), main=main)


def _column(name: str) -> Column:
    figure = figures.known(name)
    kind = "text" if figure is None else _KINDS[figure.kind]
    return Column(f"{name} MiB" if kind == "mib" else name, kind, name)


def _data(plan: SweepPlan, rows: Sequence[Row]) -> dict[str, object]:
    return {
        "schema": 1,
        "srprof": __version__,
        "torch": plan.basis["torch"],
        "model": {"spec": plan.call.spec},
        "dtype": plan.call.dtype,
        "device": plan.profile,
        "arguments": list(plan.arguments),
        "metrics": {name: unit(name) for name in plan.metrics},
        "rows": [{**row, "error": row["error"] or None} for row in rows],
    }
