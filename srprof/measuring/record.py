"""A measurement: what one model did on one device, as a record that outlives the device.

The record is frozen data, without a tensor and without torch. It round-trips through JSON; every
report and every comparison is made from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

from srprof.codec import JsonObject, encode
from srprof.cost.estimate import Estimate
from srprof.errors import InputError
from srprof.files import RecordFile
from srprof.inputs import TensorSpec
from srprof.measuring.statistics import DOUBTS, Summary, summarize
from srprof.records import External, Node, Trace
from srprof.shown import Shown
from srprof.words import mib_size

#: Version of the JSON object. Fields may be added within one; see `codec`.
SCHEMA = 1

Protocol = Literal["ntire", "strict"]

#: How latency is taken, and which figure speaks for it.
PROTOCOLS: dict[Protocol, str] = {
    "ntire": "as the challenge's script: cudnn.benchmark off, no warm-up, the mean",
    "strict": "after a warm-up, the median",
}


#: Share of the passes' time spent waiting for a processor above which the machine is busy.
BUSY = 0.05


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a network is recognised by, whatever it is called.

    Attributes:
        network: of the parameters' and buffers' names and shapes; the same on every device.
        calls: of the ATen calls and the shapes of their results, in order; it depends on the
            input's size, and for composite calls on the device and on torch's version.
    """

    network: str
    calls: str


@dataclass(frozen=True, slots=True)
class Device:
    """Where it ran; None is unknown, as is whatever that kind of device has not.

    Attributes:
        kind: "cpu" or "cuda". name: of the processor or GPU.
        capability: "9.0" for a GPU, the widest instructions that torch uses ("AVX512") for a CPU.
        memory: of the GPU, in bytes. driver: its version.
    """

    kind: str
    name: str
    capability: str | None = None
    memory: int | None = None
    driver: str | None = None

    @property
    def compute_capability(self) -> tuple[int, int] | None:
        """Of a GPU, (9, 0) for "9.0"."""
        major, _, minor = (self.capability or "").partition(".")
        return (int(major), int(minor)) if minor.isdigit() else None


@dataclass(frozen=True, slots=True)
class Versions:
    """Of everything that has a say in the figures; None is not there."""

    srprof: str
    python: str
    torch: str
    cuda: str | None = None
    cudnn: str | None = None
    onednn: str | None = None


@dataclass(frozen=True, slots=True)
class Flags:
    """torch's settings while a figure was taken; None is unknown.

    Attributes:
        threads: of torch's own pool. allocator: torch's name of the CUDA allocator ("native").
        environment: the variables that are set and change memory or speed.
    """

    tf32_matmul: bool | None
    tf32_cudnn: bool | None
    cudnn_enabled: bool
    cudnn_benchmark: bool
    cudnn_deterministic: bool
    deterministic_algorithms: bool
    matmul_precision: str
    threads: int
    allocator: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


def on_tensor_cores(device: Device, flags: Flags, dtype: str) -> bool:
    """Whether cuDNN computes in this dtype on tensor cores; float32 as TF32, from Ampere on."""
    capability = device.compute_capability
    if capability is None or not flags.cudnn_enabled:
        return False
    if dtype == "float32":
        return bool(flags.tf32_cudnn) and capability >= (8, 0)
    return dtype in ("float16", "bfloat16") and capability >= (7, 0)


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes allocated when a call began, when it ended, and at most in between."""

    before: int
    after: int
    peak: int


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One ATen call, in the order of a trace on the same device.

    Attributes:
        outputs: bytes of the storages that it made and handed out.
        allocated: as the allocator counts, which on CUDA is in blocks.
        requested: as was asked of it; None where the allocator does not say.
    """

    index: int
    op: str
    module: str
    file: str
    line: int
    shape: tuple[int, ...]
    outputs: int
    allocated: Bytes
    requested: Bytes | None = None

    @property
    def exact(self) -> Bytes:
        """The requested bytes, or the allocated ones where those are not known."""
        return self.requested or self.allocated

    @property
    def workspace(self) -> int:
        """Scratch: bytes at the peak beyond what was there before and what it hands out."""
        return self.exact.peak - self.exact.before - self.outputs

    @property
    def retained(self) -> int:
        """Bytes still there afterwards that it did not hand out: a library's own, for good.

        Negative where it freed more than it took.
        """
        return self.exact.after - self.exact.before - self.outputs


@dataclass(frozen=True, slots=True)
class RunPeaks:
    """Peaks of one whole run, in bytes; None is unknown."""

    max_allocated: int | None
    max_reserved: int | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of whole runs, in bytes.

    Attributes:
        net: of parameters and buffers; inputs: of the call's tensors. Both as requested.
        start: what the allocator had handed out when the run of the nodes began: the network, the
            inputs, and whatever else lives in the process. start_requested: as was asked of it.
        cold: of the first run of a new instance, on CUDA with nothing in the allocator's cache;
            warm: of the next one. None if it was not reached.
    """

    net: int
    inputs: int
    start: int
    start_requested: int | None = None
    cold: RunPeaks | None = None
    warm: RunPeaks | None = None


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A GPU at one moment, and why it is throttled, by NVML; None is not known."""

    sm_clock_mhz: int | None = None
    sm_clock_max_mhz: int | None = None
    memory_clock_mhz: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    throttled: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """Timings of single forward passes.

    Attributes:
        clock: "perf_counter", or "cuda event" for the time between two events on the stream.
        warmup: passes that ran before and are not among the samples.
        flushed_l2: the GPU's L2 cache was overwritten before each pass.
        samples_ms: in the order in which they were taken.
        before, after: the GPU when the samples began and when they ended; energy_j: what it took
            in between, pauses included.
        waited: share of that time in which this process waited for a processor that another
            program had; None where the system does not say.
    """

    protocol: Protocol
    clock: str
    warmup: int
    flushed_l2: bool
    flags: Flags
    samples_ms: tuple[float, ...]
    before: DeviceState | None = None
    after: DeviceState | None = None
    energy_j: float | None = None
    waited: float | None = None

    @property
    def summary(self) -> Summary:
        """Statistics of the samples, in ms."""
        return summarize(self.samples_ms)

    @property
    def doubts(self) -> Mapping[str, str]:
        """Why the samples may not be what they seem, and what helps; those of `DOUBTS` too."""
        found = {name: DOUBTS[name] for name in self.summary.doubts}
        if self.waited is not None and self.waited > BUSY:
            found["busy machine"] = (
                f"for {self.waited:.0%} of the time the passes waited for a processor that another "
                "program had: close other programs, or give fewer --threads than there are cores"
            )
        return found

    @property
    def value_ms(self) -> float:
        """The protocol's own figure: the mean for "ntire", the median for "strict"."""
        summary = self.summary
        return summary.mean if self.protocol == "ntire" else summary.median


@dataclass(frozen=True, repr=False)
class Measurement(Shown):
    """What one model did on one device.

    Attributes:
        name, spec: of the model, as in a `Trace`. taken: when, in UTC (ISO 8601).
        flags: while memory was measured; `latency` has its own.
        deterministic: whether two runs of new instances made the same calls; None if not known.
        complete: False if it was interrupted; what is there then is true all the same.
        notes: what a reader of the figures must know, one line each.
    """

    view = "measurement"

    name: str
    spec: str
    fingerprint: Fingerprint
    inputs: tuple[TensorSpec, ...]
    dtype: str
    layout: Literal["contiguous", "channels_last"]
    taken: str
    device: Device
    versions: Versions
    flags: Flags
    memory: Memory
    nodes: tuple[NodeFacts, ...]
    latency: Latency | None = None
    deterministic: bool | None = None
    complete: bool = True
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if [node.index for node in self.nodes] != list(range(len(self.nodes))):
            raise ValueError("the nodes are not numbered in order")
        if self.latency is not None:
            summarize(self.latency.samples_ms)

    def __repr__(self) -> str:
        nbytes = self.memory.cold.max_allocated if self.memory.cold else None
        peak = "peak unknown" if nbytes is None else mib_size(nbytes)
        time = f"{self.latency.value_ms:.3g} ms" if self.latency else "not timed"
        return f"<Measurement of {self.name} on {self.device.name}: {peak}, {time}>"

    def to_dict(self) -> JsonObject:
        """The JSON object; sizes in bytes, times in ms.

        It has what follows from the fields too: `workspace`, `retained`, `value_ms`, `summary`.
        """
        record = FILE.encode(self)
        for row, node in zip(record["nodes"], self.nodes, strict=True):
            row |= {"workspace": node.workspace, "retained": node.retained}
        if self.latency is not None:
            summary = self.latency.summary
            shown = encode(summary) | {"iqr": summary.iqr}
            record["latency"] |= {"value_ms": self.latency.value_ms, "summary": shown}
        return record

    def to_json(self) -> str:
        """The JSON text, ending with a newline."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    def require_same_network(self, trace: Trace) -> None:
        """An InputError if a trace is of another network or input than was measured here."""
        ours, theirs = self.fingerprint, fingerprint(trace.externals, trace.nodes)
        what = f"the record is of {self.spec}"
        if ours.network != theirs.network:
            other = f"{trace.spec} is another network (its parameters differ)"
            mend = "give the SPEC that was measured, or measure this one"
            raise InputError(f"{what}, and {other}; {mend}")
        traced = tuple(TensorSpec(e.name, e.info.shape, e.info.dtype) for e in trace.inputs)
        if self.inputs != traced:
            here, there = (", ".join(map(str, tensors)) for tensors in (self.inputs, traced))
            raise InputError(f"{what} at {here}, not at {there}; give that input, or measure this")


def fingerprint(externals: Iterable[External], nodes: Iterable[Node]) -> Fingerprint:
    """The fingerprint of a recorded run."""
    weights = [(e.name, e.info.shape) for e in externals if e.role in ("parameter", "buffer")]
    calls = [(node.op, [output.shape for output in node.outputs]) for node in nodes]
    return Fingerprint(_digest(sorted(weights)), _digest(calls))


def _digest(value: Any) -> str:
    return sha256(json.dumps(value).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class OpWorkspace:
    """The scratch of all calls of one op that took some; the largest, in bytes, is `node`'s."""

    op: str
    calls: int
    largest: int
    node: int


def workspace_by_op(nodes: Iterable[NodeFacts]) -> tuple[OpWorkspace, ...]:
    """The ops that took scratch, the largest first."""
    by_op: dict[str, list[NodeFacts]] = {}
    for node in sorted(nodes, key=lambda node: (-node.workspace, node.index)):
        if node.workspace > 0:
            by_op.setdefault(node.op, []).append(node)
    workspaces = (OpWorkspace(op, len(n), n[0].workspace, n[0].index) for op, n in by_op.items())
    return tuple(sorted(workspaces, key=lambda w: (-w.largest, w.op)))


@dataclass(frozen=True, repr=False)
class Timing(Shown):
    """What was timed, where, and what was predicted; None where no profile was at hand."""

    view = "timing"

    trace: Trace
    device: Device
    latency: Latency
    predicted: Estimate | None

    @property
    def difference(self) -> float | None:
        """Predicted over measured median, less 1."""
        if self.predicted is None:
            return None
        return 1e3 * self.predicted.seconds / self.latency.summary.median - 1


_COMMAND = "srprof measure SPEC --format json -o FILE"
FILE = RecordFile(Measurement, "srprof measurement", SCHEMA, "measure again", _COMMAND)
load, from_json = FILE.load, FILE.parse
