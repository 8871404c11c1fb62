"""What changed between two analyses."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from srprof.analysis.record import AnalysisRecord
from srprof.codec import encode, pick
from srprof.compare.diff import (
    Change,
    Diff,
    NodeChange,
    PeakChange,
    TensorChange,
    explain,
    explain_peak,
    explain_tensor,
)
from srprof.figures import find
from srprof.paths import place
from srprof.render.charts import AFTER, BEFORE, Series, bars, digits, over_nodes
from srprof.render.document import Cell, Chart, Column, Document, Section, Table, notes
from srprof.render.views import LOCATED
from srprof.words import MIB, signed_size

#: Version of the JSON object.
SCHEMA = 1


def document(
    diff: Diff, top: int | None = None, runs: tuple[AnalysisRecord, AnalysisRecord] | None = None
) -> Document:
    """What changed, in reading order.

    Args:
        top: rows of each long table, all if it is None.
        runs: both analyses, for a page's chart of them over their nodes.
    """
    sections = (_peaks(diff, runs), _tensors(diff, top), _nodes(diff, top), _counts(diff))
    every = (*filter(None, sections), *notes(tuple(dict.fromkeys(diff.notes))))
    return Document(every, data=lambda: _data(diff))


def _title(diff: Diff) -> str:
    before, after = diff.before, diff.after
    if before.input == after.input:
        return f"{before.spec} and {after.spec} at {after.input}"
    at = "at" if before.spec == after.spec else f"{after.spec} at"
    return f"{before.spec} at {before.input} and {at} {after.input}"


def _peaks(diff: Diff, runs: tuple[AnalysisRecord, AnalysisRecord] | None) -> Section:
    table = Table.build(
        [peak.change for peak in diff.peaks],
        (Column("peak"), lambda change: change.name),
        (Column("before MiB", "mib"), lambda change: change.before),
        (Column("after MiB", "mib"), lambda change: change.after),
        (Column("difference", "number"), _signed),
        (Column("of before", "number"), _share),
    )
    lines = []
    if diff.before.input != diff.after.input:
        lines.append("the inputs differ, and every size with them")
    if diff.before.granularity != diff.after.granularity:
        lines.append(
            f"sizes are multiples of {diff.before.granularity} and of {diff.after.granularity} "
            "bytes, so they differ by rounding too"
        )
    if diff.before.torch != diff.after.torch:
        lines.append(f"torch {diff.before.torch} and {diff.after.torch}")
    said = [peak for peak in diff.peaks if peak.change.name == "eager" or peak.moved]
    after = tuple(f"{explain_peak(peak)}." for peak in said)
    charts = (partial(_bars, diff), *(() if runs is None else (partial(_over_nodes, runs),)))
    return Section(_title(diff), tuple(lines), table, after, charts=charts)


def _bars(diff: Diff) -> Chart:
    """The peaks before and after."""
    changes = [peak.change for peak in diff.peaks]
    series = (
        Series("before", [digits(change.before / MIB) for change in changes], BEFORE, "/"),
        Series("after", [digits(change.after / MIB) for change in changes], AFTER),
    )
    return bars("peak memory (MiB)", "Before and after.", [c.name for c in changes], *series)


def _over_nodes(runs: tuple[AnalysisRecord, AnalysisRecord]) -> Chart:
    return over_nodes(dict(zip(("before", "after"), runs, strict=True)))


def _signed(change: Change | TensorChange | NodeChange) -> Cell:
    """Bytes more or less; a node of one side has none."""
    if change.difference is None:
        return Cell(None, "only before" if change.after is None else "only after")
    return Cell(change.difference, signed_size(change.difference))


def _share(change: Change) -> Cell | None:
    return None if change.relative is None else Cell(change.relative, f"{change.relative:+.1%}")


def _tensors(diff: Diff, top: int | None) -> Section:
    if not diff.tensors:
        title = "At the eager peak the same tensors are alive, as large as before"
        return Section(title, _net(diff))
    shown = diff.tensors[:top]
    table = Table.build(
        shown,
        (Column("change"), lambda change: change.fate),
        (Column("variable"), lambda c: c.live.variable if c.live.named else "(no variable)"),
        (Column("function", spare=4), lambda change: change.live.function),
        (Column("bound at"), lambda change: place(change.live.file, change.live.line)),
        (Column("made by", spare=3), lambda change: change.live.made_by or "the caller"),
        (Column("was", spare=2), lambda change: change.before and change.before.part),
        (Column("is", spare=2), lambda change: change.after and change.after.part),
        (Column("before MiB", "mib"), lambda change: change.before and change.before.nbytes),
        (Column("after MiB", "mib"), lambda change: change.after and change.after.nbytes),
        (Column("difference", "number"), _signed),
    )
    title = f"Tensors at the eager peak that changed ({len(shown)} of {len(diff.tensors)})"
    return Section(title, _net(diff), table, tuple(f"{explain_tensor(c)}." for c in shown))


def _net(diff: Diff) -> tuple[str, ...]:
    change = diff.net.difference
    return (f"beside {signed_size(change)} of parameters and buffers",) if change else ()


def _nodes(diff: Diff, top: int | None) -> Section | None:
    if not diff.nodes:
        return None
    shown = _some_of_each(diff.nodes, top)

    def indices(change: NodeChange) -> str:
        sides = filter(None, (change.before, change.after))
        return " to ".join(dict.fromkeys(str(side.index) for side in sides))

    table = Table.build(
        shown,
        (Column("node", "number"), indices),
        *((column, lambda change, of=of: of(change.place)) for column, of in LOCATED),
        (Column("before MiB", "mib", spare=1), lambda change: change.before_bytes),
        (Column("after MiB", "mib"), lambda change: change.after_bytes),
        (Column("difference", "number"), _signed),
    )
    title = f"Nodes that changed ({len(shown)} of {len(diff.nodes)})"
    lines = (f"eager bytes at the node's end; {diff.same_nodes} nodes are as they were",)
    return Section(title, lines, table)


def _some_of_each(nodes: Sequence[NodeChange], top: int | None) -> Sequence[NodeChange]:
    """As many rows; of what came and went, and of what changed, half each where both are many."""
    if top is None or len(nodes) <= top:
        return nodes
    one = [change for change in nodes if change.difference is None]
    both = [change for change in nodes if change.difference is not None]
    first = min(len(one), max(top - len(both), (top + 1) // 2))
    return [*one[:first], *both[: top - first]]


def _counts(diff: Diff) -> Section:
    table = Table.build(
        diff.counts,
        (Column("measure"), lambda change: find(change.name).title),
        (Column("before", "count"), lambda change: change.before),
        (Column("after", "count"), lambda change: change.after),
        (Column("difference", "number"), lambda c: Cell(c.difference, f"{c.difference:+,}")),
        (Column("of before", "number"), _share),
    )
    return Section("Complexity", (), table)


def _data(diff: Diff) -> dict[str, object]:
    """All of it; sizes in bytes."""
    return {
        "schema": SCHEMA,
        "kind": "srprof diff",
        **pick(diff, "before after"),
        "peaks": {peak.change.name: _peak(peak) for peak in diff.peaks},
        "net": pick(diff.net, "name before after difference"),
        "tensors": [
            pick(change, "fate before after difference") | {"text": explain_tensor(change)}
            for change in diff.tensors
        ],
        "nodes": [
            pick(change, "before after before_bytes after_bytes difference")
            for change in diff.nodes
        ],
        "same_nodes": diff.same_nodes,
        "complexity": {find(c.name).key: pick(c, "before after difference") for c in diff.counts},
        "explanations": list(explain(diff)),
        **({"notes": list(dict.fromkeys(diff.notes))} if diff.notes else {}),
    }


def _peak(peak: PeakChange) -> dict[str, object]:
    nodes = {"node_before": encode(peak.before), "node_after": encode(peak.after)}
    change = pick(peak.change, "before after difference relative")
    return {**change, "moved": peak.moved, **nodes, "text": explain_peak(peak)}
