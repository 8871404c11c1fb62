"""A sweep: what is computed, and the rows of its table, also as a pandas frame. No torch here."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from srprof.call import Call
from srprof.errors import InputError
from srprof.sweeping.grid import Configuration, unit

if TYPE_CHECKING:
    import pandas

#: A row's cells by column: arguments and figures.
Row = Mapping[str, object]


@dataclass(frozen=True)
class SweepPlan:
    """What is computed, all of it checked; configurations are in the order of the table.

    Attributes:
        call: the SPEC without the grid's arguments, and the format; without inputs.
        profile: name or path of that for `latency_ms`. basis: what the rows depend on beside these.
        folder: where relative paths begin. timeout: seconds that a configuration may take.
        ops: files of rules for operators.
    """

    call: Call
    configurations: tuple[Configuration, ...]
    arguments: tuple[str, ...]
    metrics: tuple[str, ...]
    profile: str | None
    basis: Mapping[str, object]
    folder: str
    timeout: float | None = None
    ops: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the table."""
        return (*self.arguments, "input", *self.metrics, "error")

    def part(self, some: Sequence[Configuration]) -> SweepPlan:
        """The plan of some of the configurations: a worker's task."""
        return replace(self, configurations=tuple(some))


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
