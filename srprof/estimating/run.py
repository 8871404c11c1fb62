"""`srprof.estimate`: the memory of a network as a function of its image's size."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import srprof_estimate
from srprof import presets
from srprof.analysis import Analysis, scratch_on
from srprof.call import Call, call_of
from srprof.codec import made_of
from srprof.cost.profiles import Profile, read_profile
from srprof.errors import InputError, ModelError
from srprof.estimating.graphs import Builder
from srprof.estimating.probe import Probe
from srprof.estimating.record import Checked, Estimate, RunAs, Times, Variant
from srprof.estimating.samples import Sample, Size, Start
from srprof.estimating.script import script
from srprof.estimating.written import built
from srprof.figures import find_peak
from srprof.memory.allocator import new_allocator
from srprof.memory.settings import Settings
from srprof.memory.simulation import Runner
from srprof.memory.workspace import WorkspaceTable, kept_workspaces
from srprof.paths import without_folders
from srprof.progress import Progress, silent
from srprof.records import Trace
from srprof.tiling.sizes import SizeRule
from srprof.tracing.run import Series
from srprof.words import mib_size
from srprof.workload import Workload, resolve

#: A side that most networks take; and of all sides every so many are tried, where they raise.
_TRIED, _FEWER = 256, (1, 2, 4, 8)
#: What programs run networks in.
DTYPES = ("float32", "float16", "bfloat16")


def estimate(
    model: Any,
    *inputs: Any,
    weights: str | None = None,
    dtype: str | None = None,
    channels_last: bool = False,
    trace_on: str = "auto",
    workspace: str | None = None,
    profile: str | Profile | None = None,
    run_as: str | None = None,
    dtypes: Sequence[str] = (),
    progress: Progress = silent,
) -> Estimate:
    """The peaks of a network as functions of height, width, batch and dtype.

    They are found from traces at a few sizes: each storage's bytes are a whole-number function of
    the image's sides, and of all sums of storages the few stay that are ever the most. The
    allocator's peaks are those of its simulation on these sizes. Further sizes are traced to see
    whether it holds, and the estimate says how it did. `srprof_estimate` reads what `to_dict`
    gives, without torch and without srprof.

    Args:
        model, inputs, weights, channels_last, trace_on: as for `srprof.trace`. One of the inputs
            is an image, whose channels count and whose size does not.
        dtype: the only one; None is `dtypes`, or those that the program runs networks in: float32,
            float16 and bfloat16 where none is named.
        workspace, profile: as for `srprof.analyze`; with a profile the estimate has times too.
        run_as: the program that runs the network, by its name in `srprof.presets`.

    Raises:
        InputError: an argument is wrong, or the network makes other calls at each size.
        ModelError: the network raises at every size that was tried.
    """
    call = call_of(model, inputs, weights, dtype, channels_last, trace_on)
    if not call.inputs:
        call = replace(call, inputs=("256x256",))
    preset = None if run_as is None else presets.find(run_as)
    call = presets.applied(call, preset)
    workload, gpu = resolve(call), read_profile(profile)
    sampler = Sampler(workload, gpu, scratch_on(gpu, workspace), call.trace_on, progress)
    own = workload.run_dtype
    usual = (own, *(dtype for dtype in DTYPES if dtype != own))
    wanted = tuple(dtypes) or (usual if preset is None else preset.dtypes)
    wanted = (own,) if call.dtype else wanted
    rule = sampler.probe(wanted[0]).rule()
    builder, found = _built(sampler, wanted, rule)
    time = None if gpu is None else _times(builder, found, gpu)
    samples = [s for s in sampler.samples.values() if _within(found, s)]
    if not samples:
        what = f"{workload.name} makes other calls at each size that was traced"
        raise InputError(f"{what}, so there is no estimate; `srprof fit` and `sweep` trace it")
    checked = {kind: _checked(found, samples, kind) for kind in srprof_estimate.KINDS}
    notes = (*builder.notes, *samples[0].notes, *(preset.beside if preset else ()))
    of_sizes = [checked[kind] for kind in ("planned", "eager")]
    return made_of(
        Estimate,
        workload,
        **{**found, "graphs": [[Variant(**v) for v in graph] for graph in found["graphs"]]},
        channels=sampler.probe(wanted[0]).image.shape[-3],
        torch=samples[0].torch,
        exact=not builder.unknown and all(c.equal == c.sizes for c in of_sizes),
        time=time,
        corrections=tuple(sampler.corrections()),
        checked=checked,
        traces=len(sampler.samples),
        run_as=None if preset is None else RunAs(preset.name, preset.form, preset.sources),
        notes=tuple(map(without_folders, notes)),
    )


def _built(
    sampler: Sampler, dtypes: Sequence[str], rule: SizeRule
) -> tuple[Builder, dict[str, Any]]:
    """The functions, for every so many of the sides if the network raises at most others.

    Which sides it takes was tried on squares of two sides and more.
    """
    first: ModelError | None = None
    for factor in _FEWER if rule.step else (1,):
        step = None if rule.step is None else rule.step * factor
        least = rule.least + ((_TRIED - rule.least) % step if factor > 1 and step else 0)
        fewer = SizeRule(least, step)
        builder = Builder(sampler.sample, sampler.scratch, fewer.at_least, samples=sampler.samples)
        try:
            all_sides = rule.least if factor == 1 else None
            return builder, built(builder, dtypes, fewer, all_sides)
        except ModelError as error:
            first = first or error
    assert first is not None
    raise first


@dataclass
class Sampler:
    """Traces of a network at any size and dtype."""

    workload: Workload
    gpu: Profile | None
    scratch: WorkspaceTable
    trace_on: str
    progress: Progress
    samples: dict[tuple[str, Size], Sample] = field(default_factory=dict)
    series: dict[str, Series] = field(default_factory=dict)
    starts: dict[str, Start] = field(default_factory=dict)

    @classmethod
    def of(cls, call: Call) -> Sampler:
        """Of a call's network, without a profile."""
        return cls(resolve(call), None, WorkspaceTable(), call.trace_on, silent)

    def probe(self, dtype: str | None = None) -> Probe:
        """Calls of the network in a dtype; what is traced so need not be traced as a sample."""
        dtype = dtype or self.workload.run_dtype

        def analyzed(trace: Trace) -> Analysis:
            return self._sampled(dtype, trace)

        return Probe(
            *(self._workload(dtype), find_peak("allocated"), analyzed, "", self.progress),
            traced=self._series(dtype).trace,
            command="estimate",
        )

    def _workload(self, dtype: str) -> Workload:
        own = dtype == self.workload.run_dtype
        return self.workload if own else self.workload.in_dtype(dtype)

    def _series(self, dtype: str) -> Series:
        if dtype not in self.series:
            self.series[dtype] = Series(self.trace_on)
        return self.series[dtype]

    def sample(self, dtype: str, batch: int, height: int, width: int) -> Sample:
        """What a trace says.

        Raises:
            InputError, ModelError: as `srprof.trace`.
        """
        key = dtype, (batch, height, width)
        if key not in self.samples:
            probe = self.probe(dtype)
            self.progress("sizes traced", len(self.samples) + 1, len(self.samples) + 1)
            call = probe.call((batch, *probe.image.shape[1:-2], height, width))
            self._sampled(dtype, self._series(dtype).trace(call))
        return self.samples[key]

    def _sampled(self, dtype: str, trace: Trace) -> Analysis:
        """The analysis of a trace, which is a sample from now on."""
        analysis = Analysis(trace, workspaces=self.scratch, profile=self.gpu)
        latency = analysis.latency
        shape = first_shape(trace)
        size = shape[0], shape[-2], shape[-1]
        self.samples[dtype, size] = Sample(
            size=size,
            script=script(trace, self.scratch, self._kept()),
            sides=tuple(info.shape for node in trace.nodes for info in node.outputs),
            peaks={name: peak.nbytes for name, peak in analysis.peaks.items()},
            net=analysis.memory.net,
            start=self._start(dtype, trace),
            result=trace.result_shape,
            ms=None if latency is None else 1e3 * latency.seconds,
            torch=trace.torch_version,
            notes=trace.notes,
            dtype=dtype,
        )
        return analysis

    def _kept(self) -> Mapping[str, int]:
        """Bytes that libraries keep, as `srprof.analyze` has them."""
        if self.gpu is not None and not self.gpu.allocates_workspaces:
            return {}
        capability = None if self.gpu is None else self.gpu.capability
        return kept_workspaces(capability, os.environ.get("CUBLAS_WORKSPACE_CONFIG", ""))

    def _start(self, dtype: str, trace: Trace) -> Start:
        """The allocator with the network loaded, which is the same at each size.

        Without what the call lets go of it, as replaced weights: that comes and goes.
        """
        if dtype not in self.starts:
            program = Runner(new_allocator(Settings()), None, {}, False, False)
            stays = {i for i, storage in enumerate(trace.storages) if storage.resident}
            externals = tuple(e for e in trace.externals if e.info.storage in stays)
            program.load(replace(trace, externals=externals))
            allocator = program.allocator
            free = tuple(
                (block.size, segment.small)
                for segment in allocator.segments()
                for block in segment.blocks
                if not block.in_use
            )
            self.starts[dtype] = allocator.allocated, allocator.usage.reserved, free
        return self.starts[dtype]

    def corrections(self) -> Iterator[str]:
        """What is counted beside storages, and how far that is known."""
        kept = ", ".join(f"{name} {mib_size(size)}" for name, size in self._kept().items())
        yield f"fixed: what libraries keep from their first call on ({kept or 'nothing'})"
        if self.scratch.source:
            yield f"by rule: scratch in convolutions and transforms, {self.scratch.source}"
        else:
            yield "none: scratch in convolutions and transforms, as without tensor cores"
        yield "simulated: the caching allocator with its default settings, on one stream"


#: Sides at which times are predicted, and how far they are brought to what the network takes.
_TIMED = (32, 64, 128, 256, 512, 1024, 2048)


def _times(builder: Builder, found: Mapping[str, Any], gpu: Profile) -> Times:
    """Times by pixels, and the largest error between them."""
    ms: dict[str, list[list[float]]] = {}
    for dtype, place in found["dtypes"].items():
        if not isinstance(place, str):
            sides = {builder.at_least(max(side, found["sides"]["least"])) for side in _TIMED}
            rows = [builder.sample(dtype, 1, side, side) for side in sorted(sides)]
            ms[dtype] = [[side.size[1] * side.size[2], side.ms or 0.0] for side in rows]
    file = {**found, **_HEAD, "time": {"ms": ms}}
    errors = [
        srprof_estimate.milliseconds(file, *s.size[1:], s.size[0], s.dtype) / s.ms - 1
        for s in builder.samples.values()
        if s.ms and _within(found, s) and s.size[1] * s.size[2] >= _TIMED[1] ** 2
    ]
    return Times(gpu.title, ms, max(map(abs, errors), default=0.0))


_HEAD = {"schema": srprof_estimate.SCHEMA, "version": srprof_estimate.VERSION}


def first_shape(trace: Trace) -> tuple[int, ...]:
    """The shape of the image that was traced."""
    return next(e.info.shape for e in trace.inputs if len(e.info.shape) >= 4)


def _within(found: Mapping[str, Any], sample: Sample) -> bool:
    """Whether the functions hold at a sample's size."""
    try:
        _peak(found, sample, "planned")
    except ValueError:  # smaller than the least, between the sides, or of another dtype
        return False
    return True


def _peak(found: Mapping[str, Any], sample: Sample, kind: str) -> int:
    batch, *size = sample.size
    peak: int = srprof_estimate.peak_bytes({**found, **_HEAD}, *size, batch, sample.dtype, kind)
    return peak


def _checked(found: Mapping[str, Any], samples: Sequence[Sample], kind: str) -> Checked:
    """A kind of peak beside the traces'."""
    errors = [_peak(found, s, kind) / s.peaks[kind] - 1 for s in samples]
    return Checked(len(errors), errors.count(0), min(errors), max(errors))
