"""`srprof.measure`: run a model on a device for real, and write down what it took."""

from __future__ import annotations

import gc
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from srprof.blame import first_line
from srprof.call import Call, call_of
from srprof.cost.estimate import estimate
from srprof.cost.profiles import Profile, load_profile, profile_of, read_profile
from srprof.errors import DeviceMemoryError, InputError, Interrupted
from srprof.inputs import TensorSpec
from srprof.measuring.backend import Backend, Draft
from srprof.measuring.contention import Contention
from srprof.measuring.cpu import CpuBackend
from srprof.measuring.cuda import CudaBackend
from srprof.measuring.heap import keep_freed_memory
from srprof.measuring.metering import OutOfMemoryError, new_instance
from srprof.measuring.record import PROTOCOLS, Device, Latency, Measurement, Protocol, Timing
from srprof.measuring.settings import now, read_versions, usual_device
from srprof.progress import Progress, silent
from srprof.running import replaced
from srprof.tracing.isolation import isolated
from srprof.tracing.recorder import call_model
from srprof.tracing.run import run_trace
from srprof.words import shape_text
from srprof.workload import Instance, Workload, resolve, user_errors

#: Sides of a smaller input: multiples of this, which most networks' strides and windows divide.
_STEP = 16


@dataclass(frozen=True, slots=True)
class Passes:
    """How latency is taken."""

    protocol: Protocol
    warmup: int
    repeat: int
    flush_l2: bool = False


def measure(
    model: Any,
    *inputs: Any,
    device: str | None = None,
    weights: str | None = None,
    dtype: str | None = None,
    channels_last: bool = False,
    protocol: Protocol = "strict",
    repeat: int | None = None,
    warmup: int | None = None,
    flush_l2: bool = False,
    threads: int | None = None,
    find_largest: bool = False,
    progress: Progress = silent,
) -> Measurement:
    """Run a model for real: its memory node by node, the peaks of whole runs, and its latency.

    The model runs in evaluation mode without gradients, on copies; the caller's is left as it is.
    Python's garbage collector rests meanwhile.

    Args:
        model, inputs, weights, dtype, channels_last: as for `srprof.trace`.
        device: "cuda", "cuda:1" or "cpu"; by default "cuda" if there is one.
        protocol: how latency is taken: "ntire" as the challenge's script does (cudnn.benchmark
            off, no warm-up, the mean), "strict" after a warm-up, by the median. By then the model
            has run for its memory, so no timed pass is the process's first, as the script's is.
        repeat: timed passes; 0 for memory only. By default 100 on CUDA and 10 on the CPU.
        warmup: passes before them. By default none for "ntire", else 10 on CUDA and 2 on the CPU.
        flush_l2: overwrite the GPU's L2 cache before each timed pass.
        threads: of torch's own pool; by default as many as it has.
        find_largest: if the GPU's memory is too small, look for the largest input that fits, and
            say so in the error.
        progress: called with what is being done, how many steps of it are done, and of how many.

    Raises:
        InputError: the SPEC, an input or an option is wrong, or there is no such device.
        DeviceMemoryError: the GPU's memory is too small.
        ModelError: the model raised.
        Interrupted: Ctrl-C, once something was measured; its `partial` is the measurement until
            then, marked `complete=False`.
    """
    workload = resolve(call_of(model, inputs, weights, dtype, channels_last))
    device = usual_device(device)
    backend, passes = _prepared(device, threads, protocol, repeat, warmup, flush_l2)
    try:
        return run_measurement(workload, backend, passes, progress)
    except DeviceMemoryError as error:
        failure = error
        # Else the frames of the run that failed live on, and what they hold on the GPU.
        failure.__traceback__ = failure.__cause__ = failure.__context__ = None
    if find_largest and isinstance(backend, CudaBackend):
        failure = _with_largest(failure, workload, backend, progress)
    raise failure


def time_call(
    call: Call,
    device: str | None = None,
    profile: str | Profile | None = None,
    *,
    repeat: int | None = None,
    warmup: int | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> Timing:
    """The strict latency of a call and nothing else, beside what is predicted.

    On a CPU, malloc keeps freed memory from then on (see `srprof.measuring.heap`).

    Args:
        profile: predicts; None is the GPU's own, if it comes with srprof. Others, and errors, as
            for `measure`.
    """
    if repeat == 0:
        raise InputError("repeat 0: give a number of timed passes, 1 or more")
    given, workload, device = read_profile(profile), resolve(call), usual_device(device)
    backend, passes = _prepared(device, threads, "strict", repeat, warmup)
    trace = run_trace(workload, call.trace_on, holders=False)
    predicted = None if given is None else estimate(trace, given)
    if device == "cpu":
        keep_freed_memory()
    hardware, latency = backend.device(), _timed(workload, backend, passes, progress)
    if given is None and (own := _own_profile(hardware, workload.run_dtype)):
        predicted = estimate(trace, own)
    return Timing(trace, hardware, latency, predicted)


def _own_profile(hardware: Device, dtype: str) -> Profile | None:
    """The profile that comes with srprof for this GPU, if it has the dtype."""
    name = profile_of(hardware.name) if hardware.kind == "cuda" else None
    profile = None if name is None else load_profile(name)
    return profile if profile is not None and dtype in profile.peak else None


def _timed(workload: Workload, backend: Backend, passes: Passes, progress: Progress) -> Latency:
    draft = Draft()
    try:
        with backend.active(), isolated(draft.notes), workload.environment():
            instance = new_instance(workload, backend.where, run=1)
            _measure_latency(workload, instance, backend, passes, draft, progress)
    except OutOfMemoryError as error:
        raise _does_not_fit(workload, error) from error
    assert draft.latency is not None
    return draft.latency


def _prepared(
    device: str,
    threads: int | None,
    protocol: Protocol,
    repeat: int | None,
    warmup: int | None,
    flush_l2: bool = False,
) -> tuple[Backend, Passes]:
    """The back end of a device, and as many passes as it makes where the caller does not say."""
    if protocol not in PROTOCOLS:
        raise InputError(f"protocol {protocol!r} is not one of {', '.join(PROTOCOLS)}")
    counts = (("repeat", repeat, 0), ("warmup", warmup, 0), ("threads", threads, 1))
    for name, value, least in counts:
        if value is not None and value < least:
            raise InputError(f"{name} {value}: give a whole number of at least {least}")
    if device == "cpu" and flush_l2:
        raise InputError("flushing the L2 cache is for CUDA: leave it out on the CPU")
    on_cpu = device == "cpu"
    backend = CpuBackend(threads) if on_cpu else CudaBackend(device, threads, flush_l2)
    if warmup is None:
        warmup = 0 if protocol == "ntire" else backend.warmup
    return backend, Passes(protocol, warmup, backend.repeat if repeat is None else repeat, flush_l2)


def run_measurement(
    workload: Workload, backend: Backend, passes: Passes, progress: Progress = silent
) -> Measurement:
    """Measure a workload on a back end; errors as for `measure`."""
    draft = Draft()
    # what the challenge's script sets before it loads a model, which may set it otherwise
    settings = [(torch.backends.cudnn, "benchmark", False)] if passes.protocol == "ntire" else []
    try:
        with replaced(settings), backend.active(), isolated(draft.notes), workload.environment():
            try:
                instance = backend.measure_memory(workload, draft, progress)
            finally:
                draft.flags = backend.flags()
            if passes.repeat:
                _measure_latency(workload, instance, backend, passes, draft, progress)
    except KeyboardInterrupt as interrupt:
        if draft.memory is None:
            raise
        raise Interrupted(_freeze(workload, backend, draft, complete=False)) from interrupt
    except OutOfMemoryError as error:  # in a later run than the one that could name the node
        raise _does_not_fit(workload, error) from error
    return _freeze(workload, backend, draft, complete=True)


def _does_not_fit(workload: Workload, error: RuntimeError) -> DeviceMemoryError:
    what = f"{workload.name} does not fit into the device's memory: {first_line(error)}"
    return DeviceMemoryError(f"{what}; give a smaller --input")


def _measure_latency(
    workload: Workload,
    instance: Instance,
    backend: Backend,
    passes: Passes,
    draft: Draft,
    progress: Progress,
) -> None:
    """Time passes of an instance into the draft; interrupted, those that there are."""
    samples: list[float] = []
    before, energy = backend.state(), backend.energy_j()
    contention = Contention()
    try:
        with user_errors(workload.name, workload.own), torch.no_grad():
            for done in range(passes.warmup):
                progress("warm-up", done, passes.warmup)
                call_model(*instance)
            contention = Contention()
            for done in range(passes.repeat):
                progress("latency", done, passes.repeat)
                samples.append(backend.time_ms(lambda: call_model(*instance)))
    finally:
        spent, waited = backend.energy_j(), contention.share()
        if samples:
            draft.latency = Latency(
                protocol=passes.protocol,
                clock=backend.clock,
                warmup=passes.warmup,
                flushed_l2=passes.flush_l2,
                flags=backend.flags(),
                samples_ms=tuple(samples),
                before=before,
                after=backend.state(),
                energy_j=None if energy is None or spent is None else spent - energy,
                waited=waited,
            )


def _freeze(workload: Workload, backend: Backend, draft: Draft, complete: bool) -> Measurement:
    assert draft.fingerprint and draft.memory and draft.flags
    return Measurement(
        name=workload.name,
        spec=workload.spec,
        dtype=workload.run_dtype,
        layout="channels_last" if workload.channels_last else "contiguous",
        taken=now(),
        device=backend.device(),
        versions=read_versions(),
        complete=complete,
        **{**vars(draft), "notes": tuple(draft.notes)},
    )


def _with_largest(
    failure: DeviceMemoryError, workload: Workload, backend: CudaBackend, progress: Progress
) -> DeviceMemoryError:
    """The error with the largest input that fits, found by trying."""
    gc.collect()
    tried = 0

    def fits(shape: tuple[int, ...]) -> bool:
        nonlocal tried
        progress("largest input: trying", tried, tried + 1)
        tried += 1
        smaller = replace(workload.args[0], shape=shape)
        with isolated([]), workload.environment():
            return backend.fits(replace(workload, args=(smaller,)))

    failure.largest = largest_image(workload.args, fits)
    if failure.largest is not None:
        size = shape_text(failure.largest)
        failure.args = (f"{failure}; the largest of these proportions that fits is {size}",)
    return failure


def largest_that_fits(fits: Callable[[int], bool], below: int) -> int | None:
    """The largest size from 1 on that fits, by bisection; None if none does.

    What is larger than a size that does not fit must not fit either, nor must `below`. `fits` is
    asked about log2(below) times, and about sizes near 1 only if it must be.
    """
    return bisect_left(range(1, below), True, key=lambda size: not fits(size)) or None


def largest_image(
    args: Sequence[Any], fits: Callable[[tuple[int, ...]], bool]
) -> tuple[int, ...] | None:
    """The largest image (n, c, h, w) of nearly the same proportions that `fits`.

    There is an answer only where the arguments of the call that did not fit are one image.
    """
    if len(args) != 1 or not isinstance(args[0], TensorSpec) or len(args[0].shape) != 4:
        return None
    images, channels, height, width = args[0].shape

    def shape(steps: int) -> tuple[int, ...]:
        columns = max(1, round(steps * width / height))
        return images, channels, steps * _STEP, columns * _STEP

    steps = largest_that_fits(lambda steps: fits(shape(steps)), -(-height // _STEP))
    return None if steps is None else shape(steps)
