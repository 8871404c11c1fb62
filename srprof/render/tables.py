"""What the reports for people say, before it is drawn: headings, lines and tables.

Every format that a person reads draws the same sections; only the drawing differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from srprof.analysis import Analysis
from srprof.analysis.compute import LiveStorage
from srprof.analysis.record import Comparison
from srprof.compare.published import MEASURES
from srprof.cost.roofline import Estimate
from srprof.memory.model import Peak
from srprof.paths import place
from srprof.records import Node, Reference
from srprof.render.base import Options, View
from srprof.words import mib, shape_text

Kind = Literal["text", "number", "count", "mib", "giga", "mega", "time", "share"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `kind` says how its values are written for a person."""

    name: str
    kind: Kind = "text"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of raw values: bytes, counts, strings, times in the column's unit; None is unknown."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with lines, a table, and lines under it."""

    title: str
    lines: tuple[str, ...] = ()
    table: Table | None = None
    after: tuple[str, ...] = ()


_WRITE: dict[Kind, Callable[[Any], str]] = {
    "text": str,
    "number": str,
    "count": lambda value: f"{value:,}",
    "mib": mib,
    "giga": lambda value: f"{value / 1e9:.4f}",
    "mega": lambda value: f"{value / 1e6:.4f}",
    "time": lambda value: f"{value:.2f}",
    "share": lambda value: f"{value:.1%}",
}


def written(table: Table) -> list[list[str]]:
    """The rows as a person reads them; unknown is a dash."""
    return [
        ["-" if v is None else _WRITE[c.kind](v) for c, v in zip(table.columns, row, strict=True)]
        for row in table.rows
    ]


def where(reference: Reference) -> str:
    """The place of a reference, or the module that has the attribute."""
    return place(reference.file, reference.line) or reference.function


def sections(analysis: Analysis, options: Options) -> list[Section]:
    """The sections of a view, in reading order."""
    latency = _latency(analysis)
    summary = (_headline, _breakdown, _nodes, _held, *latency, _complexity, _published, _notes)
    makers: dict[View, Sequence[Callable[[Analysis, Options], Section | None]]] = {
        "summary": summary,
        "nodes": (_headline, *latency[:1], _all_nodes, _notes),
        "peak": (_headline, _breakdown, _live, _held, _notes),
        "modules": (_headline, *latency[:1], _modules, _notes),
    }
    found = (make(analysis, options) for make in makers[options.view])
    return [section for section in found if section is not None]


def _latency(analysis: Analysis) -> Sequence[Callable[[Analysis, Options], Section]]:
    """The sections on latency, if a device was given; only then is their file loaded."""
    if analysis.latency is None:
        return ()
    from srprof.render.latency import latency_section, slowest_section

    return latency_section, slowest_section


def main_table(analysis: Analysis, options: Options) -> Table:
    """The one table of a view, for formats that hold just one."""
    maker = {"peak": _live, "modules": _modules}.get(options.view, _all_nodes)
    section = maker(analysis, options)
    assert section is not None and section.table is not None
    return section.table


def _headline(analysis: Analysis, _: Options) -> Section:
    trace, memory = analysis.trace, analysis.memory
    tensors = ", ".join(f"{shape_text(e.info.shape)} {e.info.dtype}" for e in trace.inputs)
    on = {
        "meta": "traced on meta: nothing was allocated",
        "cpu": "traced in one real run on the CPU",
        "cuda-fake": "traced on a fake CUDA device: no activation was allocated",
    }.get(trace.device, f"traced on {trace.device}")
    held = analysis.peak_parts.held
    simulation = analysis.simulation
    built = simulation.peak_image is None
    allocated = Peak(simulation.peak_allocated, None if built else analysis.last_image.peak_node)
    explain = (
        ("planned", memory.planned, "what a perfect executor needs: the paper's model"),
        ("eager", memory.eager, "what eager PyTorch references"),
        ("allocated", allocated, "as torch.cuda.max_memory_allocated()"),
        ("reserved", Peak(simulation.peak_reserved, None), "as torch.cuda.max_memory_reserved()"),
    )
    unit = analysis.feature_map
    rows = tuple(
        (
            name,
            peak.nbytes,
            *(() if unit is None else (f"{analysis.feature_maps(peak.nbytes):.2f}",)),
            _at(None if peak.node is None else trace.nodes[peak.node]) or "",
            meaning,
        )
        for name, peak, meaning in explain
    )
    columns = (
        Column("peak"),
        Column("MiB", "mib"),
        *(() if unit is None else (Column(f"maps of {shape_text(unit)}"),)),
        Column("at node"),
        Column("meaning"),
    )
    after = []
    if held:
        share = held / memory.eager.nbytes
        after.append(
            f"{mib(held)} MiB of the eager peak ({share:.0%}) is held: variables still reference "
            "tensors that nothing needs any more."
        )
    after.extend(_allocator(analysis))
    if trace.fallback:
        after.append(f"The meta device could not run this network: {trace.fallback}")
    return Section(f"{trace.spec} at {tensors}", (on,), Table(columns, rows), tuple(after))


def _allocator(analysis: Analysis) -> list[str]:
    """What the prediction for the allocator is made of, and what it leaves open."""
    simulation, usage = analysis.simulation, analysis.simulation.at_peak
    low, high = analysis.allocated_range
    images = len(simulation.images)
    lines = [
        f"allocated: {mib(usage.requested)} MiB requested, {mib(usage.rounding)} rounding, "
        f"{mib(usage.unsplit)} in blocks that are not split.",
        _scratch(analysis),
    ]
    if images == 1:
        lines.append(
            f"It is a fresh program's first image; after others it lies between {mib(low)} and "
            f"{mib(high)} MiB (--protocol ntire)."
        )
    else:
        peak = simulation.peak_image
        where = "before them, in the constructor" if peak is None else f"in image {peak + 1}"
        cold = mib(analysis.cold.peak_allocated)
        lines.append(f"It is the most of {images} images, {where}; the last one cold: {cold} MiB.")
    if simulation.construction is not None:
        built = mib(simulation.construction.peaks.allocated)
        lines.append(f"The constructor by itself takes up to {built} MiB on the GPU.")
    if simulation.not_simulated:
        lines.append(f"Allocator settings not simulated: {', '.join(simulation.not_simulated)}")
    return lines


def _scratch(analysis: Analysis) -> str:
    """What is known of the memory that libraries take inside nodes."""
    unknown, source = len(analysis.unknown_workspace), analysis.workspaces.source
    if not source:
        return (
            f"The scratch that libraries take inside {unknown} nodes is not known here and comes "
            "on top; --workspace gives a measured table, or a rule for GPUs with tensor cores."
        )
    rest = f"; that of {unknown} nodes is not known and comes on top" if unknown else ""
    known = source if analysis.workspaces.rule else f"the scratch that was measured on {source}"
    return f"With {known}{rest}."


def _at(node: Node | None) -> str | None:
    if node is None:
        return None
    return f"{node.index} {node.op} in {node.module or 'the model'}"


def _breakdown(analysis: Analysis, _: Options) -> Section | None:
    node, parts = analysis.peak_node, analysis.peak_parts
    if node is None:
        return None
    meaning = {
        "net": "parameters and buffers",
        "input": "read or changed by this node",
        "output": "created by this node",
        "kept": "older, needed later or held by the caller",
        "held": "older, needed by nothing, still referenced",
    }
    total = max(parts.eager, 1)
    rows = tuple(
        (name, getattr(parts, name), f"{getattr(parts, name) / total:.1%}", text)
        for name, text in meaning.items()
    )
    rows += (("eager", parts.eager, "100.0%", "referenced by the program"),)
    where_ = f", {place(node.file, node.line)}" if node.file else ""
    columns = (Column("part"), Column("MiB", "mib"), Column("share"), Column("what it is"))
    return Section(f"At the eager peak: node {_at(node)}{where_}", (), Table(columns, rows))


_NODE_COLUMNS = (
    Column("node", "count"),
    Column("op"),
    Column("module"),
    Column("line"),
    Column("shape"),
    Column("eager MiB", "mib"),
    Column("input", "mib"),
    Column("output", "mib"),
    Column("kept", "mib"),
    Column("held", "mib"),
    Column("GMACs", "giga"),
)


def _node_table(analysis: Analysis, indices: Iterable[int]) -> Table:
    nodes, parts = analysis.trace.nodes, analysis.memory.parts
    macs = analysis.complexity.node_macs
    rows = tuple(
        (
            i,
            nodes[i].op,
            nodes[i].module,
            place(nodes[i].file, nodes[i].line),
            shape_text(nodes[i].shape),
            parts[i].eager,
            parts[i].input,
            parts[i].output,
            parts[i].kept,
            parts[i].held,
            macs[i],
        )
        for i in indices
    )
    if analysis.latency is None:
        return Table(_NODE_COLUMNS, rows)
    predicted = analysis.latency.nodes
    times = ((1e6 * predicted[row[0]].seconds, predicted[row[0]].bound) for row in rows)
    return Table(
        (*_NODE_COLUMNS, Column("predicted us", "time"), Column("bound")),
        tuple((*row, *more) for row, more in zip(rows, times, strict=True)),
    )


def _nodes(analysis: Analysis, options: Options) -> Section:
    parts = analysis.memory.parts
    largest = sorted(range(len(parts)), key=lambda i: (-parts[i].eager, i))[: options.rows]
    title = f"Largest nodes ({len(largest)} of {len(parts)})"
    table = _node_table(analysis, largest)
    memory = _NODE_COLUMNS.index(Column("GMACs", "giga"))
    without_rest = Table(table.columns[:memory], tuple(row[:memory] for row in table.rows))
    return Section(title, (), without_rest)


def _all_nodes(analysis: Analysis, options: Options) -> Section:
    """The nodes in the order in which they ran; the largest of them if not all are wanted."""
    parts = analysis.memory.parts
    shown = sorted(range(len(parts)), key=lambda i: (-parts[i].eager, i))[: options.rows]
    title = f"Nodes ({len(shown)} of {len(parts)})"
    return Section(title, (), _node_table(analysis, sorted(shown)))


def _held(analysis: Analysis, options: Options) -> Section | None:
    if not analysis.releases:
        return None
    shown = analysis.releases[: options.rows]
    rows = tuple(
        (
            release.variable + (" +" if release.elsewhere else ""),
            release.holder.function,
            where(release.holder),
            release.nbytes,
            _last_use(analysis, release.last_use),
            release.saving,
            release.peak_after,
        )
        for release in shown
    )
    columns = (
        Column("variable"),
        Column("function"),
        Column("bound at"),
        Column("holds MiB", "mib"),
        Column("last use"),
        Column("saves alone", "mib"),
        Column("peak then", "mib"),
    )
    after = [
        "saves alone: by this the eager peak falls if only this lets go after its last use, by "
        "del or by reuse of the name.",
        "peak then: the eager peak once this and all above have let go.",
    ]
    if any(release.elsewhere for release in shown):
        after.append("+: something outside that function references it too, and must let go too.")
    if len(shown) < len(analysis.releases):
        after.append(f"{len(analysis.releases) - len(shown)} more: --view peak")
    return Section("Held at the eager peak, by variable", (), Table(columns, rows), tuple(after))


def _last_use(analysis: Analysis, node: int) -> str:
    if node < 0:
        return "none"
    record = analysis.trace.nodes[node]
    return f"{node} {record.op}"


def _live(analysis: Analysis, options: Options) -> Section | None:
    shown = analysis.live_at_peak[: options.rows]
    columns = (
        Column("part"),
        Column("MiB", "mib"),
        Column("shape"),
        Column("variable"),
        Column("function"),
        Column("bound at"),
        Column("made by"),
        Column("last use"),
    )
    rows = tuple(_live_row(analysis, live) for live in shown)
    title = f"Alive at the eager peak ({len(shown)} of {len(analysis.live_at_peak)})"
    return Section(title, (), Table(columns, rows))


def _live_row(analysis: Analysis, live: LiveStorage) -> tuple[Any, ...]:
    reference = live.references[0]
    made = "the caller" if live.birth < 0 else _last_use(analysis, live.birth)
    if live.part == "output" and reference.kind == "unknown":
        variable, function, bound = "(result of this node)", "", ""
    else:
        variable, function, bound = reference.variable, reference.function, where(reference)
    held_by_caller = analysis.trace.storages[live.storage].role == "input"
    last = "the caller" if held_by_caller else _last_use(analysis, live.last_use)
    return live.part, live.nbytes, shape_text(live.shape), variable, function, bound, made, last


def _modules(analysis: Analysis, options: Options) -> Section:
    """Each module with the nodes that ran inside it, its children's included."""
    nodes, parts = analysis.trace.nodes, analysis.memory.parts
    macs = analysis.complexity.node_macs
    inside: dict[str, list[int]] = {"": list(range(len(nodes)))}
    for node in nodes:
        path = node.module
        while path:
            inside.setdefault(path, []).append(node.index)
            path = path.rpartition(".")[0]
    latency = analysis.latency
    rows = []
    for path, members in inside.items():
        peak = max(members, key=lambda i: parts[i].eager, default=None)
        rows.append(
            (
                path or "(the model)",
                len(members),
                analysis.memory.eager.nbytes if peak is None else parts[peak].eager,
                peak,
                max((parts[i].held for i in members), default=0),
                sum(parts[i].output for i in members),
                sum(macs[i] or 0 for i in members),
                *(() if latency is None else _time_and_share(latency, path)),
            )
        )
    kept = sorted(range(len(rows)), key=lambda i: (-rows[i][2], i))[: options.rows]
    columns = (
        Column("module"),
        Column("nodes", "count"),
        Column("peak MiB", "mib"),
        Column("at node", "count"),
        Column("held MiB", "mib"),
        Column("created MiB", "mib"),
        Column("GMACs", "giga"),
        *(() if latency is None else (Column("predicted ms", "time"), Column("share", "share"))),
    )
    table = Table(columns, tuple(rows[i] for i in sorted(kept)))
    return Section(f"Modules ({len(kept)} of {len(rows)})", (), table)


def _time_and_share(found: Estimate, path: str) -> tuple[float, float]:
    """Milliseconds of a module with all inside it, and their share of the whole."""
    seconds = found.by_module.get(path, 0.0)  # a module of views takes none
    return 1e3 * seconds, found.share(seconds)


def _complexity(analysis: Analysis, _: Options) -> Section:
    counts = analysis.complexity
    columns = (Column("measure"), Column("value"), Column("convention"))
    rows = (
        ("params", f"{counts.parameters:,}", "all parameters"),
        ("FLOPs", f"{counts.flops_ntire / 1e9:.4f} G", "as the NTIRE challenge counts, per image"),
        ("activations", f"{counts.activations / 1e6:.4f} M", "elements of convolution outputs"),
        ("convs", f"{counts.convolutions:,}", "convolution calls"),
        ("MACs", f"{counts.macs / 1e9:.4f} G", "true multiply-accumulates of all ops"),
    )
    after: tuple[str, ...] = ()
    if counts.uncounted:
        listed = ", ".join(f"{op} ({calls}x)" for op, calls in counts.uncounted.items())
        after = (f"MACs leave out ops without a rule: {listed}",)
    return Section("Complexity", (), Table(columns, rows), after)


def _published(_: Analysis, options: Options) -> Section | None:
    if not options.published:
        return None
    title = f"Published figures ({options.published[0].row})"
    return Section(title, (), published_table(options.published))


def published_table(comparisons: Sequence[Comparison]) -> Table:
    """Published figures beside ours."""
    columns = (
        Column("figure"),
        Column("published", "number"),
        Column("ours", "number"),
        Column("difference"),
        Column("counted"),
    )
    return Table(columns, tuple(published_row(c) for c in comparisons))


def published_row(comparison: Comparison) -> tuple[str | None, ...]:
    """Figure, published, ours, difference, convention."""
    measure = MEASURES[comparison.measure]
    unit = f" {measure.unit}" if measure.unit else ""
    ours = None
    if comparison.ours is not None:
        exact = measure.factor == 1 and comparison.ours == int(comparison.ours)
        ours = f"{comparison.ours:.{0 if exact else measure.decimals + 2}f}{unit}"
    return (
        measure.title,
        f"{comparison.published:.{measure.decimals}f}{unit}",
        ours,
        _difference(comparison),
        comparison.how,
    )


def _difference(comparison: Comparison) -> str | None:
    if comparison.difference is None:
        return None
    if comparison.agrees:
        return "the same digits"
    return f"{comparison.difference:+.2%}" + (
        "" if comparison.reproducible else ", not reproducible"
    )


def _notes(analysis: Analysis, _: Options) -> Section | None:
    return Section("Notes", analysis.trace.notes) if analysis.trace.notes else None
