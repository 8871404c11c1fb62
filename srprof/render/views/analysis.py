"""An analysis: its peaks, what they are made of and who holds it, nodes, modules, counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from srprof import figures
from srprof.analysis.record import AnalysisRecord, LiveRecord, NodeRecord, ReleaseRecord
from srprof.codec import encode
from srprof.paths import place
from srprof.render.document import Column, Document, Section, Table, notes
from srprof.render.views import View, latency, published
from srprof.words import mib, mib_size, shape_text

#: Rows of a long table in the summary, where nobody says how many.
_ROWS = 10

_TRACED_ON = {
    "meta": "traced on meta: nothing was allocated",
    "cpu": "traced in one real run on the CPU",
    "cuda-fake": "traced on a fake CUDA device: no activation was allocated",
}
_PARTS = {
    "net": "parameters and buffers",
    "input": "read or changed by this node",
    "output": "created by this node",
    "kept": "older, needed later or held by the caller",
    "held": "older, needed by nothing, still referenced",
}


@dataclass(frozen=True, slots=True)
class _Shown:
    """An analysis with how many rows its long tables have; None is all."""

    record: AnalysisRecord
    rows: int | None


def document(record: AnalysisRecord, view: View = "summary", top: int | None = None) -> Document:
    """The tables of a view.

    Args:
        view: which tables; "summary" is a bit of each.
        top: rows of each long table, the largest; 0 is all. None is 10 in the summary, else all.
    """
    usual = _ROWS if view == "summary" else None
    shown = _Shown(record, usual if top is None else top or None)
    sections = (make(shown) for make in _MAKERS[view])
    main = {"peak": _live, "modules": _modules}.get(view, _all_nodes)(_Shown(record, None))
    return Document(
        tuple(section for section in sections if section is not None),
        data=lambda: encode(record),
        main=main.table,
    )


# -- the peaks ------------------------------------------------------------------------------------


def _headline(shown: _Shown) -> Section:
    record, memory = shown.record, shown.record.memory
    maps, unit = memory.peak_feature_maps, record.feature_map_bytes
    rows = []
    for name, nbytes in memory.peak.items():
        in_maps = () if unit is None else ((nbytes - memory.net) / unit,)
        node = record.node(memory.peak_node.get(name))
        figure = figures.known(name)
        meaning = "" if figure is None else figure.meaning
        rows.append((name, nbytes, *in_maps, _at(node) or "", meaning))
    columns = (
        Column("peak"),
        Column("MiB", "mib"),
        *(() if maps is None else (Column(f"maps of {shape_text(maps.of)}", "scaled"),)),
        Column("at node"),
        Column("meaning"),
    )
    eager, held = memory.peak["eager"], _held_bytes(record)
    after = []
    if held:
        after.append(
            f"{mib_size(held)} of the eager peak ({held / eager:.0%}) is held: variables still "
            "reference tensors that nothing needs any more."
        )
    after += _allocator(record)
    if record.fallback:
        after.append(f"The meta device could not run this network: {record.fallback}")
    title = f"{record.model.spec} at {', '.join(map(str, record.inputs))}"
    line = _TRACED_ON.get(record.traced_on, f"traced on {record.traced_on}")
    return Section(title, (line,), Table(columns, tuple(rows)), tuple(after))


def _allocator(record: AnalysisRecord) -> list[str]:
    """What the prediction for the allocator is made of, and what it leaves open."""
    allocator = record.memory.allocator
    low, high = map(mib, allocator.range)
    lines = [
        f"allocated: {mib_size(allocator.requested)} requested, "
        f"{mib(allocator.rounding)} rounding, "
        f"{mib(allocator.unsplit)} in blocks that are not split.",
        _scratch(record),
    ]
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
    if allocator.construction is not None:
        built = mib_size(allocator.construction)
        lines.append(f"The constructor by itself takes up to {built} on the GPU.")
    if allocator.not_simulated:
        lines.append(f"Allocator settings not simulated: {', '.join(allocator.not_simulated)}")
    return lines


def _scratch(record: AnalysisRecord) -> str:
    """What is known of the memory that libraries take inside nodes."""
    allocator = record.memory.allocator
    unknown, source = allocator.workspace_unknown, allocator.workspace_source
    if source is None:
        return (
            f"The scratch that libraries take inside {unknown} nodes is not known here and comes "
            "on top; --workspace gives a measured table, or a rule for GPUs with tensor cores."
        )
    rest = f"; that of {unknown} nodes is not known and comes on top" if unknown else ""
    known = source if allocator.workspace_rule else f"the scratch that was measured on {source}"
    return f"With {known}{rest}."


def _at(node: NodeRecord | None) -> str | None:
    return None if node is None else f"{node.index} {node.step}"


def _peak(record: AnalysisRecord) -> NodeRecord | None:
    return record.node(record.memory.peak_node["eager"])


def _held_bytes(record: AnalysisRecord) -> int:
    node = _peak(record)
    return 0 if node is None else node.held


def _breakdown(shown: _Shown) -> Section | None:
    node, net = _peak(shown.record), shown.record.memory.net
    if node is None:
        return None
    eager = net + node.referenced
    sizes = {"net": net, **{part: getattr(node, part) for part in _PARTS if part != "net"}}
    rows = [(part, sizes[part], sizes[part] / max(eager, 1), _PARTS[part]) for part in _PARTS]
    rows.append(("eager", eager, 1.0, "referenced by the program"))
    where = f", {place(node.file, node.line)}" if node.file else ""
    columns = (Column("part"), Column("MiB", "mib"), Column("share", "share"), Column("what it is"))
    return Section(f"At the eager peak: node {_at(node)}{where}", (), Table(columns, tuple(rows)))


# -- nodes and modules ----------------------------------------------------------------------------

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
_NODE_TIMES = (Column("predicted us", "time"), Column("bound"))


def _node_table(record: AnalysisRecord, nodes: Iterable[NodeRecord]) -> Table:
    net, timed = record.memory.net, record.latency is not None
    rows = tuple(
        (
            node.index,
            node.op,
            node.module,
            place(node.file, node.line),
            shape_text(node.shape),
            net + node.referenced,
            node.input,
            node.output,
            node.kept,
            node.held,
            node.macs,
            *((node.predicted_us, node.bound) if timed else ()),
        )
        for node in nodes
    )
    return Table(_NODE_COLUMNS + (_NODE_TIMES if timed else ()), rows)


def _largest(shown: _Shown) -> list[NodeRecord]:
    nodes = sorted(shown.record.nodes, key=lambda node: (-node.referenced, node.index))
    return nodes[: shown.rows]


def _nodes(shown: _Shown) -> Section:
    largest = _largest(shown)
    table = _node_table(shown.record, largest)
    memory = _NODE_COLUMNS.index(Column("GMACs", "giga"))
    without_rest = Table(table.columns[:memory], tuple(row[:memory] for row in table.rows))
    title = f"Largest nodes ({len(largest)} of {len(shown.record.nodes)})"
    return Section(title, (), without_rest)


def _all_nodes(shown: _Shown) -> Section:
    """The nodes in the order in which they ran; the largest of them if not all are wanted."""
    nodes = sorted(_largest(shown), key=lambda node: node.index)
    title = f"Nodes ({len(nodes)} of {len(shown.record.nodes)})"
    return Section(title, (), _node_table(shown.record, nodes))


def _modules(shown: _Shown) -> Section:
    """Each module with the nodes that ran inside it, its children's included."""
    record, nodes = shown.record, shown.record.nodes
    inside: dict[str, list[NodeRecord]] = {"": list(nodes)}
    for node in nodes:
        path = node.module
        while path:
            inside.setdefault(path, []).append(node)
            path = path.rpartition(".")[0]
    timed = record.latency is not None
    rows = [
        (*_module_row(record, path, members), *(latency.of_module(record, path) if timed else ()))
        for path, members in inside.items()
    ]
    kept = sorted(range(len(rows)), key=lambda i: (-rows[i][2], i))[: shown.rows]
    columns = (
        Column("module"),
        Column("nodes", "count"),
        Column("peak MiB", "mib"),
        Column("at node", "count"),
        Column("held MiB", "mib"),
        Column("created MiB", "mib"),
        Column("GMACs", "giga"),
        *((Column("predicted ms", "time"), Column("share", "share")) if timed else ()),
    )
    table = Table(columns, tuple(rows[i] for i in sorted(kept)))
    return Section(f"Modules ({len(kept)} of {len(rows)})", (), table)


def _module_row(
    record: AnalysisRecord, path: str, members: list[NodeRecord]
) -> tuple[str, int, int, int | None, int, int, int]:
    peak = max(members, key=lambda node: node.referenced, default=None)
    eager = record.memory.peak["eager"]
    return (
        path or "(the model)",
        len(members),
        eager if peak is None else record.memory.net + peak.referenced,
        None if peak is None else peak.index,
        max((node.held for node in members), default=0),
        sum(node.output for node in members),
        sum(node.macs or 0 for node in members),
    )


# -- what is alive --------------------------------------------------------------------------------


def _held(shown: _Shown) -> Section | None:
    releases = shown.record.memory.releases
    if not releases:
        return None
    listed = releases[: shown.rows]
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
    if any(release.elsewhere for release in listed):
        after.append("+: something outside that function references it too, and must let go too.")
    if len(listed) < len(releases):
        after.append(f"{len(releases) - len(listed)} more: --view peak")
    rows = tuple(_release_row(shown.record, release) for release in listed)
    title = "Held at the eager peak, by variable"
    return Section(title, (), Table(columns, rows), tuple(after))


def _release_row(record: AnalysisRecord, release: ReleaseRecord) -> tuple[object, ...]:
    return (
        release.variable + (" +" if release.elsewhere else ""),
        release.function,
        place(release.file, release.line) or release.function,
        release.bytes,
        _step(record, release.last_use),
        release.saving,
        release.peak_after,
    )


def _step(record: AnalysisRecord, index: int) -> str:
    node = record.node(index)
    return "none" if node is None else f"{node.index} {node.op}"


def _live(shown: _Shown) -> Section:
    live = shown.record.memory.live_at_peak
    listed = live[: shown.rows]
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
    rows = tuple(_live_row(shown.record, item) for item in listed)
    title = f"Alive at the eager peak ({len(listed)} of {len(live)})"
    return Section(title, (), Table(columns, rows))


def _live_row(record: AnalysisRecord, live: LiveRecord) -> tuple[object, ...]:
    if live.part == "output" and live.kind == "unknown":
        named: tuple[str, ...] = ("(result of this node)", "", "")
    else:
        bound = place(live.file, live.line) or live.function
        named = live.variable, live.function, bound
    given = live.birth < 0
    made = "the caller" if given else _step(record, live.birth)
    last = "the caller" if given else _step(record, live.last_use)
    return live.part, live.bytes, shape_text(live.shape), *named, made, last


# -- counts ---------------------------------------------------------------------------------------


def _complexity(shown: _Shown) -> Section:
    counts = shown.record.complexity
    columns = (Column("measure"), Column("value"), Column("convention"))
    rows = (
        ("params", f"{counts.params:,}", "all parameters"),
        ("FLOPs", f"{counts.flops_ntire / 1e9:.4f} G", "as the NTIRE challenge counts, per image"),
        ("activations", f"{counts.activations / 1e6:.4f} M", "elements of convolution outputs"),
        ("convs", f"{counts.convs:,}", "convolution calls"),
        ("MACs", f"{counts.macs / 1e9:.4f} G", "true multiply-accumulates of all ops"),
    )
    listed = ", ".join(f"{op} ({calls}x)" for op, calls in counts.uncounted.items())
    after = (f"MACs leave out ops without a rule: {listed}",) if listed else ()
    return Section("Complexity", (), Table(columns, rows), after)


def _published(shown: _Shown) -> Section | None:
    comparisons = shown.record.published
    if not comparisons:
        return None
    title = f"Published figures ({comparisons[0].row})"
    return Section(title, (), published.table(comparisons))


def _latency(shown: _Shown) -> Section | None:
    return latency.overview(shown.record)


def _slowest(shown: _Shown) -> Section | None:
    return latency.slowest(shown.record, shown.rows)


def _notes(shown: _Shown) -> Section | None:
    return next(iter(notes(shown.record.notes)), None)


_MAKERS: dict[View, tuple[Callable[[_Shown], Section | None], ...]] = {
    "summary": (
        *(_headline, _breakdown, _nodes, _held),
        *(_latency, _slowest, _complexity, _published, _notes),
    ),
    "nodes": (_headline, _latency, _all_nodes, _notes),
    "peak": (_headline, _breakdown, _live, _held, _notes),
    "modules": (_headline, _latency, _modules, _notes),
}
