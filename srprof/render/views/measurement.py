"""A measurement: memory of whole runs, scratch by op, latency and notes."""

from __future__ import annotations

from collections.abc import Sequence

from srprof.measuring.record import (
    PROTOCOLS,
    DeviceState,
    Latency,
    Measurement,
    NodeFacts,
    workspace_by_op,
)
from srprof.paths import place
from srprof.render.document import Column, Document, Section, Table, notes
from srprof.render.views import SHAPED
from srprof.words import mib, tensors_text


def document(measurement: Measurement) -> Document:
    """JSON is the record, CSV its nodes."""
    sections = [_memory(measurement), _workspace(measurement)]
    if measurement.latency is not None:
        sections.append(_latency(measurement.latency))
    cut = () if measurement.complete else ("interrupted: this is what was measured until then",)
    sections += notes([*cut, *measurement.notes])
    return Document(tuple(sections), measurement.to_dict, main=_nodes(measurement.nodes))


def _nodes(nodes: Sequence[NodeFacts]) -> Table:
    return Table.build(
        nodes,
        (Column("node", "count"), lambda node: node.index),
        *SHAPED,
        (Column("before", "mib"), lambda node: node.allocated.before),
        (Column("at most", "mib"), lambda node: node.allocated.peak),
        (Column("after", "mib"), lambda node: node.allocated.after),
        (Column("outputs", "mib"), lambda node: node.outputs),
        (Column("workspace", "mib"), lambda node: node.workspace),
    )


def _memory(measurement: Measurement) -> Section:
    memory, device = measurement.memory, measurement.device
    versions = measurement.versions
    libraries = [f"torch {versions.torch}"]
    if device.kind == "cuda":
        libraries += [f"CUDA {versions.cuda}", f"cuDNN {versions.cudnn}", f"driver {device.driver}"]
    else:
        libraries += [f"oneDNN {versions.onednn}", f"{measurement.flags.threads} threads"]
    rows: list[tuple[object, ...]] = [
        ("net", memory.net, None, "parameters and buffers, as requested"),
        ("inputs", memory.inputs, None, "tensors of the call, as requested"),
    ]
    for name, peaks, meaning in (
        ("cold", memory.cold, "peak of the first run of a new instance"),
        ("warm", memory.warm, "peak of the next one"),
    ):
        if peaks is not None:
            rows.append((name, peaks.max_allocated, peaks.max_reserved, meaning))
    sizes = (Column("allocated MiB", "mib"), Column("reserved MiB", "mib"))
    columns = (Column("memory"), *sizes, Column("what it is"))
    after: tuple[str, ...] = ()
    if measurement.nodes:
        top = max(measurement.nodes, key=lambda node: (node.allocated.peak, -node.index))
        at = f" at {place(top.file, top.line)}" if top.file else ""
        after = (
            f"Most is allocated within node {top.index} {top.op} in {top.module or 'the model'}"
            f"{at}: {mib(top.allocated.before)} MiB before, {mib(top.allocated.peak)} at most, "
            f"{mib(top.allocated.after)} after.",
        )
    title = f"{measurement.spec} at {tensors_text(measurement.inputs)} on {device.name}"
    return Section(title, (", ".join(libraries),), Table(columns, tuple(rows)), after)


def _workspace(measurement: Measurement) -> Section:
    ops = workspace_by_op(measurement.nodes)
    if not ops:
        return Section("Workspace", ("no op took memory beyond its results",))
    table = Table.build(
        ops,
        (Column("op"), lambda op: op.op),
        (Column("calls", "count"), lambda op: op.calls),
        (Column("largest MiB", "mib"), lambda op: op.largest),
        (Column("at node", "count"), lambda op: op.node),
    )
    title = "Workspace, by op: scratch beyond what was there before and the results"
    return Section(title, (), table)


def _latency(latency: Latency) -> Section:
    summary, written = latency.summary, latency.summary.written
    columns = (Column("ms"), Column("value"))
    interval = summary.interval
    rows = [
        ("mean", written(summary.mean)),
        ("median", written(summary.median)),
        ("quartiles", f"{written(summary.q1)} to {written(summary.q3)}"),
        ("95 % of the median", interval and " to ".join(map(written, interval))),
    ]
    lines = [
        f"protocol {latency.protocol}: {PROTOCOLS[latency.protocol]}",
        f"{summary.count} passes after {latency.warmup} of warm-up, by {latency.clock}"
        + (", L2 flushed before each" if latency.flushed_l2 else ""),
    ]
    after = [f"{name}: {words}" for name, words in latency.doubts.items()]
    states = (("before", latency.before), ("after", latency.after))
    after += [f"GPU {when}: {_state(state)}" for when, state in states if state is not None]
    if latency.energy_j is not None:
        after.append(f"energy: {latency.energy_j:.1f} J in all passes, pauses included")
    title = f"Latency: {written(latency.value_ms)} ms"
    return Section(title, tuple(lines), Table(columns, tuple(rows)), tuple(after))


def _state(state: DeviceState) -> str:
    parts = (
        ("SM {} MHz", state.sm_clock_mhz),
        ("of {} MHz", state.sm_clock_max_mhz),
        ("memory {} MHz", state.memory_clock_mhz),
        ("{} C", state.temperature_c),
        ("{:.0f} W", state.power_w),
        ("held down by {}", ", ".join(state.throttled) if state.throttled else None),
    )
    return ", ".join(text.format(v) for text, v in parts if v is not None) or "unknown"
