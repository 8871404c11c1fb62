"""Differences as text, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
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
from srprof.paths import place
from srprof.render.markdown import markdown_sections
from srprof.render.tables import Column, Section, Table
from srprof.render.text import plain_sections
from srprof.words import signed_size

#: Version of the JSON object.
SCHEMA = 1


def sections(found: Diff, top: int | None) -> list[Section]:
    """What changed, in reading order; `top` rows of each long table, all if it is None."""
    makers: tuple[Callable[[Diff, int | None], Section | None], ...] = (
        _peaks,
        _tensors,
        _nodes,
        _counts,
    )
    return [section for make in makers if (section := make(found, top)) is not None]


def _title(found: Diff) -> str:
    before, after = found.before, found.after
    if before.input == after.input:
        return f"{before.spec} and {after.spec} at {after.input}"
    if before.spec == after.spec:
        return f"{before.spec} at {before.input} and at {after.input}"
    return f"{before.spec} at {before.input} and {after.spec} at {after.input}"


def _peaks(found: Diff, _: int | None) -> Section:
    rows = tuple(
        (
            peak.change.name,
            peak.change.before,
            peak.change.after,
            signed_size(peak.change.difference),
            _share(peak.change.relative),
        )
        for peak in found.peaks
    )
    columns = (
        Column("peak"),
        Column("before MiB", "mib"),
        Column("after MiB", "mib"),
        Column("difference", "number"),
        Column("of before", "number"),
    )
    lines = []
    if found.before.input != found.after.input:
        lines.append("the inputs differ, and every size with them")
    if found.before.granularity != found.after.granularity:
        lines.append(
            f"sizes are multiples of {found.before.granularity} and of {found.after.granularity} "
            "bytes, so they differ by rounding too"
        )
    if found.before.torch != found.after.torch:
        lines.append(f"torch {found.before.torch} and {found.after.torch}")
    said = [peak for peak in found.peaks if peak.change.name == "eager" or peak.moved]
    after = tuple(f"{explain_peak(peak)}." for peak in said)
    return Section(_title(found), tuple(lines), Table(columns, rows), after)


def _share(relative: float | None) -> str | None:
    return None if relative is None else f"{relative:+.1%}"


def _tensors(found: Diff, top: int | None) -> Section | None:
    if not found.tensors:
        return Section(
            "At the eager peak the same tensors are alive, as large as before", _net(found)
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
    shown = found.tensors[:top]
    title = f"Tensors at the eager peak that changed ({len(shown)} of {len(found.tensors)})"
    after = tuple(f"{explain_tensor(change)}." for change in shown)
    return Section(title, _net(found), Table(columns, tuple(map(_tensor, shown))), after)


def _net(found: Diff) -> tuple[str, ...]:
    change = found.net.difference
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
        signed_size(change.difference),
    )


def _nodes(found: Diff, top: int | None) -> Section | None:
    if not found.nodes:
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
    shown = found.nodes[:top]
    title = f"Nodes that changed ({len(shown)} of {len(found.nodes)})"
    lines = (f"eager bytes at the node's end; {found.same_nodes} nodes are as they were",)
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
        only if change.difference is None else signed_size(change.difference),
    )


_COUNTS: Mapping[str, str] = {
    "params": "params",
    "flops_ntire": "FLOPs (NTIRE)",
    "macs": "MACs",
    "activations": "activations",
    "convs": "convs",
}


def _counts(found: Diff, _: int | None) -> Section:
    columns = (
        Column("measure"),
        Column("before", "count"),
        Column("after", "count"),
        Column("difference", "number"),
        Column("of before", "number"),
    )
    rows = tuple(
        (_COUNTS[c.name], c.before, c.after, f"{c.difference:+,}", _share(c.relative))
        for c in found.counts
    )
    return Section("Complexity", (), Table(columns, rows))


def diff_text(found: Diff, top: int | None) -> str:
    """Aligned tables, ending with a newline."""
    return plain_sections(sections(found, top))


def diff_markdown(found: Diff, top: int | None) -> str:
    """For an issue or a pull request."""
    return markdown_sections(sections(found, top))


def diff_json(found: Diff, top: int | None) -> str:
    """All of it whatever `top` says; sizes in bytes."""
    data = {
        "schema": SCHEMA,
        "kind": "srprof diff",
        "before": asdict(found.before),
        "after": asdict(found.after),
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
            for peak in found.peaks
        },
        "net": asdict(found.net) | {"difference": found.net.difference},
        "tensors": [
            asdict(change) | {"difference": change.difference, "text": explain_tensor(change)}
            for change in found.tensors
        ],
        "nodes": [asdict(change) | {"difference": change.difference} for change in found.nodes],
        "same_nodes": found.same_nodes,
        "complexity": {
            c.name: {"before": c.before, "after": c.after, "difference": c.difference}
            for c in found.counts
        },
        "explanations": list(explain(found)),
    }
    return json.dumps(data, indent=1) + "\n"


FORMATS: Mapping[str, Callable[[Diff, int | None], str]] = {
    "text": diff_text,
    "markdown": diff_markdown,
    "json": diff_json,
}
