"""`srprof.advise`: record a network, find the edits of its source that lower its peak."""

from __future__ import annotations

import linecache
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from srprof import spec
from srprof.advising.candidate import Candidate, Holder, Suggestion
from srprof.advising.candidates import candidates
from srprof.advising.elementwise import constructed
from srprof.advising.record import Advice
from srprof.advising.replay import Replay, settled
from srprof.advising.rewrite import Construct
from srprof.advising.search import Search
from srprof.advising.widths import OPTION, Trials, read_widths
from srprof.call import call_of
from srprof.cost.estimate import estimate
from srprof.cost.profiles import Profile, read_profile
from srprof.errors import InputError
from srprof.figures import find_peak, lowered_names
from srprof.leaning.levels import check_level
from srprof.memory.model import GRANULARITY, memory_model
from srprof.progress import Progress, silent
from srprof.quantities import parse_budget
from srprof.records import Trace

if TYPE_CHECKING:
    from srprof.tracing.holders import Held
    from srprof.workload import Workload

#: So many nodes are looked at in one run: those that are asked for lie close together.
_LOOKS = 64


def advise(
    model: Any,
    *inputs: Any,
    weights: str | None = None,
    dtype: str | None = None,
    channels_last: bool = False,
    trace_on: str = "auto",
    profile: str | Profile | None = None,
    widths: str | None = None,
    granularity: int = GRANULARITY,
    memory: str = "eager",
    budget: str | int | None = None,
    level: str = "equivalent",
    progress: Progress = silent,
) -> Advice:
    """Changes of a network's source that lower its peak, each tried on the recorded run.

    Args:
        model, inputs, weights, dtype, channels_last, trace_on: as for `srprof.trace`.
        profile: of the device for which other widths are tried, each in a trace of its own.
        widths: a hyper-parameter and its values, "nf=32..80" or "nf=32..80:8": these widths in the
            place of the nearest ones of each.
        granularity: as for `srprof.analyze`.
        memory: the peak to lower: "eager", "planned" or "allocated" (a fresh program's).
        budget: bytes, or a text such as "400MiB": only the fewest edits that reach it.
        level: "exact" edits only, which leave every bit of the results, or "equivalent" ones too,
            which change them by rounding: a fusion split.
        progress: called with what is being done, how many combinations or widths were tried, and of
            how many.

    Raises:
        InputError: the SPEC, an input, the budget, the memory, the profile or a width is wrong.
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
    nbytes = None if budget is None else parse_budget(budget)
    gpu = read_profile(profile)
    asked = None if widths is None else read_widths(widths)
    if asked is not None and gpu is None:
        raise InputError(f"{OPTION} compares what a device would take: give --profile too")
    call = call_of(model, inputs, weights, dtype, channels_last, trace_on)
    workload = resolve(call)
    progress("recording the run", 0, 1)
    with recorded(workload, call.trace_on) as trace:
        base, notes = _base(workload, trace)
        search = Search(base, lambda record: levels(record, granularity))
        search.progress = progress
        proposer = _Proposer(workload, base, exact=level == "exact")
        found = search.find(proposer) if any(base.frames) else []
    trials = None if gpu is None else Trials(workload, trace, call.trace_on, gpu)
    start, lowest = search.outcome([]), search.outcome(found)
    assert start is not None and lowest is not None
    chosen = found
    if nbytes is not None:
        over = found if start.nbytes > nbytes else []
        chosen = search.fewest(found, nbytes) or over
    end = search.stopped_at if len(chosen) == len(found) else None
    end = end or search.outcome(chosen)
    assert end is not None
    record, at = settled(end.replay), end.node
    files = {c.rewrite.file if isinstance(c.rewrite, Construct) else c.file for c in chosen}
    steps = tuple(search.in_order(chosen))
    return Advice(
        trace=trace,
        memory=memory,
        granularity=granularity,
        peak=start.nbytes,
        lowest=lowest.nbytes,
        node=record.nodes[at] if at >= 0 else None,
        held=memory_model(record, granularity).parts[at].held if at >= 0 else 0,
        steps=steps,
        budget=nbytes,
        notes=notes,
        own=_own_file(workload, call.spec) if isinstance(call.spec, str) else "",
        sources={file: "".join(linecache.getlines(file)) for file in sorted(files) if file},
        profile=gpu,
        widths=() if trials is None else trials.tried(asked, progress),
        table=asked is not None,
        latency_ms=() if gpu is None else tuple(_times(search, steps, gpu)),
    )


def _times(search: Search, steps: Sequence[Suggestion], gpu: Profile) -> Iterator[float | None]:
    """Milliseconds as it is, and after each step with all before it."""
    for count in range(len(steps) + 1):
        replay = search.replay([step.candidate for step in steps[:count]])
        yield None if replay is None else 1e3 * estimate(settled(replay), gpu).seconds


def _base(workload: Workload, trace: Trace) -> tuple[Replay, tuple[str, ...]]:
    """The run with the user's frames, and what a reader must know of them."""
    from srprof.tracing.frames import record_frames

    frames = record_frames(workload, trace)
    notes: tuple[str, ...] = ()
    if frames is None:
        notes = ("two runs of the model made different calls; nothing can be advised",)
        frames = ((),) * len(trace.nodes)
    elif all(f.place is None for stack in frames for f in stack):
        notes = ("Python before 3.11 does not say where in a line it is: only del and order "
                 "are looked for",)  # fmt: skip
    return Replay.of(trace, frames), notes


def _own_file(workload: Workload, text: str) -> str:
    """The file that a SPEC names, "" if it names none."""
    parsed = spec.parse(text)
    if parsed.location.endswith(".py"):
        return os.path.realpath(parsed.location)
    with workload.environment():
        found = find_spec(parsed.location) if parsed.location else None
    return os.path.realpath(found.origin) if found and found.origin else ""


class _Proposer:
    """Proposes edits for a peak; looks in few runs for who holds what at a node."""

    def __init__(self, workload: Workload, base: Replay, exact: bool) -> None:
        from srprof.tracing.frames import activations

        self._workload = workload
        self._base = base
        self._exact = exact
        linecache.checkcache()  # the lines that run now, not those of an earlier advice
        owned = activations(workload.instance(base.trace.device).model)
        self._activations = {path: constructed(*module) for path, module in owned.items()}
        self._held: dict[int, Held] = {}
        self._holders: dict[int, Mapping[int, Sequence[Holder]]] = {}
        self._proposed: dict[tuple[object, ...], Candidate] = {}

    def __call__(self, current: Replay, peak: int) -> list[Candidate]:
        found = candidates(self._base, current, peak, self._look, self._activations)
        return [
            self._proposed.setdefault((c.rewrite, c.file, c.line, c.edit), c)
            for c in found
            if c.exact or not self._exact
        ]

    def _look(self, node: int) -> Mapping[int, Sequence[Holder]]:
        from srprof.tracing.holders import find_holders, find_holders_in

        trace = self._base.trace
        if node not in self._held:
            first = node // _LOOKS * _LOOKS
            nodes = range(first, min(first + _LOOKS, len(trace.nodes)))
            self._held.update(find_holders_in(self._workload, trace, nodes))
        if node not in self._held:
            self._held[node] = find_holders(self._workload, trace, node) or {}
        if node not in self._holders:
            calls = dict(enumerate(frame.call for frame in self._base.frames[node]))
            self._holders[node] = {
                storage: [Holder(reference, calls.get(depth, 0)) for reference, depth in references]
                for storage, references in self._held[node].items()
            }
        return self._holders[node]
