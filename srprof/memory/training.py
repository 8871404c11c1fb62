"""What the memory of a training step is made of, at every node and at its peak.

Pure functions of the trace of a step; no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

from srprof.codec import Key
from srprof.memory.model import GRANULARITY, Peak, Span, alive_at, counted, peak, rounded, totals

if TYPE_CHECKING:
    from srprof.records import Storage, Trace, TrainingStep

Phase = Literal["forward", "backward", "update"]
PHASES: tuple[Phase, ...] = ("forward", "backward", "update")

Kind = Literal["net", "state", "gradients", "images", "saved", "temporary"]
#: What a storage of a step is there for: parameters and buffers; the optimizer's state; gradients
#: of parameters; input and target; what forward leaves behind for backward; all else.
KINDS: tuple[Kind, ...] = ("net", "state", "gradients", "images", "saved", "temporary")


@dataclass(frozen=True)
class StepMemory:
    """Bytes referenced at the end of each node of a training step.

    Attributes:
        granularity: each storage counts as a multiple of this many bytes.
        kinds: by node and by kind in the order of `KINDS`; they sum to what the program references.
        peak: the most of all nodes; phases: the most of each phase.
    """

    granularity: int
    kinds: tuple[tuple[int, ...], ...]
    peak: Peak
    phases: dict[Phase, Peak]


@dataclass(frozen=True, slots=True)
class SavedLine:
    """What one source line leaves behind for backward: bytes in so many storages, by its ops."""

    file: str
    line: int
    function: str
    ops: tuple[str, ...]
    storages: int
    nbytes: Annotated[int, Key("bytes")]


def phase_of(step: TrainingStep, node: int) -> Phase:
    """The phase that a node belongs to."""
    if node < step.backward:
        return "forward"
    return "backward" if node < step.update else "update"


def kind_of(storage: Storage, index: int, step: TrainingStep) -> Kind:
    """What a storage of a step is there for."""
    if index in step.state:
        return "state"
    if storage.resident:
        return "net"
    if index in step.gradients:
        return "gradients"
    if storage.role == "input":
        return "images"
    made_in_forward = 0 <= storage.birth < step.backward
    return "saved" if made_in_forward and storage.death > step.backward else "temporary"


def step_memory(trace: Trace, granularity: int = GRANULARITY) -> StepMemory:
    """Kinds and peaks of the trace of a step; time linear in nodes and storages."""
    step = trace.step
    assert step is not None
    count = len(trace.nodes)
    spans: dict[Kind, list[Span]] = {kind: [] for kind in KINDS}
    for index, storage in enumerate(trace.storages):
        if counted(storage):
            end = count if storage.resident else storage.death
            size = rounded(storage.nbytes, granularity)
            spans[kind_of(storage, index, step)].append((storage.birth, end, size))
    kinds = tuple(zip(*(totals(spans[kind], count) for kind in KINDS), strict=True))
    levels = [sum(node) for node in kinds]
    phases = {
        phase: peak(levels[first:end], first=first)
        for phase, (first, end) in zip(
            PHASES, pairwise((0, step.backward, step.update, count)), strict=True
        )
    }
    return StepMemory(granularity, kinds, peak(levels), phases)


def saved_lines(trace: Trace, node: int, granularity: int = GRANULARITY) -> tuple[SavedLine, ...]:
    """What is saved for backward at a node, by the line that made it, the largest first."""
    step = trace.step
    assert step is not None
    lines: dict[tuple[str, int, str], list[tuple[str, int]]] = {}
    for index in alive_at(trace, node):
        storage = trace.storages[index]
        if kind_of(storage, index, step) == "saved":
            maker = trace.nodes[storage.birth]
            item = (maker.op, rounded(storage.nbytes, granularity))
            lines.setdefault((maker.file, maker.line, maker.function), []).append(item)
    saved = []
    for place, items in lines.items():
        ops, sizes = zip(*items, strict=True)
        saved.append(SavedLine(*place, tuple(sorted({*ops})), len(items), sum(sizes)))
    return tuple(sorted(saved, key=lambda line: (-line.nbytes, line.file, line.line)))
