"""Timing one bench: as many calls in a row as a clock can tell apart."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from srprof.calibration.benches import Bench
from srprof.measuring.backend import Backend

#: Milliseconds that a sample should take at least, and calls that are always enough.
_LEAST_MS = 1.0
_MOST_CALLS = 200


class Stopwatch(Protocol):
    """What a calibration times with."""

    #: Where the benches run, as torch names it.
    where: str

    def active(self) -> AbstractContextManager[None]:
        """Entered around everything that is timed."""

    def seconds(self, bench: Bench, call: Callable[[], object]) -> float:
        """How long one call of a bench takes, by a sample of several in a row if it is short.

        In a row, so a device that runs behind its host takes the longer of both, as in a network.
        """


class BackendStopwatch:
    """A stopwatch by the clock of a measuring back end."""

    def __init__(self, backend: Backend) -> None:
        self.where = backend.where
        self._backend = backend
        self._calls: dict[str, int] = {}

    def active(self) -> AbstractContextManager[None]:
        return self._backend.active()

    def seconds(self, bench: Bench, call: Callable[[], object]) -> float:
        if bench.name not in self._calls:
            call()
            once = max(self._backend.time_ms(call), 1e-6)
            self._calls[bench.name] = max(1, min(_MOST_CALLS, round(_LEAST_MS / once)))
        count = self._calls[bench.name]

        def several() -> None:
            for _ in range(count):
                call()

        return 1e-3 * self._backend.time_ms(several) / count
