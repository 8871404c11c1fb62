"""What a kind of device must be able to do to be measured on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from srprof.inputs import TensorSpec
from srprof.measuring.record import (
    Device,
    DeviceState,
    Fingerprint,
    Flags,
    Latency,
    Memory,
    NodeFacts,
)
from srprof.measuring.settings import read_flags
from srprof.progress import Progress
from srprof.workload import Instance, Workload


@dataclass
class Draft:
    """What was measured so far, by whichever back end; each part is whole or None."""

    fingerprint: Fingerprint | None = None
    inputs: tuple[TensorSpec, ...] = ()
    memory: Memory | None = None
    nodes: tuple[NodeFacts, ...] = ()
    flags: Flags | None = None
    latency: Latency | None = None
    deterministic: bool | None = None
    notes: list[str] = field(default_factory=list)


class Backend(ABC):
    """A kind of device to measure on; `threads` of torch's own pool, None for as many as it has."""

    #: Where the instances are; the kind of clock; passes before and among the samples unless
    #: the caller says.
    where: str
    clock: str
    warmup: int
    repeat: int

    def __init__(self, threads: int | None) -> None:
        self._threads = threads or torch.get_num_threads()

    @abstractmethod
    def device(self) -> Device:
        """What the device is."""

    def flags(self) -> Flags:
        """Settings of torch now."""
        return read_flags()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Entered around everything that is measured; it undoes what it sets."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    @abstractmethod
    def measure_memory(self, workload: Workload, draft: Draft, progress: Progress) -> Instance:
        """Fill the draft, as far as it comes, and give an instance that has run."""

    @abstractmethod
    def time_ms(self, call: Callable[[], object]) -> float:
        """How long one call takes, in ms, without the freeing of its result."""

    def state(self) -> DeviceState | None:
        """Clocks and the like now, None where nobody can say."""
        return None

    def energy_j(self) -> float | None:
        """A counter of the energy that the device has taken, None where nobody counts."""
        return None
