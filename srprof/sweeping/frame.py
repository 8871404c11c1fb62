"""The table of a sweep as a pandas frame, and as Parquet."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from srprof.errors import InputError
from srprof.sweeping.grid import unit
from srprof.sweeping.record import Row, SweepPlan

if TYPE_CHECKING:
    import pandas


def frame(plan: SweepPlan, rows: Sequence[Row]) -> pandas.DataFrame:
    """A row for each configuration; what could not be computed is missing."""
    import pandas

    columns = list(plan.columns)
    table = pandas.DataFrame([{c: row[c] for c in columns} for row in rows], columns=columns)
    kinds = {m: "Float64" if unit(m) == "ms" else "Int64" for m in plan.metrics}
    return table.astype(kinds)


def parquet(plan: SweepPlan, rows: Sequence[Row]) -> bytes:
    """The frame as a Parquet file; values of several kinds, or lists, as Python writes them."""
    table, buffer = frame(plan, rows), io.BytesIO()
    for name in plan.arguments:
        kinds = {type(row[name]) for row in rows}
        if len(kinds) > 1 or not kinds <= {int, float, str, bool}:
            table[name] = [repr(row[name]) for row in rows]
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def check_parquet() -> None:
    """An InputError where nothing can write Parquet."""
    if importlib.util.find_spec("pyarrow") is None:
        raise InputError("Parquet needs the package pyarrow: pip install 'srprof[parquet]'")
