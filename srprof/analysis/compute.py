"""The record of an analysis from its trace, memory model, simulation and estimate; no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from srprof import figures
from srprof._version import __version__
from srprof.analysis import record
from srprof.analysis.modules import module_rows
from srprof.codec import made_of
from srprof.cost.avoidable import avoidable
from srprof.inputs import TensorSpec
from srprof.memory.construction import left_by, passes_at
from srprof.memory.host import host_calls, host_work
from srprof.memory.model import MemoryModel, alive_at, last_needed, part_of, rounded
from srprof.memory.release import HeldStorage, Release
from srprof.records import Node, Trace

if TYPE_CHECKING:
    from srprof.analysis.run import Analysis
    from srprof.cost.estimate import Estimate

H = TypeVar("H", bound=record.Heading)
R = TypeVar("R", record.HeldRecord, record.ReleaseRecord)


def live_at_peak(trace: Trace, memory: MemoryModel) -> tuple[record.LiveRecord, ...]:
    """Every storage of the run that is alive at the eager peak, largest first."""
    node, end, live = memory.eager.node, len(trace.nodes), []
    if node is None:
        return ()
    for index in alive_at(trace, node):
        storage = trace.storages[index]
        item = made_of(
            record.LiveRecord,
            trace.references_of(index)[0],
            storage,
            storage=index,
            part=part_of(storage, node, end),
            shape=_shape_of(trace, index),
            bytes=rounded(storage.nbytes, memory.granularity),
            last_use=min(last_needed(storage, end), end - 1),
        )
        live.append(item)
    return tuple(sorted(live, key=lambda item: (-item.bytes, item.storage)))


def _shape_of(trace: Trace, storage: int) -> tuple[int, ...]:
    birth = trace.storages[storage].birth
    given = (external.info for external in trace.externals)
    outputs = trace.nodes[birth].outputs if birth >= 0 else given
    return next((o.shape for o in outputs if o.storage == storage), ())


def feature_map(trace: Trace) -> tuple[int, int, int] | None:
    """C, H, W of the paper's unit: the trunk's width at the input's resolution.

    The width is the zoo's where it knows it, else the commonest number of channels among the
    convolutions' outputs at the input's resolution; None if there is no such output.
    """
    image = next((e.info.shape for e in trace.inputs if len(e.info.shape) == 4), None)
    if image is None:
        return None
    height, width = image[-2:]
    if trace.width is not None:
        return trace.width, height, width
    counts = Counter(
        node.shape[1]
        for node in trace.nodes
        if node.op == "convolution" and len(node.shape) == 4 and node.shape[2:] == image[2:]
    )
    width_of_trunk = max(counts, key=lambda channels: (counts[channels], channels), default=None)
    return None if width_of_trunk is None else (width_of_trunk, height, width)


def bytes_moved(node: Node) -> int:
    """Bytes that a node reads and writes at least: each operand once; 0 for a view."""
    if node.is_view:
        return 0
    return sum(i.nbytes for i in node.inputs) + sum(o.nbytes for o in node.outputs)


def analysis_record(analysis: Analysis) -> record.AnalysisRecord:
    """All that an analysis says, without the published figures."""
    tensors, nodes = input_records(analysis.trace), tuple(node_records(analysis))
    latency = None if analysis.latency is None else _latency(analysis.latency, analysis.trace)
    ms = None if latency is None else latency.by_module
    return headed(
        record.AnalysisRecord,
        analysis.trace,
        input=record.TensorRecord(tensors[0].shape, tensors[0].dtype) if tensors else None,
        inputs=tensors,
        complexity=_complexity(analysis),
        unseen=analysis.trace.unseen,
        memory=_memory(analysis),
        latency=latency,
        main_memory=host_work(analysis.trace),
        nodes=nodes,
        modules=module_rows(analysis.trace, nodes, analysis.memory.net, ms),
    )


def headed(cls: type[H], trace: Trace, **fields: Any) -> H:
    """A record on a trace: its heading, and its own fields."""
    return cls(
        schema=record.SCHEMA,
        srprof=__version__,
        torch=trace.torch_version,
        traced_on=trace.device,
        fallback=trace.fallback or None,
        notes=trace.notes,
        model=record.ModelRecord(trace.spec, trace.name, trace.scale),
        **fields,
    )


def input_records(trace: Trace) -> tuple[TensorSpec, ...]:
    """The tensors of a trace's call."""
    return tuple(TensorSpec(e.name, e.info.shape, e.info.dtype) for e in trace.inputs)


def _memory(analysis: Analysis) -> record.MemoryRecord:
    memory, requested, peaks = analysis.memory, analysis.requested, analysis.peaks
    return record.MemoryRecord(
        net=memory.net,
        granularity=memory.granularity,
        requested=record.RequestedRecord(
            requested.net, requested.planned.nbytes, requested.eager.nbytes
        ),
        peak={name: peak.nbytes for name, peak in peaks.items()},
        peak_node={f.name: peaks[f.name].node for f in figures.peaks() if f.located},
        allocator=_allocator(analysis),
        peak_feature_maps=_feature_maps(analysis),
        held_at_peak=tuple(_let_go(record.HeldRecord, held) for held in analysis.held_at_peak),
        live_at_peak=analysis.live_at_peak,
        releases=tuple(_let_go(record.ReleaseRecord, r) for r in analysis.releases),
    )


def _complexity(analysis: Analysis) -> record.ComplexityRecord:
    counts, unknown = analysis.complexity, analysis.trace.unknown
    known = made_of(
        record.ComplexityRecord, counts, params=counts.parameters, convs=counts.convolutions
    )
    nothing: dict[str, Any] = {f.key: None for f in figures.counts() if f.name in unknown}
    return replace(known, **nothing)


def _feature_maps(analysis: Analysis) -> record.FeatureMapsRecord | None:
    unit, memory = analysis.feature_map, analysis.memory
    planned = analysis.feature_maps(memory.planned.nbytes)
    eager = analysis.feature_maps(memory.eager.nbytes)
    if unit is None or planned is None or eager is None:
        return None
    return record.FeatureMapsRecord(unit, planned, eager)


def _allocator(analysis: Analysis) -> record.AllocatorRecord:
    simulation, construction = analysis.simulation, analysis.simulation.construction
    return made_of(
        record.AllocatorRecord,
        simulation.at_peak,
        simulation,
        requested=simulation.at_peak.requested - sum(simulation.libraries.values()),
        images=len(simulation.images),
        workspace=_peak_workspace(analysis),
        workspace_unknown=len(analysis.unknown_workspace),
        workspace_source=analysis.workspaces.source or None,
        construction=None if construction is None else construction.peaks.allocated,
        constructor=_constructor(analysis),
        warm=_warm(analysis),
        cold=analysis.cold.peak_allocated,
        range=analysis.allocated_range,
        workspace_rule=analysis.workspaces.rule is not None,
    )


def _constructor(analysis: Analysis) -> record.ConstructorRecord | None:
    construction, usage = analysis.construction, analysis.simulation.construction
    if construction is None or usage is None:
        return None
    index = usage.peak_node
    return record.ConstructorRecord(
        *_place(None if index is None else construction.nodes[index]),
        counted=analysis.simulation.with_construction,
        left=left_by(analysis.trace) if analysis.trace.device == "meta" else None,
        passes=() if index is None else passes_at(construction, index),
    )


def _warm(analysis: Analysis) -> record.WarmRecord | None:
    first, again, usage = analysis.trace, analysis.trace.again, analysis.warm
    if again is None or usage is None:
        return None
    here, there = (Counter(map(_call, trace.nodes)) for trace in (first, again))
    fewer, more = here - there, there - here
    nodes = (n for t, only in ((first, fewer), (again, more)) for n in t.nodes if _call(n) in only)
    return record.WarmRecord(
        usage.peaks.allocated,
        len(again.nodes),
        fewer.total(),
        more.total(),
        *_place(next(nodes, None)),
    )


def _place(node: Node | None) -> tuple[str, str, str, int]:
    """Op, module, file and line."""
    return ("", "", "", 0) if node is None else (node.op, node.module, node.file, node.line)


def _call(node: Node) -> tuple[str, str, int, tuple[int, ...]]:
    return node.op, node.file, node.line, node.shape


def _peak_workspace(analysis: Analysis) -> int | None:
    """Scratch of the node at the allocator's peak; None if it is not known."""
    image, node = analysis.simulation.peak_image, analysis.simulation.peak_node
    if image is None or node is None:
        return None
    return analysis.workspaces.scratch(analysis.runs[image].nodes[node])


def _let_go(cls: type[R], held: HeldStorage | Release) -> R:
    return made_of(cls, held, held.holder, bytes=held.nbytes)


def _latency(estimate: Estimate, trace: Trace) -> record.LatencyRecord:
    return replace(latency_record(estimate), avoidable=avoidable_records(estimate, trace))


def avoidable_records(estimate: Estimate, trace: Trace) -> tuple[record.AvoidableRecord, ...]:
    """What the time of a trace is spent on that it need not, the largest first."""
    return tuple(
        made_of(record.AvoidableRecord, cost, ms=1e3 * cost.seconds, of_ms=1e3 * cost.of)
        for cost in avoidable(estimate, host_calls(trace))
    )


def bounds_ms(estimate: Estimate) -> dict[str, float | None]:
    """What the device, its host and a CUDA graph need, as `LatencyRecord` has them."""
    host = None if estimate.profile.gap is None else estimate.host
    found = {"device_ms": estimate.device, "host_ms": host, "graph_ms": estimate.graph}
    return {name: None if seconds is None else 1e3 * seconds for name, seconds in found.items()}


def latency_record(estimate: Estimate) -> record.LatencyRecord:
    """What a record has of an estimate, without what could be avoided."""
    unmeasured = estimate.unmeasured
    return made_of(
        record.LatencyRecord,
        estimate,
        estimate.profile,
        device=estimate.profile.name,
        predicted_ms=1e3 * estimate.seconds,
        uncertainty_ms=1e3 * estimate.uncertainty,
        overhead_ms=1e3 * estimate.overhead,
        by_bound=_milliseconds(estimate.by_bound),
        by_class=tuple(
            made_of(record.ClassRecord, c, ms=1e3 * c.seconds) for c in estimate.classes
        ),
        by_module=_milliseconds(estimate.by_module),
        **bounds_ms(estimate),
        unmeasured_ms=None
        if unmeasured is None
        else 1e3 * sum(n.seconds - n.wait for n in unmeasured),
        unmeasured_nodes=None if unmeasured is None else len(unmeasured),
        avoidable=(),
    )


def _milliseconds(seconds: Mapping[Any, float]) -> dict[str, float]:
    return {name: 1e3 * value for name, value in seconds.items()}


def node_records(analysis: Analysis) -> Iterator[record.NodeRecord]:
    """One record per node, in order."""
    unknown = (None,) * len(analysis.trace.nodes)
    for node, parts, macs, allocated, predicted in zip(
        analysis.trace.nodes,
        analysis.memory.parts,
        analysis.complexity.node_macs,
        analysis.last_image.allocated,
        unknown if analysis.latency is None else analysis.latency.nodes,
        strict=True,
    ):
        yield made_of(
            record.NodeRecord,
            node,
            parts,
            workspace=analysis.workspaces.scratch(node),
            allocated=allocated,
            macs=macs,
            bytes_moved=bytes_moved(node),
            op_class=None if predicted is None else predicted.cost.op_class,
            predicted_us=None if predicted is None else 1e6 * predicted.seconds,
            bound=None if predicted is None else predicted.bound,
        )
