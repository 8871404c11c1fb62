"""What releasing held tensors would save: `del` after the last use, one variable at a time.

Pure functions of the trace and the memory model; no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from srprof.memory.model import MemoryModel, alive_at, counted, last_needed, part_of, rounded
from srprof.tracing.records import Reference, Trace


@dataclass(frozen=True, slots=True)
class HeldStorage:
    """One storage held at the eager peak.

    Attributes:
        references: what still references it, the user's own variables first.
        nbytes: its size at the model's granularity.
        last_use: index of the last node that read or made it.
    """

    storage: int
    references: tuple[Reference, ...]
    nbytes: int
    last_use: int

    @property
    def holder(self) -> Reference:
        """The reference to name where there is room for one."""
        return self.references[0]


@dataclass(frozen=True, slots=True)
class Release:
    """One variable that holds dead tensors at the eager peak, and what letting go would bring.

    Attributes:
        nbytes: bytes it holds at the peak; last_use: of the latest of them.
        saving: by how much the eager peak falls if only this variable lets go in time, in
            every call of its function.
        peak_after: the eager peak once this and all variables listed before have let go.
    """

    holder: Reference
    storages: tuple[int, ...]
    nbytes: int
    last_use: int
    saving: int
    peak_after: int


def held_at_peak(trace: Trace, memory: MemoryModel) -> tuple[HeldStorage, ...]:
    """The storages held at the eager peak, largest first; they sum to its `held`."""
    node = memory.eager.node
    if node is None:
        return ()
    end = len(trace.nodes)
    found = [
        HeldStorage(
            storage=index,
            references=trace.references_of(index),
            nbytes=rounded(trace.storages[index].nbytes, memory.granularity),
            last_use=last_needed(trace.storages[index], end),
        )
        for index in alive_at(trace, node)
        if part_of(trace.storages[index], node, end) == "held"
    ]
    return tuple(sorted(found, key=lambda h: (-h.nbytes, h.storage)))


def releases(trace: Trace, memory: MemoryModel) -> tuple[Release, ...]:
    """Held tensors at the eager peak by variable, largest first."""
    groups: dict[Reference, list[HeldStorage]] = {}
    for held in held_at_peak(trace, memory):
        groups.setdefault(held.holder, []).append(held)
    siblings = _by_origin(trace)
    eager = [parts.eager for parts in memory.parts]
    remaining = list(eager)
    found: list[Release] = []
    for holder, members in sorted(groups.items(), key=lambda g: -sum(h.nbytes for h in g[1])):
        storages: dict[int, None] = {}
        for member in members:
            origin = _origin(trace, member.storage)
            storages.update(dict.fromkeys(siblings.get(origin, [member.storage])))
        alone = list(eager)
        for levels in (alone, remaining):
            _release(trace, memory.granularity, storages, levels)
        found.append(
            Release(
                holder=holder,
                storages=tuple(h.storage for h in members),
                nbytes=sum(h.nbytes for h in members),
                last_use=max(h.last_use for h in members),
                saving=memory.eager.nbytes - max(alone),
                peak_after=max(remaining),
            )
        )
    return tuple(found)


def _origin(trace: Trace, storage: int) -> tuple[str, int, str]:
    """The source line and op that made a storage: the same in each call of a block."""
    birth = trace.storages[storage].birth
    if birth < 0:
        return "", 0, str(storage)
    node = trace.nodes[birth]
    return node.file, node.line, node.op


def _by_origin(trace: Trace) -> dict[tuple[str, int, str], list[int]]:
    found: dict[tuple[str, int, str], list[int]] = {}
    for index, storage in enumerate(trace.storages):
        if counted(storage) and not storage.resident and storage.birth >= 0:
            found.setdefault(_origin(trace, index), []).append(index)
    return found


def _release(trace: Trace, granularity: int, storages: Iterable[int], levels: list[int]) -> None:
    """Take the storages out of the levels at the nodes where they are only held."""
    end = len(trace.nodes)
    for index in storages:
        storage = trace.storages[index]
        size = rounded(storage.nbytes, granularity)
        for node in range(
            max(last_needed(storage, end), storage.birth) + 1, min(storage.death, end)
        ):
            levels[node] -= size
