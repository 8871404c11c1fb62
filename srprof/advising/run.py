"""`srprof.advise`: record a network, find the edits of its source that lower its peak."""

from __future__ import annotations

import linecache
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srprof._version import __version__
from srprof.advising.candidate import Candidate
from srprof.advising.candidates import Holder, candidates
from srprof.advising.replay import Replay, settled
from srprof.advising.search import Search, Step
from srprof.advising.source import Function, read_functions
from srprof.errors import InputError
from srprof.figures import find_peak, lowered_names
from srprof.leaning.levels import check_level
from srprof.memory.model import GRANULARITY, memory_model
from srprof.quantities import parse_quantity
from srprof.records import Frame, Node, Trace

if TYPE_CHECKING:
    from srprof.workload import Workload


@dataclass(frozen=True)
class Advice:
    """The edits that were found for a network, in the order in which they save the most.

    Attributes:
        trace: the run that they were tried on.
        memory: the peak that is meant; see `srprof.analyze`.
        peak: before any edit, in bytes.
        lowest: with every edit that was found, whether the budget needs it or not.
        node: the one at which nothing more was found, or the peak of a budget's steps; None
            without nodes. held: bytes that are dead there.
        steps: the edits, each with what it saves once those before it are made.
        budget: bytes that were asked for, None if none were.
        notes: what a reader must know.
    """

    trace: Trace
    memory: str
    granularity: int
    peak: int
    lowest: int
    node: Node | None
    held: int
    steps: tuple[Step, ...]
    budget: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def peak_after(self) -> int:
        """The peak once all steps are made."""
        return self.steps[-1].peak_after if self.steps else self.peak

    @property
    def within_budget(self) -> bool:
        """Whether the steps reach the budget; true if there is none."""
        return self.budget is None or self.peak_after <= self.budget

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `srprof advise --format json`; sizes in bytes."""
        return {
            "schema": 1,
            "srprof": __version__,
            "torch": self.trace.torch_version,
            "traced_on": self.trace.device,
            "notes": [*self.trace.notes, *self.notes],
            "model": {"spec": self.trace.spec, "name": self.trace.name},
            "inputs": [
                {"name": e.name, "shape": list(e.info.shape), "dtype": e.info.dtype}
                for e in self.trace.inputs
            ],
            "memory": self.memory,
            "granularity": self.granularity,
            "peak": self.peak,
            "peak_after": self.peak_after,
            "budget": self.budget,
            "within_budget": self.within_budget,
            "lowest": self.lowest,
            "peak_node_after": None
            if self.node is None
            else {
                "op": self.node.op,
                "module": self.node.module,
                "file": self.node.file,
                "line": self.node.line,
                "held": self.held,
            },
            "advice": [_step(step) for step in self.steps],
        }


def _step(step: Step) -> dict[str, Any]:
    candidate = step.candidate
    return {
        "kind": candidate.kind,
        "write": candidate.write,
        "file": candidate.file,
        "line": candidate.line,
        "other_line": candidate.other_line or None,
        "function": candidate.function,
        "places": candidate.places,
        "exact": candidate.exact,
        "saving": step.saving,
        "peak_after": step.peak_after,
    }


def advise(
    model: Any,
    *inputs: Any,
    weights: str | None = None,
    dtype: str = "float32",
    channels_last: bool = False,
    trace_on: str = "auto",
    granularity: int = GRANULARITY,
    memory: str = "eager",
    budget: str | int | None = None,
    level: str = "equivalent",
) -> Advice:
    """Changes of a network's source that lower its peak, each tried on the recorded run.

    Args:
        model, inputs, weights, dtype, channels_last, trace_on, granularity: as for `analyze`.
        memory: the peak to lower: "eager", "planned" or "allocated" (a fresh program's).
        budget: bytes, or a text such as "400MiB": only the fewest edits that reach it.
        level: "exact" edits only, which leave every bit of the results, or "equivalent" ones too,
            which change them by rounding: a fusion split.

    Raises:
        InputError: the SPEC, an input, the budget or the memory is wrong.
        ModelError: the model raised.
    """
    from srprof.tracing.run import recorded
    from srprof.workload import resolve

    levels = find_peak(memory).levels
    if levels is None:
        raise InputError(f"memory {memory!r} is not one of {', '.join(lowered_names())}")
    check_level(level)
    if granularity < 1:
        raise InputError(f"granularity {granularity} is not a positive number of bytes")
    nbytes = parse_budget(budget)
    workload = resolve(model, inputs, weights=weights, dtype=dtype, channels_last=channels_last)
    with recorded(workload, trace_on) as trace:
        return _advice(
            workload, trace, memory, granularity, lambda t: levels(t, granularity), nbytes, level
        )


def parse_budget(budget: str | int | None) -> int | None:
    """A number of bytes, or a text with a unit.

    Raises:
        InputError: it is none, or not positive.
    """
    if budget is None or isinstance(budget, int):
        nbytes = budget
    else:
        try:
            nbytes = parse_quantity(budget, "bytes")
        except InputError as error:
            raise InputError(f"--budget: {error}") from error
    if nbytes is not None and nbytes < 1:
        raise InputError(f"--budget {budget}: give a positive size, such as 400MiB")
    return nbytes


def _advice(
    workload: Workload,
    trace: Trace,
    memory: str,
    granularity: int,
    levels: Callable[[Trace], Sequence[int]],
    budget: int | None,
    level: str,
) -> Advice:
    from srprof.tracing.frames import record_frames

    frames = record_frames(workload, trace)
    notes: tuple[str, ...] = ()
    if frames is None:
        notes = ("two runs of the model made different calls; nothing can be advised",)
        frames = ((),) * len(trace.nodes)
    elif all(f.place is None for stack in frames for f in stack):
        notes = ("Python before 3.11 does not say where in a line it is: only del and order "
                 "are looked for",)  # fmt: skip
    base = Replay.of(trace, frames)
    search = Search(base, levels)
    proposer = _Proposer(workload, base, exact=level == "exact")
    found = [] if not any(frames) else search.find(proposer)
    lowest = search.outcome(found)
    chosen = found
    if budget is not None:
        chosen = search.fewest(found, budget) or (found if _over(search, budget) else [])
    start, final = search.outcome([]), search.replay(chosen)
    assert start is not None and lowest is not None and final is not None
    if search.stopped_at is not None and len(chosen) == len(found):
        final, at = search.stopped_at
    else:
        at = search.measure(final).node
    record = settled(final)
    parts = memory_model(record, granularity).parts
    return Advice(
        trace=trace,
        memory=memory,
        granularity=granularity,
        peak=start.nbytes,
        lowest=lowest.nbytes,
        node=record.nodes[at] if at >= 0 else None,
        held=parts[at].held if at >= 0 else 0,
        steps=tuple(search.in_order(chosen)),
        budget=budget,
        notes=notes,
    )


def _over(search: Search, budget: int) -> bool:
    start = search.outcome([])
    return start is not None and start.nbytes > budget


class _Proposer:
    """Proposes edits for a peak; looks once at each node for who holds what there."""

    def __init__(self, workload: Workload, base: Replay, exact: bool) -> None:
        from srprof.tracing.frames import activations

        self._workload = workload
        self._base = base
        self._exact = exact
        self._activations = activations(workload.instance(base.trace.device).model)
        self._holders: dict[int, Mapping[int, Sequence[Holder]]] = {}
        self._proposed: dict[tuple[object, ...], Candidate] = {}

    def __call__(self, current: Replay, peak: int) -> list[Candidate]:
        found = candidates(self._base, current, peak, self._look, source_of, self._activations)
        return [
            self._proposed.setdefault((c.kind, c.write, c.file, c.line, c.edit), c)
            for c in found
            if c.exact or not self._exact
        ]

    def _look(self, node: int) -> Mapping[int, Sequence[Holder]]:
        from srprof.tracing.holders import find_holders

        if node in self._holders:
            return self._holders[node]
        found = find_holders(self._workload, self._base.trace, node)
        calls = [frame.call for frame in self._base.frames[node]]
        self._holders[node] = {
            storage: [
                Holder(reference, calls[depth] if 0 <= depth < len(calls) else 0)
                for reference, depth in references
            ]
            for storage, references in (found or {}).items()
        }
        return self._holders[node]


def source_of(frame: Frame) -> Function | None:
    """The function that a frame runs, None if its source cannot be read."""
    if not os.path.isfile(frame.file):  # code that a program made, such as a GraphModule's
        return None
    text = "".join(linecache.getlines(frame.file))
    return read_functions(text).get(frame.first_line) if text else None
