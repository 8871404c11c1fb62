"""A measurement: memory of whole runs, scratch by op, latency and notes."""

from __future__ import annotations

from collections.abc import Sequence

from srprof.measuring.record import (
    PROTOCOLS,
    Bytes,
    DeviceState,
    Latency,
    Measurement,
    NodeFacts,
    workspace_by_op,
)
from srprof.measuring.statistics import DOUBTS, written
from srprof.paths import place
from srprof.render.document import Column, Document, Section, Table, notes
from srprof.words import mib, shape_text


def document(measurement: Measurement) -> Document:
    """JSON is the record, CSV its nodes."""
    sections = [_memory(measurement), _workspace(measurement)]
    if measurement.latency is not None:
        sections.append(_latency(measurement.latency))
    cut = () if measurement.complete else ("interrupted: this is what was measured until then",)
    sections += notes([*cut, *measurement.notes])
    return Document(tuple(sections), measurement.to_dict, main=_nodes(measurement.nodes))


def _nodes(nodes: Sequence[NodeFacts]) -> Table:
    columns = (
        Column("node", "count"),
        *map(Column, ("op", "module", "line", "shape")),
        *(Column(name, "mib") for name in ("before", "at most", "after", "outputs", "workspace")),
    )
    rows = tuple(
        (
            node.index,
            node.op,
            node.module,
            place(node.file, node.line),
            shape_text(node.shape),
            *(node.allocated.before, node.allocated.peak, node.allocated.after),
            node.outputs,
            node.workspace,
        )
        for node in nodes
    )
    return Table(columns, rows)


def _memory(measurement: Measurement) -> Section:
    memory, device = measurement.memory, measurement.device
    inputs = ", ".join(f"{shape_text(t.shape)} {t.dtype}" for t in measurement.inputs)
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
    runs = (
        ("cold", memory.cold, "peak of the first run of a new instance"),
        ("warm", memory.warm, "peak of the next one"),
    )
    rows += [
        (name, peaks.max_allocated, peaks.max_reserved, meaning)
        for name, peaks, meaning in runs
        if peaks is not None
    ]
    columns = (
        Column("memory"),
        Column("allocated MiB", "mib"),
        Column("reserved MiB", "mib"),
        Column("what it is"),
    )
    after: tuple[str, ...] = ()
    if measurement.nodes:
        top = max(measurement.nodes, key=lambda node: (node.allocated.peak, -node.index))
        at = f" at {place(top.file, top.line)}" if top.file else ""
        after = (
            f"Most is allocated within node {top.index} {top.op} in "
            f"{top.module or 'the model'}{at}: {_three(top.allocated)}.",
        )
    title = f"{measurement.spec} at {inputs} on {device.name}"
    return Section(title, (", ".join(libraries),), Table(columns, tuple(rows)), after)


def _three(allocated: Bytes) -> str:
    before, peak, after = map(mib, (allocated.before, allocated.peak, allocated.after))
    return f"{before} MiB before, {peak} at most, {after} after"


def _workspace(measurement: Measurement) -> Section:
    ops = workspace_by_op(measurement.nodes)
    if not ops:
        return Section("Workspace", ("no op took memory beyond its results",))
    columns = (
        Column("op"),
        Column("calls", "count"),
        Column("largest MiB", "mib"),
        Column("at node", "count"),
    )
    rows = tuple((w.op, w.calls, w.largest, w.node) for w in ops)
    title = "Workspace, by op: scratch beyond what was there before and the results"
    return Section(title, (), Table(columns, rows))


def _latency(latency: Latency) -> Section:
    summary = latency.summary
    figures = summary.figures
    columns = (Column("ms"), Column("value"))
    interval = summary.interval
    rows = [
        ("mean", written(summary.mean, figures)),
        ("median", written(summary.median, figures)),
        ("quartiles", f"{written(summary.q1, 3)} to {written(summary.q3, 3)}"),
        ("95 % of the median", None if interval is None else " to ".join(_digits(interval))),
    ]
    lines = [
        f"protocol {latency.protocol}: {PROTOCOLS[latency.protocol]}",
        f"{summary.count} passes after {latency.warmup} of warm-up, by {latency.clock}"
        + (", L2 flushed before each" if latency.flushed_l2 else ""),
    ]
    after = [f"{name}: {DOUBTS[name]}" for name in summary.doubts]
    after += [
        f"GPU {when}: {_state(state)}"
        for when, state in (("before", latency.before), ("after", latency.after))
        if state is not None
    ]
    if latency.energy_j is not None:
        after.append(f"energy: {latency.energy_j:.1f} J in all passes, pauses included")
    title = f"Latency: {written(latency.value_ms, figures)} ms"
    return Section(title, tuple(lines), Table(columns, tuple(rows)), tuple(after))


def _digits(interval: tuple[float, float]) -> list[str]:
    return [written(value, 4) for value in interval]


def _state(state: DeviceState) -> str:
    parts = (
        ("SM {} MHz", state.sm_clock_mhz),
        ("of {} MHz", state.sm_clock_max_mhz),
        ("memory {} MHz", state.memory_clock_mhz),
        ("{} C", state.temperature_c),
        ("{:.0f} W", state.power_w),
        ("held down by {}", ", ".join(state.throttled) if state.throttled else None),
    )
    known = [text.format(value) for text, value in parts if value is not None]
    return ", ".join(known) or "unknown"
