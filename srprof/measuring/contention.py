"""How long a process waited for a processor that another program had.

Linux counts it for each thread: the second figure of `schedstat`, in nanoseconds (kernel
documentation, scheduler/sched-stats). A thread that sleeps, or waits for a lock or for a GPU, is
not counted. Only the standard library here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter

_TASKS = Path("/proc/self/task")


def waits() -> Mapping[str, float]:
    """Seconds that each thread of this process has waited so far; none where nobody counts."""
    found = {}
    for path in _TASKS.glob("*/schedstat"):
        try:
            found[path.parent.name] = 1e-9 * int(path.read_text().split()[1])
        except (OSError, ValueError, IndexError):  # a thread that has just ended
            continue
    return found


class Contention:
    """What other programs took of this process's time since this was made."""

    def __init__(
        self,
        waits: Callable[[], Mapping[str, float]] = waits,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._waits, self._clock = waits, clock
        self._before, self._began = waits(), clock()

    def share(self) -> float | None:
        """Share of the time that the thread which waited most has waited; None if not known.

        That thread is the one that all others wait for at the end of a kernel.
        """
        elapsed, now = self._clock() - self._began, self._waits()
        if not now or elapsed <= 0:
            return None
        most = max(seconds - self._before.get(thread, 0.0) for thread, seconds in now.items())
        return min(max(most, 0.0) / elapsed, 1.0)
