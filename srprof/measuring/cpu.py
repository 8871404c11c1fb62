"""Measuring on the CPU: memory from PyTorch's own allocator events, time from a monotonic clock.

torch's profiler reports each allocation and free of the CPU allocator with its time, also those
that oneDNN makes for scratch. Each kernel runs in a labelled range, so what happens between the
label's ends is the kernel's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import NamedTuple

from torch._C._autograd import DeviceType, _profiler_enabled
from torch.autograd.profiler import profile, record_function

from srprof.errors import InputError
from srprof.measuring import metering
from srprof.measuring.backend import Backend, Draft
from srprof.measuring.record import Bytes, Device, Memory, NodeFacts, RunPeaks
from srprof.measuring.settings import read_cpu
from srprof.progress import Progress
from srprof.records import Node
from srprof.workload import Instance, Workload

_COLD = "srprof cold run"
_WARM = "srprof warm run"
_CALL = "srprof call "

#: Kineto writes lines of its own to stderr below this level.
_KINETO_LOG, _KINETO_QUIET = "KINETO_LOG_LEVEL", "6"


class _Events(NamedTuple):
    """What the profiler saw: begin and end of each labelled range, and changes of memory."""

    ranges: dict[str, tuple[int, int]]
    changes: list[tuple[int, int]]

    def levels(self, labels: Iterable[str]) -> list[Bytes]:
        """Bytes live before, after and at most within labelled ranges."""
        return metering.levels(self.changes, [self.ranges[label] for label in labels])


class _Labels:
    """Gives each kernel a labelled range of its own."""

    def __init__(self) -> None:
        self._calls = 0
        self.ended: list[str] = []

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self._calls += 1
        label = f"{_CALL}{self._calls}"
        with record_function(label):
            yield
        self.ended.append(label)  # not if it raised: the recorder makes no node of that either


class CpuBackend(Backend):
    """The processor that this process runs on."""

    where = "cpu"
    clock = "perf_counter"
    warmup = 2
    repeat = 10

    def __init__(self, threads: int | None = None) -> None:
        super().__init__(threads)
        _check_profiler()

    def device(self) -> Device:
        return read_cpu()

    def measure_memory(self, workload: Workload, draft: Draft, progress: Progress) -> Instance:
        """Fill the draft from three runs.

        A rehearsal, in which oneDNN and friends set themselves up, then two of a new instance
        with the profiler on: one node by node, and one as its user would run it. That instance is
        built while the profiler looks on, which knows blocks by their address: it would otherwise
        not see the end of what the model had before, or take it for another's.
        """
        progress("rehearsal", 0, 3)
        rehearsal = metering.recorded_anew(workload, self.where, run=1)[1]
        labels = _Labels()
        nodes: tuple[Node, ...] | None = None
        ended: list[str] = []
        interrupted: KeyboardInterrupt | None = None
        progress("memory", 1, 3)
        with _profiled() as profiler:
            instance = metering.new_instance(workload, self.where, run=2)
            recorder = metering.recorder_for(instance, "cpu", labels)
            net, inputs = metering.resident_bytes(recorder)
            try:
                with record_function(_COLD):
                    nodes = metering.run_recorded(workload, instance, recorder)
                ended.append(_COLD)
                progress("memory", 2, 3)
                with record_function(_WARM):
                    metering.run_plain(workload, instance)
                ended.append(_WARM)
            except KeyboardInterrupt as interrupt:
                interrupted = interrupt
        if interrupted is not None and not labels.ended:
            raise interrupted
        metering.identify(draft, recorder)
        events = _read_events(profiler)
        draft.nodes = metering.node_facts(recorder, events.levels(labels.ended))
        draft.memory = _memory(events, ended, draft.nodes, net, inputs)
        if nodes is not None:
            metering.compare_runs(draft, rehearsal, nodes)
        if interrupted is not None:
            raise interrupted
        return instance

    def time_ms(self, call: Callable[[], object]) -> float:
        start = perf_counter()
        result = call()
        elapsed = perf_counter() - start
        del result
        return 1e3 * elapsed


def most_allocated(call: Callable[[], object]) -> int:
    """Bytes that a call has allocated at most at once, beyond what was there before."""
    _check_profiler()
    with _profiled() as profiler, record_function(_WARM):
        call()
    (level,) = _read_events(profiler).levels([_WARM])
    return level.peak - level.before


def _check_profiler() -> None:
    if _profiler_enabled():
        raise InputError("torch's profiler is running already: measure outside of it")


def _memory(
    events: _Events, ended: list[str], nodes: tuple[NodeFacts, ...], net: int, inputs: int
) -> Memory:
    (start,) = events.levels([_COLD])
    cold = warm = None
    if _COLD in ended:
        # Not the range's own peak, in which the recorder's second copies of numbers are.
        cold = RunPeaks(max((node.allocated.peak for node in nodes), default=start.before))
    if _WARM in ended:
        warm = RunPeaks(events.levels([_WARM])[0].peak)
    return Memory(net, inputs, start.before, cold=cold, warm=warm)


def _read_events(profiler: profile) -> _Events:
    assert profiler.kineto_results is not None
    ranges: dict[str, tuple[int, int]] = {}
    changes: list[tuple[int, int]] = []
    for event in profiler.kineto_results.events():
        name = event.name()
        if name == "[memory]" and event.device_type() == DeviceType.CPU:
            changes.append((event.start_ns(), event.nbytes()))  # type: ignore[attr-defined]  # missing in torch's types
        elif name.startswith("srprof "):
            ranges[name] = event.start_ns(), event.start_ns() + event.duration_ns()
    return _Events(ranges, changes)


@contextmanager
def _profiled() -> Iterator[profile]:
    """What `torch.profiler` wraps; that one imports torch._inductor, which takes a second.

    Kineto's log is kept off stderr, unless the user wants it.
    """
    quiet = {} if _KINETO_LOG in os.environ else {_KINETO_LOG: _KINETO_QUIET}
    os.environ.update(quiet)
    try:
        with profile(profile_memory=True, use_kineto=True) as profiler:
            yield profiler
    finally:
        for name in quiet:
            os.environ.pop(name, None)
