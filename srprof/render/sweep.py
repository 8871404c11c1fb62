"""The table of a sweep: a pandas frame, CSV, JSON, Parquet and text."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from srprof._version import __version__
from srprof.errors import InputError
from srprof.render.tables import Column, Kind, Section, Table
from srprof.render.text import plain_sections
from srprof.sweeping.grid import METRICS
from srprof.sweeping.run import SweepPlan

if TYPE_CHECKING:
    import pandas

Row = Mapping[str, Any]

#: Formats by the suffix of a file's name.
SUFFIXES = {".csv": "csv", ".parquet": "parquet", ".json": "json", ".txt": "text"}

_KINDS: Mapping[str, Kind] = {"count": "count", "bytes": "mib", "ms": "time"}


def frame(plan: SweepPlan, rows: Sequence[Row]) -> pandas.DataFrame:
    """A row for each configuration; what could not be computed is missing."""
    import pandas

    columns = list(plan.columns)
    found = pandas.DataFrame([{c: row[c] for c in columns} for row in rows], columns=columns)
    kinds = {m: "Float64" if METRICS[m] == "ms" else "Int64" for m in plan.metrics}
    return found.astype(kinds)


def _flat(plan: SweepPlan, rows: Sequence[Row]) -> pandas.DataFrame:
    """The frame with values of several kinds, or lists, as Python writes them."""
    found = frame(plan, rows)
    for name in plan.arguments:
        kinds = {type(row[name]) for row in rows}
        if len(kinds) > 1 or not kinds <= {int, float, str, bool}:
            found[name] = [repr(row[name]) for row in rows]
    return found


def _csv(plan: SweepPlan, rows: Sequence[Row]) -> str:
    """Without pandas, whose loading takes as long as many rows."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(plan.columns)
    writer.writerows([row[column] for column in plan.columns] for row in rows)
    return text.getvalue()


def _json(plan: SweepPlan, rows: Sequence[Row]) -> str:
    data = {
        "schema": 1,
        "srprof": __version__,
        "torch": plan.basis["torch"],
        "model": {"spec": plan.spec},
        "dtype": plan.dtype,
        "device": plan.device,
        "arguments": list(plan.arguments),
        "metrics": {name: METRICS[name] for name in plan.metrics},
        "rows": [{**row, "error": row["error"] or None} for row in rows],
    }
    return json.dumps(data, indent=1) + "\n"


def _parquet(plan: SweepPlan, rows: Sequence[Row]) -> bytes:
    check_parquet()
    buffer = io.BytesIO()
    _flat(plan, rows).to_parquet(buffer, index=False)
    return buffer.getvalue()


def check_parquet() -> None:
    """Refuse Parquet where nothing can write it.

    Raises:
        InputError: what to install.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise InputError("Parquet needs the package pyarrow: pip install 'srprof[parquet]'")


def _text(plan: SweepPlan, rows: Sequence[Row]) -> str:
    failed = any(row["error"] for row in rows)
    kinds: dict[str, Kind] = {name: _KINDS[METRICS[name]] for name in plan.metrics}
    columns = [Column(name) for name in (*plan.arguments, "input")]
    for name, kind in kinds.items():
        columns.append(Column(f"{name} MiB" if kind == "mib" else name, kind))
    names = [*plan.arguments, "input", *plan.metrics, *(["error"] if failed else [])]
    columns += [Column("error")] if failed else []
    table = Table(tuple(columns), tuple(tuple(row[n] for n in names) for row in rows))
    count = f"{len(rows)} configurations" if len(rows) > 1 else "one configuration"
    return plain_sections([Section(f"{plan.spec}: {count}", (), table)])


FORMATS: Mapping[str, Callable[[SweepPlan, Sequence[Row]], str | bytes]] = {
    "text": _text,
    "csv": _csv,
    "json": _json,
    "parquet": _parquet,
}


def format_of(form: str | None, output: str | None) -> str:
    """The format that is asked for, by name or by the output's suffix.

    Raises:
        InputError: the suffix is none that is known.
    """
    if form is not None or output is None:
        return form or "text"
    dot = output.rfind(".")
    suffix = output[dot:].lower() if dot > 0 else ""
    if suffix not in SUFFIXES:
        raise InputError(
            f"-o {output}: name a file that ends in {', '.join(SUFFIXES)}, or give --format"
        )
    return SUFFIXES[suffix]
