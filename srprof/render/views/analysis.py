"""An analysis: its peaks, what they are made of and who holds it, nodes, modules, counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from srprof import figures
from srprof.analysis.record import (
    AllocatorRecord,
    AnalysisRecord,
    LiveRecord,
    ModuleRow,
    NodeRecord,
    ReleaseRecord,
    WarmRecord,
)
from srprof.codec import encode
from srprof.paths import place
from srprof.render.charts import DeviceTimes, RunCharts
from srprof.render.document import Cell, Column, Document, Section, Table, notes
from srprof.render.views import SHAPED, Field, View, latency, published
from srprof.words import mib, mib_size, shape_text

#: Rows of a long table in the summary, where nobody says how many.
_ROWS = 10

_TRACED_ON = {
    "meta": "traced on meta: nothing was allocated",
    "cpu": "traced in one real run on the CPU",
    "cuda-fake": "traced on a fake CUDA device: no activation was allocated",
}
#: What libraries take of the peak, as `srprof.ops.Scratch` names them.
_LIBRARIES = {
    "aten": "PyTorch's copies of maps in another layout",
    "cublas": "cuBLAS's workspace",
    "cublaslt": "cuBLASLt's workspace",
    "cudnn": "cuDNN's scratch",
    "cufft": "cuFFT's workspace",
    "unknown": "measured scratch",
}
_PARTS = {
    "net": "parameters and buffers",
    "input": "read or changed by this node",
    "output": "created by this node",
    "kept": "older, needed later or held by the caller",
    "held": "older, needed by nothing, still referenced",
}


def document(
    record: AnalysisRecord,
    view: View = "summary",
    top: int | None = None,
    depth: int | None = None,
    timed: Callable[[], DeviceTimes] | None = None,
) -> Document:
    """The tables of a view, and on a page its charts.

    Args:
        view: which tables; "summary" is a bit of each.
        top: rows of each long table, the largest; 0 is all. None is 10 in the summary, else all.
        depth: levels of modules below the model in the tree; None is all.
        timed: gives the predicted times by node, for the charts of these.
    """
    usual = _ROWS if view == "summary" else None
    rows, charts = usual if top is None else top or None, RunCharts(record, timed)
    sections = _sections(record, view, rows, depth, charts)
    main = {"peak": _live, "modules": _modules}.get(view, _all_nodes)(record, None)
    every = (*filter(None, sections), *notes(record.notes))
    return Document(every, data=lambda: encode(record), main=main.table)


def _sections(
    record: AnalysisRecord, view: View, rows: int | None, depth: int | None, charts: RunCharts
) -> tuple[Section | None, ...]:
    """Those of a view in their order; None for what this analysis has not."""
    head = replace(_headline(record), charts=(charts.memory,))
    overview = latency.overview(record)
    timed = overview and replace(overview, charts=charts.times())
    predicted = timed, latency.avoidable(record)
    if view == "nodes":
        return head, *predicted, replace(_all_nodes(record, rows), charts=(charts.nodes,))
    if view == "modules":
        return head, *predicted, _modules(record, rows, depth)
    held = _held(record, rows)
    held = held and replace(held, charts=(charts.held,))
    if view == "peak":
        return head, _breakdown(record), _live(record, rows), held
    nodes = replace(_nodes(record, rows), charts=(charts.nodes,))
    memory = _breakdown(record), nodes, held
    slowest = latency.slowest(record, rows)
    return head, *memory, *predicted, slowest, _complexity(record), _published(record)


# -- the peaks ------------------------------------------------------------------------------------


def _headline(record: AnalysisRecord) -> Section:
    memory, maps = record.memory, record.memory.peak_feature_maps
    unit = record.feature_map_bytes or 1
    in_maps = Column(f"maps of {shape_text(maps.of if maps else ())}", "scaled")
    table = Table.build(
        memory.peak.items(),
        (Column("peak"), lambda peak: peak[0]),
        (Column("MiB", "mib"), lambda peak: peak[1]),
        *([(in_maps, lambda peak: (peak[1] - memory.net) / unit)] if maps else []),
        (Column("at node"), lambda peak: _at(record.node(memory.peak_node.get(peak[0]))) or ""),
        (Column("meaning", long=True), lambda peak: getattr(figures.known(peak[0]), "meaning", "")),
    )
    node = _peak(record)
    held = node.held if node else 0
    after = []
    if held:
        after.append(
            f"{mib_size(held)} of the eager peak ({held / memory.peak['eager']:.0%}) is held: "
            "variables still reference tensors that nothing needs any more."
        )
    after += _allocator(record)
    if record.fallback:
        after.append(f"The meta device could not run this network: {record.fallback}")
    line = _TRACED_ON.get(record.traced_on, f"traced on {record.traced_on}")
    return Section(record.title, (line,), table, tuple(after))


def _allocator(record: AnalysisRecord) -> list[str]:
    """What the prediction for the allocator is made of, and what it leaves open."""
    allocator = record.memory.allocator
    low, high = map(mib, allocator.range)
    parts = [f"{mib_size(allocator.requested)} requested"]
    parts += [f"{mib(n)} {_LIBRARIES.get(name, name)}" for name, n in allocator.libraries.items()]
    parts += [f"{mib(allocator.rounding)} rounding"]
    parts += [f"{mib(allocator.unsplit)} in blocks that are not split"]
    lines = [f"allocated: {', '.join(parts)}.", _scratch(record)]
    if allocator.images == 1:
        lines.append(
            f"It is a fresh program's first image; after others it lies between {low} and {high} "
            "MiB (--protocol ntire)."
        )
    else:
        image = allocator.peak_image
        where = "before them, in the constructor" if image is None else f"in image {image + 1}"
        lines.append(
            f"It is the most of {allocator.images} images, {where}; the last one cold: "
            f"{mib_size(allocator.cold)}."
        )
    lines += [*_constructor(allocator), *_warm(allocator.warm)]
    if allocator.not_simulated:
        lines.append(f"Allocator settings not simulated: {', '.join(allocator.not_simulated)}")
    return lines


def _constructor(allocator: AllocatorRecord) -> Iterator[str]:
    """What the constructor does on the GPU, if anything."""
    built = allocator.constructor
    if built is None or allocator.construction is None:
        return
    most, where = mib_size(allocator.construction), place(built.file, built.line)
    at = f", in {built.op} at {where}" if where else ""
    counts = "" if built.counted else "; --protocol ntire counts that"
    yield f"The constructor by itself takes up to {most} on the GPU{at}{counts}."
    for made in built.passes:
        calls = f"{made.alive} of the {made.calls} calls" if made.calls > 1 else "the call"
        which = f"{calls} of {made.kind} at {place(made.file, made.line)}"
        graph = ", recorded by autograd: in torch.no_grad() no graph stays" if made.autograd else ""
        yield f"Of that, {mib_size(made.bytes)} are of {which}{graph}."
    if built.left:
        yield f"{mib_size(built.left)} of what it made besides weights stay there for every call."


def _warm(warm: WarmRecord | None) -> Iterator[str]:
    """How a second call differs, if it does."""
    if warm is None:
        return
    counts = (("first", warm.only_first, "second"), ("second", warm.only_second, "first"))
    only = [f"the {one} makes {n} calls that the {other} does not" for one, n, other in counts if n]
    where = f" (from {warm.op} at {place(warm.file, warm.line)} on)" if warm.file else ""
    why = " and ".join(only) + where if only else "it finds what the first left"
    yield f"A second call of the same network takes {mib_size(warm.allocated)}: {why}."


def _scratch(record: AnalysisRecord) -> str:
    """What is known of the memory that libraries take inside nodes."""
    allocator = record.memory.allocator
    unknown, source = allocator.workspace_unknown, allocator.workspace_source
    named = record.latency and record.latency.title
    gpu = named or "a GPU before Hopper (no --profile says which)"
    if source is None:
        return (
            f"That is on {gpu}; the scratch that libraries take inside {unknown} nodes is not "
            "known and comes on top (--workspace, or a --profile with tensor cores)."
        )
    rest = f"; that of {unknown} nodes is not known and comes on top" if unknown else ""
    known = source if allocator.workspace_rule else f"the scratch that was measured on {source}"
    return f"That is on {gpu}, with {known}{rest}."


def _at(node: NodeRecord | None) -> str | None:
    return None if node is None else f"{node.index} {node.step}"


def _peak(record: AnalysisRecord) -> NodeRecord | None:
    return record.node(record.memory.peak_node["eager"])


def _breakdown(record: AnalysisRecord) -> Section | None:
    node, net = _peak(record), record.memory.net
    if node is None:
        return None
    eager = net + node.referenced
    parts = {"net": net, **{part: getattr(node, part) for part in _PARTS if part != "net"}}
    table = Table.build(
        (parts | {"eager": eager}).items(),
        (Column("part"), lambda part: part[0]),
        (Column("MiB", "mib"), lambda part: part[1]),
        (Column("share", "share"), lambda part: part[1] / max(eager, 1)),
        (Column("what it is"), lambda part: _PARTS.get(part[0], "referenced by the program")),
    )
    where = f", {place(node.file, node.line)}" if node.file else ""
    return Section(f"At the eager peak: node {_at(node)}{where}", (), table)


# -- nodes and modules ----------------------------------------------------------------------------


def _node_table(record: AnalysisRecord, nodes: Iterable[NodeRecord], *further: Field) -> Table:
    return Table.build(
        nodes,
        (Column("node", "count"), lambda node: node.index),
        *SHAPED,
        (Column("eager MiB", "mib"), lambda node: record.memory.net + node.referenced),
        (Column("input", "mib", spare=5), lambda node: node.input),
        (Column("output", "mib", spare=5), lambda node: node.output),
        (Column("kept", "mib", spare=4), lambda node: node.kept),
        (Column("held", "mib"), lambda node: node.held),
        *further,
    )


def _largest(record: AnalysisRecord, rows: int | None) -> list[NodeRecord]:
    return sorted(record.nodes, key=lambda node: (-node.referenced, node.index))[:rows]


def _nodes(record: AnalysisRecord, rows: int | None) -> Section:
    largest = _largest(record, rows)
    title = f"Largest nodes ({len(largest)} of {len(record.nodes)})"
    return Section(title, (), _node_table(record, largest))


def _all_nodes(record: AnalysisRecord, rows: int | None) -> Section:
    """The nodes in the order in which they ran; the largest of them if not all are wanted."""
    nodes = sorted(_largest(record, rows), key=lambda node: node.index)
    macs: Field = (Column("GMACs", "giga", spare=2), lambda node: node.macs)
    times: tuple[Field, ...] = (
        (Column("predicted us", "time"), lambda node: node.predicted_us),
        (Column("bound", spare=1), lambda node: node.bound),
    )
    table = _node_table(record, nodes, macs, *(times if record.latency else ()))
    return Section(f"Nodes ({len(nodes)} of {len(record.nodes)})", (), table)


def _modules(record: AnalysisRecord, rows: int | None, depth: int | None = None) -> Section:
    """The tree of modules, each with all that ran inside it; those with the largest peaks."""
    tree = [row for row in record.modules if depth is None or row.depth <= depth]
    # no child's peak is above its parent's, so that what is shown is a tree too
    largest = sorted(range(len(tree)), key=lambda i: -(tree[i].peak or 0))
    kept = [tree[i] for i in sorted(largest[:rows])]
    times: tuple[Field, ...] = (
        (Column("predicted ms", "time"), lambda row: row.predicted_ms),
        (Column("share", "share", spare=2), lambda row: latency.share_of(record, row.predicted_ms)),
    )
    table = Table.build(
        kept,
        (Column("module"), lambda row: Cell(row.path or "(the model)", _branch(row))),
        (Column("class", spare=1), lambda row: row.kind),
        (Column("params", "count"), lambda row: row.params),
        (Column("GMACs", "giga"), lambda row: row.macs),
        (Column("peak MiB", "mib"), lambda row: row.peak),
        *(times if record.latency else ()),
        (Column("at node", "count", spare=5), lambda row: row.peak_node),
        (Column("held MiB", "mib", spare=3), lambda row: row.held),
        (Column("created MiB", "mib", spare=6), lambda row: row.created),
        (Column("output", spare=4), lambda row: shape_text(row.shape)),
        (Column("nodes", "count", spare=7), lambda row: row.nodes),
    )
    after = ["Each is with all inside it; peak: of the whole program while the module runs."]
    if not all(row.nodes for row in kept):
        after.append("0 nodes: nothing ran in it.")
    return Section(f"Modules ({len(kept)} of {len(record.modules)})", (), table, tuple(after))


def _branch(row: ModuleRow) -> str:
    """A module's own name behind a line for each module around it."""
    if not row.path:
        return "(the model)"
    return f"{'│ ' * (row.depth - 1)}├─ {row.path.rpartition('.')[2]}"


# -- what is alive --------------------------------------------------------------------------------


def _held(record: AnalysisRecord, rows: int | None) -> Section | None:
    releases = record.memory.releases
    if not releases:
        return None
    listed = releases[:rows]
    after = [
        "saves alone: by this the eager peak falls if only this lets go after its last use, by "
        "del or by reuse of the name.",
        "peak then: the eager peak once this and all above have let go.",
    ]
    if any(release.elsewhere for release in listed):
        after.append("+: something outside that function references it too, and must let go too.")
    if len(listed) < len(releases):
        after.append(f"{len(releases) - len(listed)} more: --view peak")
    table = Table.build(
        listed,
        (Column("variable"), lambda release: release.variable + " +" * release.elsewhere),
        (Column("function", spare=2), lambda release: release.function),
        (Column("bound at"), _bound_at),
        (Column("holds MiB", "mib"), lambda release: release.bytes),
        (Column("last use", spare=1), lambda release: _step(record, release.last_use)),
        (Column("saves alone", "mib"), lambda release: release.saving),
        (Column("peak then", "mib"), lambda release: release.peak_after),
    )
    return Section("Held at the eager peak, by variable", (), table, tuple(after))


def _bound_at(variable: ReleaseRecord | LiveRecord) -> str:
    return place(variable.file, variable.line) or variable.function


def _step(record: AnalysisRecord, index: int) -> str:
    node = record.node(index)
    return "none" if node is None else f"{node.index} {node.op}"


def _live(record: AnalysisRecord, rows: int | None) -> Section:
    live = record.memory.live_at_peak

    def named(item: LiveRecord) -> bool:
        return item.part != "output" or item.kind != "unknown"

    def step(item: LiveRecord, index: int) -> str:
        return "the caller" if item.birth < 0 else _step(record, index)

    table = Table.build(
        live[:rows],
        (Column("part"), lambda item: item.part),
        (Column("MiB", "mib"), lambda item: item.bytes),
        (Column("shape", spare=1), lambda item: shape_text(item.shape)),
        (Column("variable"), lambda i: i.variable if named(i) else "(result of this node)"),
        (Column("function", spare=3), lambda item: item.function if named(item) else ""),
        (Column("bound at"), lambda item: _bound_at(item) if named(item) else ""),
        (Column("made by", spare=2), lambda item: step(item, item.birth)),
        (Column("last use"), lambda item: step(item, item.last_use)),
    )
    return Section(f"Alive at the eager peak ({len(table.rows)} of {len(live)})", (), table)


# -- counts ---------------------------------------------------------------------------------------


def _complexity(record: AnalysisRecord) -> Section:
    counts = record.complexity

    def scaled(count: int | None, factor: float, unit: str) -> str:
        return "-" if count is None else f"{count / factor:.4f} {unit}"

    def whole(count: int | None) -> str:
        return "-" if count is None else f"{count:,}"

    rows = (
        ("params", whole(counts.params), "all parameters"),
        ("FLOPs", scaled(counts.flops_ntire, 1e9, "G"), figures.find("flops").meaning),
        (
            "fvcore's FLOPs",
            scaled(counts.fvcore_flops, 1e9, "G"),
            figures.find("fvcore_flops").meaning,
        ),
        ("activations", scaled(counts.activations, 1e6, "M"), "elements of convolution outputs"),
        ("convs", whole(counts.convs), "convolution calls"),
        ("MACs", scaled(counts.macs, 1e9, "G"), "true multiply-accumulates of all ops"),
    )
    listed = ", ".join(f"{op} ({calls}x)" for op, calls in counts.uncounted.items())
    after = (f"MACs leave out ops without a rule: {listed}",) if listed else ()
    table = Table(tuple(map(Column, ("measure", "value", "convention"))), rows)
    return Section("Complexity", (), table, after)


def _published(record: AnalysisRecord) -> Section | None:
    comparisons = record.published
    if not comparisons:
        return None
    table = Table(published.COLUMNS, tuple(map(published.row, comparisons)))
    return Section(f"Published figures ({comparisons[0].row})", (), table)
