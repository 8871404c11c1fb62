"""The record of an analysis: the object of `analyze --format json`, field for field.

Sizes are in bytes and times in milliseconds, unless a name says `us`. No torch here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Annotated

from srprof.codec import Key, decode_record
from srprof.errors import InputError
from srprof.files import read_json
from srprof.inputs import ITEMSIZE, TensorSpec
from srprof.memory.construction import PassesAtPeak
from srprof.memory.host import HostWork
from srprof.records import Reference, Unseen
from srprof.shown import Shown
from srprof.words import mib_size, tensors_text

#: Version of the object.
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """What was run: the SPEC that the user wrote, and the model's name and factor."""

    spec: str
    name: str
    scale: int | None


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """A tensor's shape and dtype."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class ComplexityRecord:
    """The challenge's counts, the true MACs, and ops that have no rule with their calls.

    None is what cannot be said (`AnalysisRecord.unseen`), or of an older record.
    """

    params: int | None
    flops_ntire: int | None
    macs: int | None
    activations: int | None
    convs: int | None
    uncounted: Mapping[str, int]
    fvcore_flops: int | None = None


@dataclass(frozen=True, slots=True)
class RequestedRecord:
    """The memory model in the exact bytes of each storage."""

    net: int
    planned: int
    eager: int


@dataclass(frozen=True, slots=True)
class ConstructorRecord:
    """What the network's constructor does on the device.

    Attributes:
        op, module, file, line: of its largest node; "" where it makes none.
        counted: the peaks contain what it takes, as with `--protocol ntire`.
        left: bytes that stay for every call besides parameters and buffers, None if not known.
        passes: of modules that it calls, by what they have there at that node.
    """

    op: str
    module: str
    file: str
    line: int
    counted: bool
    left: int | None
    passes: tuple[PassesAtPeak, ...]


@dataclass(frozen=True, slots=True)
class WarmRecord:
    """A second call of the same instance, which is another than the first.

    Attributes:
        allocated: the peak, in a fresh program. calls: how many it makes.
        only_first, only_second: calls of the one that the other does not make.
        op, module, file, line: of the first call that only one of them makes; "" where
            both make the same.
    """

    allocated: int
    calls: int
    only_first: int
    only_second: int
    op: str
    module: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class AllocatorRecord:
    """What the prediction of `max_memory_allocated` is made of.

    Attributes:
        images: that the program runs. peak_image: which of them needs the most, None if the
            constructor needs more.
        requested, rounding, unsplit, libraries: of the peak, which is their sum. `requested` is
            what the program asks for; `libraries` what cuBLAS and cuBLASLt keep, and the scratch of
            the peak's node, by `srprof.ops.Scratch`.
        workspace: scratch of the peak's node, None if it is not known. workspace_unknown: nodes
            of which it is not. workspace_source: where it was measured, or
            with `workspace_rule` by which rule it is known.
        fragmentation: reserved at the peak, and not allocated.
        construction: the most that the constructor allocates, None if it left the device alone;
            constructor: what that is.
        warm: a second call, if it differs.
        cold: the same peak of a fresh program's first image.
        range: bytes between which it lies whatever ran before, without scratch.
        not_simulated: settings that were given and are left out.
    """

    images: int
    peak_image: int | None
    requested: int
    rounding: int
    unsplit: int
    workspace: int | None
    workspace_unknown: int
    workspace_source: str | None
    fragmentation: int
    construction: int | None
    cold: int
    range: tuple[int, int]
    not_simulated: tuple[str, ...]
    workspace_rule: Annotated[bool, Key(sparse=True)] = False
    libraries: Annotated[Mapping[str, int], Key(sparse=True)] = field(default_factory=dict)
    constructor: Annotated[ConstructorRecord | None, Key(sparse=True)] = None
    warm: Annotated[WarmRecord | None, Key(sparse=True)] = None


@dataclass(frozen=True, slots=True)
class FeatureMapsRecord:
    """Peaks without the network's own bytes, in feature maps `of` C x H x W."""

    of: tuple[int, int, int]
    planned: float
    eager: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRecord:
    """A storage that nothing needs at the eager peak after the node `last_use`.

    `variable` has all variables of that function that reference it, `references` those of anything.
    """

    variable: str
    function: str
    file: str
    line: int
    kind: str
    bytes: int
    last_use: int
    storage: int
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRecord:
    """A storage alive at the eager peak.

    Attributes:
        part: of the memory model: input, output, kept or held.
        variable, function, file, line, kind: of its first reference.
        birth: node that made it, -1 if it was there before. last_use: that needs it last.
    """

    storage: int
    part: str
    variable: str
    function: str
    file: str
    line: int
    kind: str
    shape: tuple[int, ...]
    bytes: int
    birth: int
    last_use: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRecord:
    """What a variable holds at the eager peak though it is dead.

    Attributes:
        elsewhere: something outside that function references it too.
        saving: by how much the eager peak falls if only this lets go in time.
        peak_after: the eager peak once this and all before it have let go.
    """

    variable: str
    function: str
    file: str
    line: int
    kind: str
    elsewhere: bool
    bytes: int
    last_use: int
    saving: int
    peak_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRecord:
    """Memory: the peaks by name, where they are, and what is alive at the eager one."""

    net: int
    granularity: int
    requested: RequestedRecord
    peak: Mapping[str, int]
    peak_node: Mapping[str, int | None]
    allocator: AllocatorRecord
    peak_feature_maps: FeatureMapsRecord | None
    held_at_peak: tuple[HeldRecord, ...]
    live_at_peak: tuple[LiveRecord, ...]
    releases: tuple[ReleaseRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRecord:
    """The nodes of one operation class together; what bounds most of their time."""

    op_class: Annotated[str, Key("class")]
    nodes: int
    ms: float
    share: float
    bound: str
    bound_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AvoidableRecord:
    """What a call's time is spent on that it need not; see `srprof.cost.avoidable.Avoidable`."""

    kind: str
    nodes: int
    ms: float
    of_ms: float
    width: Annotated[int, Key(sparse=True)] = 0
    instead: Annotated[int, Key(sparse=True)] = 0
    work: Annotated[HostWork | None, Key(sparse=True)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRecord:
    """The latency that is predicted for a device; see `srprof.cost.estimate.Estimate`.

    Attributes:
        device_ms: that the device needs by itself. host_ms: that its host does, None on a device
            that waits for each launch. graph_ms: of a CUDA graph, None where none can hold it.
        unmeasured_ms, unmeasured_nodes: of the nodes that no measured operation is near; None
            of a profile without measured operations.
        avoidable: costs, the largest first, each by itself.
    """

    device: str
    title: str
    predicted_ms: float
    uncertainty_ms: float
    uncertainty_from: str
    held_out_error: float | None
    overhead_ms: float
    overhead_share: float
    by_bound: Mapping[str, float]
    by_class: tuple[ClassRecord, ...]
    by_module: Mapping[str, float]
    device_ms: float | None = None
    host_ms: float | None = None
    graph_ms: float | None = None
    unmeasured_ms: float | None = None
    unmeasured_nodes: int | None = None
    avoidable: tuple[AvoidableRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One published figure and ours.

    Attributes:
        measure: its name in `srprof.compare.published.MEASURES`. scale, row: of the table.
        published: as printed, in the measure's unit.
        ours: in that unit, not rounded; None if srprof cannot say it.
        difference: ours against the published figure, as a fraction of it.
        agrees: ours prints as the published digits; None if there is none of ours.
        reproducible: False if no known convention gives the published digits.
        how: what was counted, and where.
    """

    measure: str
    scale: int
    row: str
    published: float
    ours: float | None
    difference: float | None
    agrees: bool | None
    reproducible: bool
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """One node; None is not known.

    Attributes:
        input, output, kept, held: the memory model's parts. workspace: scratch inside it.
        allocated: what the allocator has handed out at its end.
        bytes_moved: that it reads and writes at least.
        op_class, predicted_us, bound: of the predicted latency.
        on: where it works, as `srprof.records.Where`.
    """

    index: int
    op: str
    module: str
    file: str
    line: int
    inplace: bool
    shape: tuple[int, ...]
    input: int
    output: int
    kept: int
    held: int
    workspace: int | None
    allocated: int | None
    macs: int | None
    bytes_moved: int
    op_class: str | None = None
    predicted_us: float | None = None
    bound: str | None = None
    on: Annotated[str, Key(sparse=True)] = "device"

    @property
    def step(self) -> str:
        """`convolution in body.0`: what it is, wherever it is in the run."""
        return f"{self.op} in {self.module or 'the model'}"

    @property
    def referenced(self) -> int:
        """Bytes of the run, without the network's own, that are referenced at its end."""
        return self.input + self.output + self.kept + self.held


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleRow:
    """A module with all that ran inside it; None is not known, or nothing ran.

    Attributes:
        path: "" is the model. kind: its class. params: each once, of all inside it.
        calls: how often it was called; a list of modules never is. shape: of the first call's
            output.
        peak: the most that the program references at the end of a node inside it, `peak_node`.
        held: the most that is held at one. created: bytes that its nodes create in all.
    """

    path: str
    kind: Annotated[str, Key("class")]
    params: int | None
    calls: int
    shape: tuple[int, ...]
    nodes: int
    macs: int | None
    peak: int | None
    peak_node: int | None
    held: int
    created: int
    predicted_ms: float | None

    @property
    def depth(self) -> int:
        """How many modules are around it: 0 for the model."""
        return self.path.count(".") + 1 if self.path else 0


@dataclass(frozen=True, kw_only=True)
class Heading:
    """What a JSON object on a trace begins with: versions, where it ran, the model."""

    schema: int
    srprof: str
    torch: str
    traced_on: str
    fallback: str | None = None
    notes: tuple[str, ...] = ()
    model: ModelRecord


@dataclass(frozen=True, kw_only=True, repr=False)
class AnalysisRecord(Heading, Shown):
    """All that srprof says about one run."""

    view = "analysis"

    input: TensorRecord | None = None
    inputs: tuple[TensorSpec, ...]
    complexity: ComplexityRecord
    memory: MemoryRecord
    latency: LatencyRecord | None = None
    published: tuple[Comparison, ...] = ()
    unseen: Annotated[tuple[Unseen, ...], Key(sparse=True)] = ()
    main_memory: Annotated[tuple[HostWork, ...], Key(sparse=True)] = ()
    nodes: tuple[NodeRecord, ...]
    modules: Annotated[tuple[ModuleRow, ...], Key(sparse=True)] = ()

    def headline(self) -> str:
        """What was run, and its peaks."""
        peaks = ", ".join(f"{name} {mib_size(n)}" for name, n in self.memory.peak.items())
        return f"{self.title}: {peaks}"

    @property
    def title(self) -> str:
        """`FMEN-S at 1x3x256x256 float32`."""
        return f"{self.model.spec} at {tensors_text(self.inputs)}"

    @property
    def feature_map_bytes(self) -> int | None:
        """Bytes of one of the paper's feature maps; None if the network has no trunk."""
        maps = self.memory.peak_feature_maps
        return None if maps is None else feature_map_bytes(maps.of, self.inputs)

    def node(self, index: int | None) -> NodeRecord | None:
        """A node by its index; None for what no node of this run is."""
        if index is None or not 0 <= index < len(self.nodes):
            return None
        return self.nodes[index]


def feature_map_bytes(unit: tuple[int, int, int], tensors: Iterable[TensorSpec]) -> int:
    """Bytes of a map of C x H x W for each image of the call's batch, in the image's dtype."""
    image = next(tensor for tensor in tensors if len(tensor.shape) == 4)
    return image.shape[0] * prod(unit) * ITEMSIZE[image.dtype]


def load(path: str) -> AnalysisRecord:
    """The record of a file of `srprof analyze --format json`; an InputError if it is none."""
    data = read_json(path, mend="name an analysis, or analyze again")
    if not isinstance(data, dict) or "nodes" not in data or "memory" not in data:
        mend = "`srprof analyze SPEC --format json -o FILE` writes one"
        raise InputError(f"{path} is no analysis; {mend}")
    return decode_record(AnalysisRecord, data, SCHEMA, path, "analyze again")
