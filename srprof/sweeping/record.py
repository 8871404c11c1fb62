"""A sweep: what is computed, and the rows of its table. No torch here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from srprof.sweeping.grid import Configuration
from srprof.sweeping.worker import Task

#: A row's cells by column: arguments and figures.
Row = Mapping[str, object]


@dataclass(frozen=True)
class SweepPlan:
    """What is computed, all of it checked.

    Attributes:
        configurations: in the order of the table.
        basis: what the rows depend on beside these.
    """

    spec: str
    configurations: tuple[Configuration, ...]
    arguments: tuple[str, ...]
    metrics: tuple[str, ...]
    device: str | None
    dtype: str
    channels_last: bool
    trace_on: str
    basis: Mapping[str, object]

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the table."""
        return (*self.arguments, "input", *self.metrics, "error")

    def task(self, some: Sequence[Configuration]) -> Task:
        """A task for some of the configurations."""
        return Task(
            configurations=tuple(some),
            metrics=self.metrics,
            device=self.device,
            dtype=self.dtype,
            channels_last=self.channels_last,
            trace_on=self.trace_on,
            folder=os.getcwd(),
        )
