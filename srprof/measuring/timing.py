"""A quick timing beside its prediction."""

from __future__ import annotations

from dataclasses import dataclass

from srprof.cost.roofline import Estimate
from srprof.measuring.record import Device, Latency
from srprof.records import Trace
from srprof.shown import Shown


@dataclass(frozen=True, repr=False)
class Timing(Shown):
    """What was timed, where, and what was predicted; None where no profile was at hand."""

    view = "timing"

    trace: Trace
    device: Device
    latency: Latency
    predicted: Estimate | None

    @property
    def difference(self) -> float | None:
        """Predicted over measured median, less 1."""
        if self.predicted is None:
            return None
        return 1e3 * self.predicted.seconds / self.latency.summary.median - 1
