"""The memory model: what the program references at every node, and why.

The paper (FMEN, Section 3.1) explains a node's memory as M_input + M_output + M_kept + M_net.
Eager PyTorch references more: tensors that no later node needs, but a variable still names.
This module calls that part `held`, so that at every node

    net + input + output + kept + held = bytes that the program references.

Pure functions of the trace; no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from srprof.records import RESIDENT_ROLES, Storage, Trace

#: CUDA's caching allocator hands out memory in multiples of this many bytes, so that a tensor
#: of one float takes 512. The published figures contain it; `granularity=1` leaves it out.
GRANULARITY = 512


@dataclass(frozen=True, slots=True)
class Parts:
    """Bytes referenced at the end of one node.

    Attributes:
        net: the network's parameters, buffers and constants.
        input: storages that the node reads or changes in place.
        output: storages that it creates.
        kept: older storages that a later node needs or the caller holds.
        held: storages that nothing needs any more, but something still references.
    """

    net: int
    input: int
    output: int
    kept: int
    held: int

    @property
    def planned(self) -> int:
        """What a perfect executor needs here."""
        return self.net + self.input + self.output + self.kept

    @property
    def eager(self) -> int:
        """What eager PyTorch references here."""
        return self.planned + self.held


@dataclass(frozen=True, slots=True)
class Peak:
    """The most that any node needs, and the first node that needs it (None without nodes)."""

    nbytes: int
    node: int | None


@dataclass(frozen=True)
class MemoryModel:
    """The parts at every node, and the peaks over them, in bytes."""

    granularity: int
    net: int
    parts: tuple[Parts, ...]
    planned: Peak
    eager: Peak


def rounded(nbytes: int, granularity: int = GRANULARITY) -> int:
    """Bytes rounded up to a multiple of the granularity."""
    return -(-nbytes // granularity) * granularity


def last_needed(storage: Storage, end: int) -> int:
    """Index of the last node that needs the storage; `end` if the caller needs it throughout."""
    if storage.returned or storage.role == "input":
        return end
    return storage.uses[-1] if storage.uses else storage.birth


def held_span(storage: Storage, end: int) -> range:
    """Nodes at whose end the storage is referenced though nothing needs it; `end` nodes ran."""
    return range(max(last_needed(storage, end), storage.birth) + 1, min(storage.death, end))


def counted(storage: Storage) -> bool:
    """Whether it takes the model's device's memory."""
    return not storage.host


def of_the_run(storage: Storage) -> bool:
    """Whether it takes that memory for the run and is no part of the network."""
    return not (storage.host or storage.resident)


def memory_model(trace: Trace, granularity: int = GRANULARITY) -> MemoryModel:
    """Parts and peaks of a trace; time and space linear in nodes plus uses.

    Args:
        granularity: each storage counts as a multiple of this many bytes.
    """
    count = len(trace.nodes)
    kept: list[Span] = []
    held: list[Span] = []
    inputs, outputs = [0] * count, [0] * count
    net = before_first = 0
    for storage in filter(counted, trace.storages):
        size = rounded(storage.nbytes, granularity)
        if storage.resident:
            net += size
            continue
        if storage.birth < 0:
            before_first += size
        else:
            outputs[storage.birth] += size
        alive_until = min(storage.death, count)
        dead = held_span(storage, count)
        kept.append((storage.birth + 1, min(dead.start, alive_until), size))
        held.append((dead.start, dead.stop, size))
        for use in storage.uses:
            if use != storage.birth and use < alive_until:
                inputs[use] += size
                kept.append((use, use + 1, -size))
    levels = (inputs, outputs, totals(kept, count), totals(held, count))
    parts = tuple(Parts(net, *node) for node in zip(*levels, strict=True))
    idle = net + before_first
    planned, eager = [p.planned for p in parts], [p.eager for p in parts]
    return MemoryModel(granularity, net, parts, peak(planned, idle), peak(eager, idle))


def referenced(trace: Trace, granularity: int = GRANULARITY) -> list[int]:
    """`Parts.eager` of each node by itself, which takes a tenth of the time of all parts."""
    net, count = 0, len(trace.nodes)
    changes = [0] * (count + 1)
    for storage in trace.storages:  # by the hundred thousand while advice is looked for
        if storage.host:
            continue
        size = -(-storage.nbytes // granularity) * granularity
        if storage.role in RESIDENT_ROLES:
            net += size
            continue
        birth, death = storage.birth, storage.death
        changes[birth if birth > 0 else 0] += size
        changes[count if death > count else death if death > birth else birth + 1] -= size
    return [net + level for level in accumulate(changes[:count])]


#: Nodes, the first and the one behind the last, and bytes that are there at each of them.
Span = tuple[int, int, int]


def totals(spans: Iterable[Span], count: int) -> list[int]:
    """Bytes at each of so many nodes; a span may begin before the first and end behind the last."""
    changes = [0] * (count + 1)
    for first, last, nbytes in spans:
        start, stop = max(first, 0), min(last, count)
        if start < stop:
            changes[start] += nbytes
            changes[stop] -= nbytes
    return list(accumulate(changes[:count]))


def peak(values: Sequence[int], idle: int = 0, first: int = 0) -> Peak:
    """The most of the values at the nodes from the first on; `idle` without nodes."""
    largest = max(values, default=idle)
    return Peak(largest, first + values.index(largest) if values else None)


def alive_at(trace: Trace, node: int) -> tuple[int, ...]:
    """Indices of the storages of the run referenced at the end of the node, oldest first."""
    return tuple(
        index
        for index, s in enumerate(trace.storages)
        if of_the_run(s) and s.birth <= node < s.death
    )


def part_of(storage: Storage, node: int, end: int) -> str:
    """The part that a storage alive at the node belongs to: a field name of `Parts`."""
    if storage.birth == node:
        return "output"
    if node in storage.uses:
        return "input"
    return "kept" if node < last_needed(storage, end) else "held"
