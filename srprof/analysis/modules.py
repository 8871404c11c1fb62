"""The tree of a model's modules, each with all that ran inside it; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf

from srprof.analysis.record import ModuleRow, NodeRecord
from srprof.records import ModuleCall, ModuleInfo, Trace


def module_rows(
    trace: Trace, nodes: Sequence[NodeRecord], net: int, ms: Mapping[str, float] | None
) -> tuple[ModuleRow, ...]:
    """The modules of a trace, parents before their children, these as they first run.

    Args:
        nodes: of the analysis. net: bytes of parameters and buffers, part of every peak.
        ms: predicted milliseconds by path, None without a profile.
    """
    known = {info.path: info for info in trace.modules}
    inside: dict[str, list[NodeRecord]] = {}
    for node in nodes:
        for path in _lineage(node.module):
            inside.setdefault(path, []).append(node)
    calls: dict[str, list[ModuleCall]] = {}
    for call in trace.calls:
        calls.setdefault(call.path, []).append(call)
    nowhere = inf if trace.modules else 0  # a made-up trace may have nodes alone
    first = {path: members[0].index for path, members in inside.items()}
    every = dict.fromkeys(["", *known, *first])
    order = sorted(every, key=lambda path: first.get(path, nowhere))
    return tuple(
        _row(path, known.get(path), calls.get(path, []), inside.get(path, []), net, trace, ms)
        for path in _tree(order)
    )


def _lineage(path: str) -> Iterator[str]:
    """A path and those around it, the model's own last."""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


def _tree(order: Sequence[str]) -> Iterator[str]:
    """Paths with children behind their parents, otherwise in this order."""
    children: dict[str, list[str]] = {}
    there = set(order)
    for path in order:
        if path:
            above = (p for p in _lineage(path.rpartition(".")[0]) if p in there)
            children.setdefault(next(above), []).append(path)
    ahead = [""]
    while ahead:
        path = ahead.pop()
        yield path
        ahead += reversed(children.get(path, []))


def _row(
    path: str,
    info: ModuleInfo | None,
    calls: Sequence[ModuleCall],
    nodes: Sequence[NodeRecord],
    net: int,
    trace: Trace,
    ms: Mapping[str, float] | None,
) -> ModuleRow:
    top = max(nodes, key=lambda node: node.referenced, default=None)
    return ModuleRow(
        path=path,
        kind=info.kind if info else "",
        params=None if info is None or "params" in trace.unknown else info.parameters,
        calls=len(calls),
        shape=calls[0].output if calls else (),
        nodes=len(nodes),
        macs=None if "macs" in trace.unknown else sum(node.macs or 0 for node in nodes),
        peak=None if top is None else net + top.referenced,
        peak_node=None if top is None else top.index,
        held=max((node.held for node in nodes), default=0),
        created=sum(node.output for node in nodes),
        predicted_ms=None if ms is None else ms.get(path, 0.0),  # one of views takes none
    )
