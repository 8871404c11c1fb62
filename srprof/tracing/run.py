"""From a workload to a trace: run it, on meta if it can, and ask who holds what at the peak."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from srprof.call import TRACE_ON, Call
from srprof.codec import made_of
from srprof.copying import untouched
from srprof.dtypes import own_form
from srprof.errors import InputError, ModelError, SrprofError, user_raised
from srprof.memory.host import host_work
from srprof.memory.model import memory_model
from srprof.operators.imports import notes as stood_in
from srprof.placing import NotOnMetaError, moved
from srprof.records import Construction, ModuleCall, Program, Trace
from srprof.running import replaced
from srprof.tracing.building import BuildRecorder, same_calls, with_construction
from srprof.tracing.caller import as_called
from srprof.tracing.changes import fingerprint
from srprof.tracing.explaining import NeedsDataError, explain
from srprof.tracing.fast_path import ENCODER_LAYER
from srprof.tracing.fused import attended, attends, fused_attention
from srprof.tracing.gpu import StandIn, building, built_there, standing_in, watching
from srprof.tracing.holders import find_holders
from srprof.tracing.isolation import isolated
from srprof.tracing.ledger import Ledger
from srprof.tracing.modules import registered
from srprof.tracing.recorder import DEVICE_TYPES, Recorder, call_model, recording
from srprof.tracing.step import TrainedInstance
from srprof.tracing.threads import carried
from srprof.tracing.unseen import compiled_note, unseen_calls, unseen_parts, warm_up
from srprof.words import mib_size, size_text
from srprof.workload import Instance, Workload, compiled_parts, resolve

_T = TypeVar("_T")

#: Lines of work in main memory that have a note each.
_WORK_NOTES = 5
#: Of a network that runs on the CPU, which finds nothing of what its constructor put on the GPU.
_NOT_FOUND = "what the constructor leaves on the GPU is not counted in the calls"


class _WorksAtOnceError(Exception):
    """Work in main memory could not be put off; the run is to be made again with all values."""


_FAILURES = (SrprofError, NeedsDataError, NotOnMetaError)


def trace_call(call: Call, holders: bool = True) -> Trace:
    """Trace a call where it says; `holders` and errors as for `run_trace`."""
    return run_trace(resolve(call), call.trace_on, holders)


def run_trace(
    workload: Workload, trace_on: str = "auto", holders: bool = True, constructor: bool = True
) -> Trace:
    """Trace a workload.

    Args:
        trace_on: "meta" allocates nothing; "cpu" makes one real run; "auto" tries meta first;
            "cuda-fake" allocates no activation and takes composite calls apart as CUDA does,
            without a GPU, for the networks that torch's fake tensors can run.
        holders: find out, in a second run, who references what at the eager peak.
        constructor: record also what the model's constructor does on a GPU, and leaves there.

    Raises:
        InputError: the input is larger than torch can count.
        ModelError: the model raised.
    """
    notes: list[str] = []
    with _traced(workload, trace_on, notes, constructor) as (bare, gpu):
        named = holders and not workload.training
        trace = _with_references(workload, bare) if named else bare
        if attends(trace) and workload.training:
            notes.append("attention is traced unfused, with its matrices of weights")
        if trace_on == "cpu":
            notes.extend(_other_calls_on_meta(workload, trace))
        if gpu is not None:
            notes[:0] = gpu.notes(trace.device)
    return as_called(workload, replace(trace, notes=(*trace.notes, *notes)))


class Series:
    """Traces of one network at one size after another, each in a third of the time of a first.

    One instance serves them all, until a call leaves it otherwise than it found it: then the next
    call has a fresh one. That needs a network that the meta device can run and whose constructor
    leaves nothing on a GPU; else each is a trace by itself. Neither a second call of the instance
    nor places in the user's code are asked for.
    """

    def __init__(self, trace_on: str = "auto") -> None:
        self.trace_on = trace_on
        self._alike: bool | None = None
        self._attends = False
        self._model: nn.Module | None = None

    def trace(self, workload: Workload) -> Trace:
        """The trace of a call of that network.

        Raises:
            InputError, ModelError: as `run_trace`.
        """
        if self._alike and (found := self._on_instance(workload)) is not None:
            return found
        trace = run_trace(workload, self.trace_on, holders=False)
        if self._alike is None:
            plain = trace.device == "meta" and not (trace.fallback or trace.builds_on_device)
            self._alike = plain and self.trace_on != "cuda-fake" and not workload.training
            self._attends = attended(trace)
            if self._alike and _leaves(trace):
                again = self._on_instance(workload)
                self._alike = again is not None and _same_run(again, trace)
        return trace

    def _on_instance(self, workload: Workload) -> Trace | None:
        """The trace of the instance; None if it takes more than that."""
        fused = fused_attention() if self._attends else nullcontext()
        with _conditions(workload, "meta", []) as gpu, fused as mode, standing_in("meta"):
            if self._model is None:
                with building():
                    self._model = _instance(workload, "meta").model
            model, before = self._model, fingerprint(self._model)

            def record() -> Trace:
                with untouched(model):
                    instance = workload.call_of(model, "meta")
                    trace, ledger = _record_call(workload, "meta", instance, kind=_Unplaced)
                    ledger.forget()
                    return trace

            trace = _deferred(workload, record)
            if built_there() or (gpu is not None and gpu.asked):
                self._alike = False
                return None
            after = fingerprint(model)
            if after != before:
                self._model = None
            if after.shared != before.shared:
                workload.forget()
            notes = () if mode is None else tuple(mode.notes(trace))
        return as_called(workload, replace(trace, notes=(*trace.notes, *notes)))


def _leaves(trace: Trace) -> bool:
    """Whether a call leaves something in its instance."""
    return trace.again is not None or any(s.cached for s in trace.storages)


def _same_run(one: Trace, other: Trace) -> bool:
    """Whether two runs made the same calls, and had the same storages for as long."""
    return same_calls(one, other) and one.storages == other.storages


class _Unplaced(Recorder):
    """A recorder that does not look whose line makes a call."""

    def place(self) -> tuple[str, str, int, str]:
        return self.module_stack[-1], "", 0, ""


@contextmanager
def recorded(workload: Workload, trace_on: str = "auto") -> Iterator[Trace]:
    """A trace without references, and the conditions under which the same run can be made again.

    Raises:
        InputError, ModelError: as `run_trace`.
    """
    with _traced(workload, trace_on, []) as (trace, _), standing_in(trace.device):
        yield trace


@contextmanager
def _traced(
    workload: Workload, trace_on: str, notes: list[str], constructor: bool = True
) -> Iterator[tuple[Trace, StandIn | None]]:
    """A trace and the stand-in for a GPU, under the conditions in which it was made."""
    with _conditions(workload, trace_on, notes) as gpu:
        trace = _run_where_possible(workload, trace_on, gpu)
        if any(node.op == ENCODER_LAYER for node in trace.nodes):
            trace = replace(trace, calls=_calls_of_modules(workload, trace.device))
        with _attending(workload, trace) as made:
            yield _as_built(workload, made) if constructor else made, gpu


def _as_built(workload: Workload, trace: Trace) -> Trace:
    """The trace with what the model's constructor did on the device, if it used it."""
    if not trace.builds_on_device or workload.training:
        return trace
    with standing_in(trace.device):
        program = _deferred(workload, partial(_record_program, [workload], trace))
    if trace.device == "meta":
        return with_construction(trace, program)
    assert program.construction is not None
    construction = Construction(program.construction, {})
    return replace(trace, construction=construction, notes=(*trace.notes, _NOT_FOUND))


@contextmanager
def _attending(workload: Workload, trace: Trace) -> Iterator[Trace]:
    """The trace, made again where a GPU runs attention in another way, and the conditions of it."""
    if not attends(trace) or workload.training:
        yield trace
        return
    with fused_attention() as fused:
        again = _run_once(workload, "meta")
        notes = [*trace.notes, *fused.notes(again)]
        yield replace(again, calls=trace.calls, notes=tuple(notes))


def _calls_of_modules(workload: Workload, device: str) -> tuple[ModuleCall, ...]:
    """The calls without torch's fast path, which the challenge's hooks on the modules prevent."""
    switch = torch.backends.mha.set_fastpath_enabled
    enabled = torch.backends.mha.get_fastpath_enabled()
    switch(False)
    try:
        return _run_once(workload, device).calls
    finally:
        switch(enabled)


def run_program(calls: Sequence[Workload], trace_on: str = "auto") -> Program:
    """Trace one instance of a model through its constructor and several calls.

    Args:
        calls: the same model with the arguments of each call; at least one.
        trace_on: as in `run_trace`.

    Raises:
        InputError, ModelError: as `run_trace`.
    """
    with _conditions(calls[0], trace_on, []) as gpu:
        alone = _run_where_possible(calls[0], trace_on, gpu)
        with fused_attention() if attends(alone) else nullcontext(), standing_in(alone.device):
            return _deferred(calls[0], partial(_record_program, calls, alone))


@contextmanager
def _conditions(workload: Workload, trace_on: str, notes: list[str]) -> Iterator[StandIn | None]:
    """What holds while a workload is traced; gives the stand-in for a GPU where there is one."""
    if trace_on not in TRACE_ON:
        raise InputError(f"trace_on {trace_on!r} is not one of {', '.join(TRACE_ON)}")
    fake: AbstractContextManager[object] = nullcontext()
    if trace_on == "cuda-fake":  # tensors that say they are on a GPU and have no data
        from torch._subclasses.fake_tensor import FakeTensorMode

        fake = FakeTensorMode(allow_non_fake_inputs=True)
    watch = watching() if trace_on in ("auto", "meta") else nullcontext()
    # autograd, which is on in a new thread, ends the process where it meets fake CUDA tensors
    threads = carried(lambda: fake, torch.no_grad) if trace_on == "cuda-fake" else nullcontext()
    switches = [(torch.enable_grad, "__enter__", _without_fakes(torch.enable_grad.__enter__))]
    no_autograd = replaced(switches if trace_on == "cuda-fake" else ())
    with isolated(notes), workload.environment(), fake, threads, no_autograd, watch as gpu:
        if gpu is not None and workload.autocast is not None:
            gpu.wants_region()
        yield gpu


def _without_fakes(switch_on: Callable[[Any], None]) -> Callable[[Any], None]:
    """What switches autograd on, where no tensors are fake: the process would end."""

    def switch(*args: Any) -> None:
        if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None:
            raise NotImplementedError("it switches autograd on")
        switch_on(*args)

    return switch


def _run_where_possible(workload: Workload, trace_on: str, gpu: StandIn | None) -> Trace:
    if gpu is None:
        return _run_once(workload, trace_on)
    try:
        return _run_on_meta(workload, gpu)
    except (NeedsDataError, NotOnMetaError) as reason:
        if trace_on == "meta":
            raise ModelError(
                f"{workload.spec}: the meta device cannot run it ({reason}); use --trace-on cpu"
            ) from reason
        return replace(_run_once(workload, "cpu"), fallback=str(reason))


def _run_on_meta(workload: Workload, gpu: StandIn) -> Trace:
    """A run as the code wants it: again, with a stand-in for the GPU, if it asks for one."""
    first: Trace | None = None
    if not gpu.wishes:  # else the program asks for it, before the model
        try:
            first = _run_once(workload, "meta")
        except _FAILURES as error:
            gpu.refused(error)
            if not gpu.wishes:
                raise
        if first is not None and not gpu.wishes:
            return first
        workload.forget()
    wishes = " and ".join(gpu.wishes)
    gpu.answering = True
    try:
        return _run_once(workload, "meta")
    except _FAILURES as error:
        if first is None or not gpu.can_do_without:
            raise
        gpu.answering = False
        workload.forget()
        note = f"the code asks for {wishes}; traced as if there was none, because with it {error}"
        return replace(first, notes=(*first.notes, note))


def _other_calls_on_meta(workload: Workload, cpu: Trace) -> list[str]:
    """Composite calls are taken apart by device: name the ones in which meta differs."""
    try:
        with _attending(workload, _run_once(workload, "meta")) as meta:
            pass
    except _FAILURES:
        return []
    here, there = (Counter(node.op for node in trace.nodes) for trace in (cpu, meta))
    if here == there:
        return []
    differences = [
        f"{', '.join(f'{op} x{count}' for op, count in more.most_common())} only {where}"
        for more, where in ((here - there, "on the CPU"), (there - here, "on meta"))
        if more
    ]
    return [
        f"the CPU makes other calls than the meta device, which stands for a GPU: "
        f"{'; '.join(differences)}; the eager peak on meta is "
        f"{mib_size(memory_model(meta).eager.nbytes)}"
    ]


def _run_once(workload: Workload, device: str) -> Trace:
    """One recorded run; a second where the calls of the first had modules imported on the way.

    An import can leave frames in a reference cycle, so that locals outlive their functions.
    """
    trace, imported = _record(workload, device)
    return _record(workload, device)[0] if imported else trace


def _record(workload: Workload, device: str) -> tuple[Trace, bool]:
    """A recorded run, and whether its calls had modules imported."""
    with standing_in(device):
        record = partial(_record_instance, workload, device)
        trace, ledger, imported = _deferred(workload, record)
        ledger.forget()
        return replace(trace, builds_on_device=built_there()), imported


def _deferred(workload: Workload, record: Callable[[], _T]) -> _T:
    """What a run gives in which large work in main memory waits, or nothing where that fails.

    The random state is put back.
    """
    state = torch.get_rng_state()
    try:
        return record()
    except _WorksAtOnceError:
        workload.own.works_at_once = True
        torch.set_rng_state(state)
        return record()
    finally:
        torch.set_rng_state(state)


def _record_instance(workload: Workload, device: str) -> tuple[Trace, Ledger, bool]:
    with building():
        instance = _instance(workload, device)
    with untouched(instance.model):  # the next run finds no cache that this one filled
        known = len(sys.modules)  # what the network's file imports, and we, is no part of its calls
        if workload.training:
            return *_record_step(workload, device, instance), len(sys.modules) != known
        before = fingerprint(instance.model)
        trace, ledger = _record_call(workload, device, instance)
        after = fingerprint(instance.model)
        if before != after or any(s.cached for s in trace.storages):
            trace, ledger = _with_second_call(workload, instance, trace, ledger)
            after = fingerprint(instance.model)
    imported = len(sys.modules) != known
    if before.shared != after.shared and before.shared != fingerprint(instance.model).shared:
        workload.forget()  # what could not be put back would make the next first call none
    return trace, ledger, imported


def _with_second_call(
    workload: Workload, instance: Instance, first: Trace, before: Ledger
) -> tuple[Trace, Ledger]:
    """A call that changed its instance, with the next one of it where that is another."""
    try:
        again, ledger = _record_call(workload, first.device, instance, before)
    except _FAILURES as error:
        note = f"a second call of the same instance fails: {error}"
        return replace(first, notes=(*first.notes, note)), before
    if any(s.cached for s in (*first.storages, *again.storages)) or not same_calls(first, again):
        first = replace(first, again=again)
    return first, ledger


def _instance(workload: Workload, device: str) -> Instance:
    """A fresh instance, by the network's own code; raises as a call of it does."""
    try:
        return workload.instance(device)
    except _FAILURES:
        raise
    except user_raised() as error:
        nothing = Recorder(nn.Module(), DEVICE_TYPES[device])
        raise explain(error, workload, device, nothing) from error


def _record_program(calls: Sequence[Workload], alone: Trace) -> Program:
    """One instance through all calls; `alone` is the first of them on a fresh one."""
    device, construction, before = alone.device, None, None
    if alone.builds_on_device:
        built, construction, before = _record_construction(calls[0])
    if before is not None and device == "meta":
        model = calls[0].prepare(moved(built, device), device).model
    else:  # another device than that of the constructor's record
        model, before = _instance(calls[0], device).model, None
    traces = []
    with untouched(model):
        for call in calls:
            instance = call.call_of(model, device)
            trace, before = _record_call(call, device, instance, before)
            del instance
            traces.append(trace)
    if before is not None:
        before.forget()
    return Program(construction, tuple(traces))


def run_constructor(workload: Workload) -> Trace:
    """Trace what a model's constructor does, with a GPU wherever it asks for one.

    Raises:
        InputError, ModelError: as `run_trace`.
    """
    with _conditions(workload, "meta", []) as gpu:
        assert gpu is not None
        gpu.answering = True
        _, trace, ledger = _record_construction(workload)
        ledger.forget()
    return trace


def _record_construction(workload: Workload) -> tuple[nn.Module, Trace, Ledger]:
    """Build a model as a program does, on the CPU but for what its constructor puts on the GPU."""
    recorder = BuildRecorder()
    # with gradients, as it is wherever nobody switched autograd off
    with standing_in("meta"), recording(recorder, grad=True):
        model = workload.build("cpu")
    recorder.settle(None)
    recorder.ledger.mark_caches()
    trace = _trace_of(workload, "meta", recorder, model, None)
    trace = replace(trace, passes=tuple(recorder.passes))
    return model, trace, recorder.ledger


def _record_call(
    workload: Workload,
    device: str,
    instance: Instance,
    before: Ledger | None = None,
    kind: type[Recorder] = Recorder,
) -> tuple[Trace, Ledger]:
    """Call an instance under a recorder; the ledger still watches what is left.

    Raises:
        _WorksAtOnceError: large work in main memory could not wait until a value of it is read.
    """
    defer = not workload.own.works_at_once
    recorder = kind(instance.model, DEVICE_TYPES[device], before=before, defer=defer)
    recorder.add_inputs(instance.args, instance.kwargs)
    try:
        warm_up(instance)
        with recording(recorder):
            result = call_model(*instance)
        result_refs = recorder.references_in(result)
        recorder.settle(result)
    except user_raised() as error:
        if recorder.deferral is not None and recorder.deferral.at_fault(error):
            raise _WorksAtOnceError from error
        if isinstance(error, SrprofError):
            raise
        raise explain(error, workload, device, recorder) from error
    del result
    recorder.ledger.mark_caches()
    return _trace_of(workload, device, recorder, instance.model, result_refs), recorder.ledger


def _record_step(workload: Workload, device: str, instance: Instance) -> tuple[Trace, Ledger]:
    """Train an instance for three steps, the last two of them under recorders."""
    recorder: Recorder = Recorder(nn.Module(), DEVICE_TYPES[device])  # for errors before these
    try:
        trained = TrainedInstance(instance, DEVICE_TYPES[device])
        recorder = trained.recorder()
        trained.record(recorder)
        recorder = trained.recorder(recorder)
        step = trained.record(recorder)
    except SrprofError as error:
        raise type(error)(f"{workload.spec}: {error}") from error
    except user_raised() as error:
        raise explain(error, workload, device, recorder) from error
    recorder.settle(None)
    trace = _trace_of(workload, device, recorder, instance.model, None)
    return replace(trace, step=step), recorder.ledger


def _trace_of(
    workload: Workload, device: str, recorder: Recorder, model: nn.Module, result: Any
) -> Trace:
    """The record of a run that has ended, with what its reader must know."""
    notes = list(own_form(model)) if workload.dtype is None else []
    called = [(n.ruled.function, n.ruled.by) for n in recorder.nodes if n.ruled is not None]
    notes += stood_in(called)
    if recorder.mixed_ops:
        notes.append(
            f"{', '.join(sorted(recorder.mixed_ops))} mixed tensors of the model's device with "
            "tensors made on the CPU, which raises on a GPU: make them with device=x.device"
        )
    unseen = [*unseen_parts(model), *unseen_calls(recorder.unseen)]
    if compiled := workload.compiled | compiled_parts(model) | recorder.compiled:
        unseen.append(compiled_note(compiled))
    notes += [part.text for part in unseen]
    storages, modules = recorder.ledger.freeze(), registered(model)
    trace = made_of(
        Trace,
        workload,
        device=device,
        torch_version=str(torch.__version__),
        nodes=tuple(recorder.nodes),
        storages=storages,
        externals=tuple(recorder.externals),
        calls=tuple(recorder.calls),
        result=result,
        parameters=modules[0].parameters,
        modules=modules,
        carried=recorder.ledger.carried,
        unseen=tuple(unseen),
    )
    work = host_work(trace)
    notes += [work.text for work in work[:_WORK_NOTES]]
    if rest := work[_WORK_NOTES:]:
        size = size_text(sum(work.bytes for work in rest))
        notes.append(f"on the CPU, in {len(rest)} more places: {size}")
    return replace(trace, notes=tuple(notes))


def _with_references(workload: Workload, trace: Trace) -> Trace:
    node = memory_model(trace).eager.node
    if node is None:
        return trace
    holders = find_holders(workload, trace, node)
    if holders is not None:
        references = {storage: tuple(r for r, _ in held) for storage, held in holders.items()}
        return replace(trace, references=references)
    note = "two runs of the model made different calls; who holds what cannot be said"
    return replace(trace, notes=(*trace.notes, note))
