"""What changed between two analyses."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from srprof.compare.diff import (
    Diff,
    NodeChange,
    TensorChange,
    explain,
    explain_peak,
    explain_tensor,
)
from srprof.figures import find
from srprof.paths import place
from srprof.render.document import Cell, Column, Document, Section, Table
from srprof.words import signed_size

#: Version of the JSON object.
SCHEMA = 1


def document(diff: Diff, top: int | None = None) -> Document:
    """What changed, in reading order; `top` rows of each long table, all if it is None."""
    sections = (_peaks(diff), _tensors(diff, top), _nodes(diff, top), _counts(diff))
    return Document(tuple(s for s in sections if s is not None), data=lambda: _data(diff))


def _title(diff: Diff) -> str:
    before, after = diff.before, diff.after
    if before.input == after.input:
        return f"{before.spec} and {after.spec} at {after.input}"
    if before.spec == after.spec:
        return f"{before.spec} at {before.input} and at {after.input}"
    return f"{before.spec} at {before.input} and {after.spec} at {after.input}"


def _peaks(diff: Diff) -> Section:
    rows = tuple(
        (
            peak.change.name,
            peak.change.before,
            peak.change.after,
            _signed(peak.change.difference),
            _share(peak.change.relative),
        )
        for peak in diff.peaks
    )
    columns = (
        Column("peak"),
        Column("before MiB", "mib"),
        Column("after MiB", "mib"),
        Column("difference", "number"),
        Column("of before", "number"),
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
    return Section(_title(diff), tuple(lines), Table(columns, rows), after)


def _signed(nbytes: int) -> Cell:
    return Cell(nbytes, signed_size(nbytes))


def _counted(difference: int) -> Cell:
    return Cell(difference, f"{difference:+,}")


def _share(relative: float | None) -> Cell | None:
    return None if relative is None else Cell(relative, f"{relative:+.1%}")


def _tensors(diff: Diff, top: int | None) -> Section | None:
    if not diff.tensors:
        return Section(
            "At the eager peak the same tensors are alive, as large as before", _net(diff)
        )
    columns = (
        Column("change"),
        Column("variable"),
        Column("function"),
        Column("bound at"),
        Column("made by"),
        Column("was"),
        Column("is"),
        Column("before MiB", "mib"),
        Column("after MiB", "mib"),
        Column("difference", "number"),
    )
    shown = diff.tensors[:top]
    title = f"Tensors at the eager peak that changed ({len(shown)} of {len(diff.tensors)})"
    after = tuple(f"{explain_tensor(change)}." for change in shown)
    return Section(title, _net(diff), Table(columns, tuple(map(_tensor, shown))), after)


def _net(diff: Diff) -> tuple[str, ...]:
    change = diff.net.difference
    return (f"beside {signed_size(change)} of parameters and buffers",) if change else ()


def _tensor(change: TensorChange) -> tuple[Any, ...]:
    live, before, after = change.live, change.before, change.after
    return (
        change.fate,
        live.variable if live.named else "(no variable)",
        live.function,
        place(live.file, live.line),
        live.made_by or "the caller",
        before.part if before else None,
        after.part if after else None,
        before.nbytes if before else None,
        after.nbytes if after else None,
        _signed(change.difference),
    )


def _nodes(diff: Diff, top: int | None) -> Section | None:
    if not diff.nodes:
        return None
    columns = (
        Column("node", "number"),
        Column("op"),
        Column("module"),
        Column("line"),
        Column("before MiB", "mib"),
        Column("after MiB", "mib"),
        Column("difference", "number"),
    )
    shown = diff.nodes[:top]
    title = f"Nodes that changed ({len(shown)} of {len(diff.nodes)})"
    lines = (f"eager bytes at the node's end; {diff.same_nodes} nodes are as they were",)
    return Section(title, lines, Table(columns, tuple(map(_node, shown))))


def _node(change: NodeChange) -> tuple[Any, ...]:
    indices = [side.index for side in (change.before, change.after) if side is not None]
    number = " to ".join(map(str, dict.fromkeys(indices)))
    only = "only before" if change.after is None else "only after"
    return (
        number,
        change.place.op,
        change.place.module,
        place(change.place.file, change.place.line),
        change.before_bytes,
        change.after_bytes,
        Cell(None, only) if change.difference is None else _signed(change.difference),
    )


def _counts(diff: Diff) -> Section:
    columns = (
        Column("measure"),
        Column("before", "count"),
        Column("after", "count"),
        Column("difference", "number"),
        Column("of before", "number"),
    )
    rows = tuple(
        (
            find(c.name).title,
            c.before,
            c.after,
            Cell(c.difference, f"{c.difference:+,}"),
            _share(c.relative),
        )
        for c in diff.counts
    )
    return Section("Complexity", (), Table(columns, rows))


def _data(diff: Diff) -> dict[str, Any]:
    """All of it; sizes in bytes."""
    return {
        "schema": SCHEMA,
        "kind": "srprof diff",
        "before": asdict(diff.before),
        "after": asdict(diff.after),
        "peaks": {
            peak.change.name: {
                "before": peak.change.before,
                "after": peak.change.after,
                "difference": peak.change.difference,
                "relative": peak.change.relative,
                "moved": peak.moved,
                "node_before": asdict(peak.before) if peak.before else None,
                "node_after": asdict(peak.after) if peak.after else None,
                "text": explain_peak(peak),
            }
            for peak in diff.peaks
        },
        "net": asdict(diff.net) | {"difference": diff.net.difference},
        "tensors": [
            asdict(change) | {"difference": change.difference, "text": explain_tensor(change)}
            for change in diff.tensors
        ],
        "nodes": [asdict(change) | {"difference": change.difference} for change in diff.nodes],
        "same_nodes": diff.same_nodes,
        "complexity": {
            find(c.name).key: {"before": c.before, "after": c.after, "difference": c.difference}
            for c in diff.counts
        },
        "explanations": list(explain(diff)),
    }
