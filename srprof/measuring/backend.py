"""What a kind of device must be able to do to be measured on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from srprof.measuring.record import (
    Device,
    DeviceState,
    Fingerprint,
    Flags,
    Latency,
    Memory,
    NodeFacts,
    TensorFacts,
    Versions,
)
from srprof.progress import Progress

if TYPE_CHECKING:
    from srprof.workload import Instance, Workload


@dataclass
class Draft:
    """What was measured so far, by whichever back end; each part is whole or None."""

    fingerprint: Fingerprint | None = None
    inputs: tuple[TensorFacts, ...] = ()
    memory: Memory | None = None
    nodes: tuple[NodeFacts, ...] = ()
    flags: Flags | None = None
    latency: Latency | None = None
    deterministic: bool | None = None
    notes: list[str] = field(default_factory=list)


class Backend(Protocol):
    """A kind of device to measure on."""

    #: Where the instances are; the kind of clock; passes before and among the samples unless
    #: the caller says.
    where: str
    clock: str
    warmup: int
    repeat: int

    def device(self) -> Device:
        """What the device is."""

    def versions(self) -> Versions:
        """Versions of what the figures depend on."""

    def flags(self) -> Flags:
        """Settings of torch now."""

    def active(self) -> AbstractContextManager[None]:
        """Entered around everything that is measured; it undoes what it sets."""

    def measure_memory(self, workload: Workload, draft: Draft, progress: Progress) -> Instance:
        """Fill the draft, as far as it comes, and give an instance that has run."""

    def time_ms(self, call: Callable[[], object]) -> float:
        """How long one call takes, in ms, without the freeing of its result."""

    def state(self) -> DeviceState | None:
        """Clocks and the like now, None where nobody can say."""

    def energy_j(self) -> float | None:
        """A counter of the energy that the device has taken, None where nobody counts."""
