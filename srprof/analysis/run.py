"""An analysis: all that srprof says about one run, computed from its trace."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from srprof import figures
from srprof.analysis import compute
from srprof.analysis.record import AnalysisRecord, LiveRecord, feature_map_bytes
from srprof.call import call_of
from srprof.codec import JsonObject, encode, pick
from srprof.cost.complexity import Complexity, complexity
from srprof.cost.estimate import Estimate, estimate
from srprof.cost.profiles import Profile, read_profile
from srprof.errors import InputError, ModelError
from srprof.memory.model import GRANULARITY, MemoryModel, Peak, memory_model
from srprof.memory.release import HeldStorage, Release, held_at_peak, releases
from srprof.memory.settings import Settings
from srprof.memory.simulation import Event, ImageUsage, Simulation, simulate
from srprof.memory.workspace import (
    WorkspaceTable,
    kept_workspaces,
    library_scratch,
    load_workspaces,
)
from srprof.protocol import PROTOCOLS, read_sizes, resized
from srprof.records import Program, Trace
from srprof.shown import Shown

if TYPE_CHECKING:
    import pandas

    from srprof.render.document import Document
    from srprof.workload import Workload


@dataclass(frozen=True, repr=False)
class Analysis(Shown):
    """Memory and complexity of one run.

    Attributes:
        trace: the record that everything here is computed from.
        granularity: each storage counts as a multiple of this many bytes.
        history: runs of the same network before this one, whose blocks the allocator still has.
        repeat: how often history and this run are gone through.
        allocator: settings of CUDA's caching allocator.
        workspaces: scratch inside nodes, where it was measured.
        program: in the place of history and repeat, one instance of a network whose calls differ or
            that builds itself on the GPU.
        with_construction: the peaks are of the whole program, and not only of its images.
        profile: by which latency is predicted; None if it was not asked for.
    """

    trace: Trace
    granularity: int = GRANULARITY
    history: tuple[Trace, ...] = ()
    repeat: int = 1
    allocator: Settings = field(default_factory=Settings)
    workspaces: WorkspaceTable = field(default_factory=WorkspaceTable)
    program: Program | None = None
    with_construction: bool = False
    profile: Profile | None = None

    @cached_property
    def memory(self) -> MemoryModel:
        """The memory model at the granularity."""
        return memory_model(self.trace, self.granularity)

    @cached_property
    def requested(self) -> MemoryModel:
        """The memory model in the exact bytes of each storage."""
        return memory_model(self.trace, granularity=1)

    @cached_property
    def cold(self) -> Simulation:
        """This run as the first image of a fresh program, in CUDA's caching allocator."""
        return self._simulate([self.trace])

    @cached_property
    def simulation(self) -> Simulation:
        """The whole protocol in CUDA's caching allocator; this run is its last image."""
        alone = self.program is None and len(self.runs) == 1
        return self.cold if alone else self.observe_allocator()

    def observe_allocator(self, observe: Callable[[Event], None] | None = None) -> Simulation:
        """The same as `simulation`, telling of everything that the allocator does, in order."""
        construction = None if self.program is None else self.program.construction
        return self._simulate(self.runs, construction, observe)

    @property
    def runs(self) -> Sequence[Trace]:
        """What the protocol runs, in order."""
        if self.program is not None:
            return self.program.calls
        return [*self.history, self.trace] * self.repeat

    @property
    def construction(self) -> Trace | None:
        """What the constructor did on the device; None if it left it alone."""
        if self.trace.construction is not None:
            return self.trace.construction.trace
        return None if self.program is None else self.program.construction

    @cached_property
    def warm(self) -> ImageUsage | None:
        """The allocator in a second call of the instance, if that is another than the first."""
        again = self.trace.again
        return None if again is None else self._simulate([self.trace, again]).images[-1]

    @property
    def last_image(self) -> ImageUsage:
        """The allocator in this run, alone if it makes other calls after those before it."""
        same = len(self.runs[-1].nodes) == len(self.trace.nodes)
        return (self.simulation if same else self.cold).images[-1]

    def _simulate(
        self,
        traces: Sequence[Trace],
        construction: Trace | None = None,
        observe: Callable[[Event], None] | None = None,
    ) -> Simulation:
        config, gpu = os.environ.get("CUBLAS_WORKSPACE_CONFIG", ""), self.profile
        kept = kept_workspaces(None if gpu is None else gpu.capability, config)
        return simulate(
            traces,
            self.allocator,
            construction=construction,
            with_construction=construction is not None and self.with_construction,
            workspace=self.workspaces.at_least,
            kept_workspaces=kept if gpu is None or gpu.allocates_workspaces else {},
            observe=observe,
        )

    @cached_property
    def unknown_workspace(self) -> tuple[int, ...]:
        """Nodes of which nobody knows how much scratch they take."""
        return self.workspaces.unknown(self.trace.nodes)

    @cached_property
    def allocated_range(self) -> tuple[int, int]:
        """What is requested, if every block fits, and what a fresh program allocates."""
        requested = self.cold.peak_requested
        return requested, max(self.cold.peak_allocated, self.simulation.peak_allocated)

    @cached_property
    def complexity(self) -> Complexity:
        """The challenge's counts and the true MACs."""
        return complexity(self.trace)

    @cached_property
    def latency(self) -> Estimate | None:
        """Predicted, None without a profile; an InputError if that has no peak for a dtype."""
        return None if self.profile is None else estimate(self.trace, self.profile)

    @cached_property
    def held_at_peak(self) -> tuple[HeldStorage, ...]:
        """Storages that nothing needs at the eager peak, largest first."""
        return held_at_peak(self.trace, self.memory)

    @cached_property
    def releases(self) -> tuple[Release, ...]:
        """The same by variable, with what releasing each would save."""
        return releases(self.trace, self.memory)

    @cached_property
    def peaks(self) -> Mapping[str, Peak]:
        """Every peak by its name."""
        return {figure.name: figure.at(self) for figure in figures.peaks()}

    def value(self, name: str) -> float | None:
        """A figure by its name (`srprof.figures`): bytes, counts or ms; None if not known."""
        figure = figures.find(name)
        if isinstance(figure, figures.PeakFigure):
            return figure.at(self).nbytes
        return figure.of(self.record)

    @cached_property
    def live_at_peak(self) -> tuple[LiveRecord, ...]:
        """Every storage of the run that is alive at the eager peak, largest first."""
        return compute.live_at_peak(self.trace, self.memory)

    @cached_property
    def feature_map(self) -> tuple[int, int, int] | None:
        """C, H, W of the paper's unit; None if the network has no trunk."""
        return compute.feature_map(self.trace)

    def feature_maps(self, nbytes: int) -> float | None:
        """Bytes without the network's own, in feature maps of C x H x W."""
        if self.feature_map is None:
            return None
        one = feature_map_bytes(self.feature_map, compute.input_records(self.trace))
        return (nbytes - self.memory.net) / one

    @cached_property
    def record(self) -> AnalysisRecord:
        """All of it as frozen data: what JSON, comparisons and reports are made of."""
        return compute.analysis_record(self)

    def to_dict(self) -> JsonObject:
        """The JSON object of `srprof analyze --format json`; sizes in bytes."""
        return dict(encode(self.record))

    def to_frame(self) -> pandas.DataFrame:
        """One row per node, with `planned` and `eager` beside the JSON object's columns.

        Sizes are in bytes. What srprof cannot say yet is missing (`NA`), not zero.
        """
        import pandas

        frame = pandas.DataFrame(encode(tuple(compute.node_records(self))))
        if frame.empty:
            return frame
        frame = frame.set_index("index")
        frame["planned"] = [parts.planned for parts in self.memory.parts]
        frame["eager"] = [parts.eager for parts in self.memory.parts]
        unknown = ["workspace", "allocated", "macs"]
        return frame.astype(dict.fromkeys(unknown, "Int64") | {"predicted_us": "Float64"})

    def document(self) -> Document:
        """What is shown of it."""
        return self.record.document()

    def headline(self) -> str:
        """What was run, and its peaks."""
        return self.record.headline()


def trace(
    model: Any,
    *inputs: Any,
    weights: str | None = None,
    dtype: str | None = None,
    channels_last: bool = False,
    trace_on: str = "auto",
) -> Trace:
    """Run a model once and record every ATen call, without allocating an activation.

    The model is run in evaluation mode without gradients, on a copy; the caller's is left as it
    is.

    Args:
        model: a SPEC string (`"fmen_s"`, `"net.py:Net(nf=48)"`), an `nn.Module`, a `GraphModule`
            or an exported program; or a `Call`, which has all the rest too.
        inputs: one per argument of the call: a shape `(1, 3, 256, 256)`, an input as `--input`
            has it (`"256x256"`, `"mask=1x1x64x64:bool"`), an example tensor, or a list, tuple,
            named tuple, dataclass or mapping of these. A mapping is keyword arguments, unless the
            model takes it only as one argument. All else is passed on, and so is what is in
            `srprof.AsIs`: a pair of numbers that is no shape.
        weights: a checkpoint to load into the model that a SPEC names; it must fit.
        dtype: "float32", "float16" or "bfloat16", of the parameters and the inputs; None leaves
            the model and example tensors as they are.
        channels_last: put 4-d tensors in channels-last memory format.
        trace_on: "meta"; "cpu" for one real run; "auto" is meta, and cpu where meta cannot;
            "cuda-fake" for the ops that CUDA would see, without a GPU, where torch's fake
            tensors can run the network.

    Raises:
        InputError: the SPEC or an input is wrong.
        ModelError: the model raised.
    """
    from srprof.tracing.run import trace_call

    return trace_call(call_of(model, inputs, weights, dtype, channels_last, trace_on))


def analyze(
    model: Any,
    *inputs: Any,
    weights: str | None = None,
    dtype: str | None = None,
    channels_last: bool = False,
    trace_on: str = "auto",
    granularity: int = GRANULARITY,
    protocol: str = "single",
    sizes: str | Sequence[tuple[int, int]] | None = None,
    repeat: int = 1,
    allocator: str | None = None,
    workspace: str | None = None,
    profile: str | Profile | None = None,
    device: str | Profile | None = None,
) -> Analysis:
    """Explain the memory and complexity of a model at an input, and predict its latency.

    Args:
        model, inputs, weights, dtype, channels_last, trace_on: as for `trace`; the model may be a
            `Trace` too (then nothing is run).
        protocol: "single", a fresh program's first image; "ntire", a list of images before it.
        sizes: that list: LR heights and widths, a file of them or a folder of images; None is
            the DIV2K test set.
        repeat: how often the list and the input are gone through.
        allocator: settings of the caching allocator, as in `PYTORCH_CUDA_ALLOC_CONF`; None is
            what that variable says now.
        workspace: file with the scratch that was measured on a device (`srprof validate --save`),
            "tensor-cores" or "pointwise" (see `srprof.memory.cudnn`), or "none"; None is what the
            profile's GPU takes.
        profile: of the device whose memory and latency are predicted: its name, a path to a user's
            own (`.toml`), or itself; None predicts no latency, and the memory of a GPU before
            Hopper whose cuDNN takes no scratch. device: its older name.
        granularity: each storage counts as a multiple of this many bytes. 512 is the CUDA
            allocator's unit, which published figures contain; 1 gives the exact bytes.

    Raises:
        InputError: the SPEC, an input or the profile is wrong.
        ModelError: the model raised.
    """
    if granularity < 1:
        raise InputError(f"granularity {granularity} is not a positive number of bytes")
    if protocol not in PROTOCOLS:
        raise InputError(f"protocol {protocol!r} is not one of {', '.join(PROTOCOLS)}")
    if repeat < 1:
        raise InputError(f"repeat {repeat}: give a number of times, 1 or more")
    gpu = read_profile(profile, device)
    analysis = partial(
        Analysis,
        granularity=granularity,
        repeat=repeat,
        allocator=Settings.read(allocator),
        workspaces=scratch_on(gpu, workspace),
        profile=gpu,
    )
    if isinstance(model, Trace):
        return _checked(analysis(model))
    call = call_of(model, inputs, weights, dtype, channels_last, trace_on)
    from srprof.tracing.run import run_program, run_trace
    from srprof.workload import resolve

    workload, trace_on = resolve(call), call.trace_on
    recorded = run_trace(workload, trace_on)
    images: Sequence[tuple[int, int]] = ()
    if protocol == "ntire":
        given = None if isinstance(sizes, str) else sizes
        images = given or read_sizes(sizes if isinstance(sizes, str) else None, recorded.scale)
    builds = recorded.builds_on_device and protocol == "ntire"
    changes = recorded.again is not None or any(s.cached for s in recorded.storages)
    if builds or (len(images) + repeat > 1 and changes):
        calls = [at_size(workload, size) for size in images]
        program = run_program([*calls, workload] * repeat, trace_on)
        return _checked(analysis(recorded, program=program, with_construction=builds))
    runs = runs_at(workload, images, trace_on)
    return _checked(analysis(recorded, history=tuple(runs[size] for size in images)))


def scratch_on(gpu: Profile | None, workspace: str | None) -> WorkspaceTable:
    """The scratch of `load_workspaces`, and if that is not said, what is known of the GPU's."""
    if gpu is None:
        return load_workspaces(workspace)
    return load_workspaces(workspace, library_scratch(gpu.capability, gpu.in_tensor_cores))


def _checked(analysis: Analysis) -> Analysis:
    """The analysis, whose latency can be predicted if a profile was given."""
    _ = analysis.latency
    return analysis


def at_size(workload: Workload, size: tuple[int, int]) -> Workload:
    """The call with its image at another size."""
    return replace(workload, **resized(workload.args, workload.kwargs, size))


def runs_at(
    workload: Workload, sizes: Iterable[tuple[int, int]], trace_on: str = "auto"
) -> dict[tuple[int, int], Trace]:
    """The call with its image at each of these heights and widths, once of each.

    A ModelError says at which the model raised.
    """
    return {size: _run_at(workload, size, trace_on) for size in dict.fromkeys(sizes)}


def _run_at(workload: Workload, size: tuple[int, int], trace_on: str) -> Trace:
    from srprof.tracing.run import run_trace

    call = at_size(workload, size)
    try:
        return run_trace(call, trace_on, holders=False)
    except ModelError as error:
        what = f"at {size[0]}x{size[1]}, a size of the list: {error}"
        raise ModelError(what, **pick(error, "file line module")) from error
