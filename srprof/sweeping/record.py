"""A sweep: what is computed, and the rows of its table. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from srprof.call import Call
from srprof.sweeping.grid import Configuration

#: A row's cells by column: arguments and figures.
Row = Mapping[str, object]


@dataclass(frozen=True)
class SweepPlan:
    """What is computed, all of it checked; configurations are in the order of the table.

    Attributes:
        call: the SPEC without the grid's arguments, and the format; without inputs.
        profile: name or path of that for `latency_ms`. basis: what the rows depend on beside these.
        folder: where relative paths begin.
    """

    call: Call
    configurations: tuple[Configuration, ...]
    arguments: tuple[str, ...]
    metrics: tuple[str, ...]
    profile: str | None
    basis: Mapping[str, object]
    folder: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the table."""
        return (*self.arguments, "input", *self.metrics, "error")

    def part(self, some: Sequence[Configuration]) -> SweepPlan:
        """The plan of some of the configurations: a worker's task."""
        return replace(self, configurations=tuple(some))
