"""A training step as the search sees an analysis: one peak, of the bytes that it requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from srprof.figures import PeakFigure, peak
from srprof.memory.model import Peak
from srprof.memory.training import StepMemory, step_memory
from srprof.records import Trace


@dataclass(frozen=True)
class Net:
    """Bytes of parameters and buffers."""

    net: int


@dataclass(frozen=True)
class Step:
    """The memory of one training step of a trace, as `srprof.analyze_training` has it."""

    trace: Trace
    latency: None = None

    @cached_property
    def step(self) -> StepMemory:
        """Bytes by node and kind."""
        return step_memory(self.trace)

    @property
    def memory(self) -> Net:
        """The network's own bytes, which every step has."""
        return Net(self.step.kinds[0][0])

    @property
    def peaks(self) -> Mapping[str, Peak]:
        """The one peak by its name."""
        return {STEP.name: self.step.peak}


def _of(analysis: Any) -> Peak:
    found: Peak = analysis.step.peak
    return found


#: What the budget is held against: the most that a step references at once.
STEP: PeakFigure = peak("step", "the most that a training step references", _of)
