"""What releasing held tensors would save: `del` after the last use, one variable at a time.

Pure functions of the trace and the memory model; no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from srprof.memory.model import MemoryModel, alive_at, held_span, last_needed, of_the_run, rounded
from srprof.records import OWN_KINDS, Reference, Trace


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

    @property
    def variable(self) -> str:
        """All variables of the holder's function that reference it: `d1, r1`."""
        return ", ".join(r.variable for r in _together(self.references))


@dataclass(frozen=True, slots=True)
class Release:
    """What one variable holds at the eager peak though it is dead, and what releasing it saves.

    Attributes:
        variable: the variable; several (`d1, r1`) where they share a storage and all must let go.
        holder: where the first of them got its tensor.
        elsewhere: something outside that function references it too, and must let go as well.
        nbytes: bytes held at the peak; last_use: node of the latest use of any of them.
        saving: by how much the eager peak falls if only this lets go in time, in every call of
            its function.
        peak_after: the eager peak once this and all that are listed before have let go.
    """

    variable: str
    holder: Reference
    elsewhere: bool
    storages: tuple[int, ...]
    nbytes: int
    last_use: int
    saving: int
    peak_after: int


def held_at_peak(trace: Trace, memory: MemoryModel) -> tuple[HeldStorage, ...]:
    """The storages held at the eager peak, largest first; they sum to its `held`."""
    node, end = memory.eager.node, len(trace.nodes)
    held = []
    for index in () if node is None else alive_at(trace, node):
        storage = trace.storages[index]
        if node in held_span(storage, end):
            size = rounded(storage.nbytes, memory.granularity)
            last = last_needed(storage, end)
            held.append(HeldStorage(index, trace.references_of(index), size, last))
    return tuple(sorted(held, key=lambda h: (-h.nbytes, h.storage)))


def releases(trace: Trace, memory: MemoryModel) -> tuple[Release, ...]:
    """Held tensors at the eager peak by variable, largest first."""
    groups: dict[tuple[str, str], list[HeldStorage]] = {}
    for held in held_at_peak(trace, memory):
        names = [reference.variable for reference in _together(held.references)]
        lists = [name.partition("[")[0] or name for name in names]  # `feats` for `feats[2]`
        group = held.holder.function, ", ".join(dict.fromkeys(lists))
        groups.setdefault(group, []).append(held)
    siblings: dict[tuple[str, int, str], list[int]] = {}
    for index, storage in enumerate(trace.storages):
        if of_the_run(storage) and storage.birth >= 0:
            siblings.setdefault(_origin(trace, index), []).append(index)
    eager = [parts.eager for parts in memory.parts]
    remaining = list(eager)
    by_variable: list[Release] = []
    by_size = sorted(groups.items(), key=lambda group: -sum(h.nbytes for h in group[1]))
    for (_, variable), members in by_size:
        storages: set[int] = set()
        for member in members:
            storages.update(siblings.get(_origin(trace, member.storage), [member.storage]))
        alone = list(eager)
        for storage in map(trace.storages.__getitem__, storages):
            size = rounded(storage.nbytes, memory.granularity)
            for node in held_span(storage, len(trace.nodes)):
                alone[node] -= size
                remaining[node] -= size
        by_variable.append(
            Release(
                variable=variable,
                holder=members[0].holder,
                elsewhere=any(len(_together(h.references)) < len(h.references) for h in members),
                storages=tuple(h.storage for h in members),
                nbytes=sum(h.nbytes for h in members),
                last_use=max(h.last_use for h in members),
                saving=memory.eager.nbytes - max(alone),
                peak_after=max(remaining),
            )
        )
    return tuple(by_variable)


def _together(references: tuple[Reference, ...]) -> tuple[Reference, ...]:
    """The user's references in the function of the first; the first alone if it is not his."""
    function = references[0].function
    own = tuple(r for r in references if r.kind in OWN_KINDS and r.function == function)
    return own or references[:1]


def _origin(trace: Trace, storage: int) -> tuple[str, int, str]:
    """The source line and op that made a storage: the same in each call of a block."""
    birth = trace.storages[storage].birth
    if birth < 0:
        return "", 0, str(storage)
    node = trace.nodes[birth]
    return node.file, node.line, node.op
