"""Chrome trace JSON, as Perfetto (ui.perfetto.dev) and chrome://tracing read it.

One slice a node on a row, its module path as nested slices above, and a counter track with the
parts of the memory model. A node takes a microsecond: without a device no time is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from srprof.codec import pick
from srprof.paths import place
from srprof.words import shape_text

if TYPE_CHECKING:
    from srprof.analysis import Analysis

_PROCESS, _MODULES, _OPS = 1, 1, 2


def perfetto(analysis: Analysis) -> str:
    """The run as a timeline."""
    events = [*_names(analysis), *_modules(analysis), *_nodes(analysis), *_counters(analysis)]
    other = {"spec": analysis.trace.spec, "time": "one microsecond a node"}
    lines = ",\n".join(map(json.dumps, events))
    return (
        f'{{"displayTimeUnit": "ns", "otherData": {json.dumps(other)},\n'
        f'"traceEvents": [\n{lines}\n]}}\n'
    )


def _names(analysis: Analysis) -> Iterator[dict[str, object]]:
    for kind, thread, name in (
        ("process_name", 0, analysis.trace.spec),
        ("thread_name", _MODULES, "modules"),
        ("thread_name", _OPS, "ATen calls"),
    ):
        yield {"ph": "M", "name": kind, "pid": _PROCESS, "tid": thread, "args": {"name": name}}


def _nodes(analysis: Analysis) -> Iterator[dict[str, object]]:
    for node, parts in zip(analysis.trace.nodes, analysis.memory.parts, strict=True):
        args = {
            "node": node.index,
            "module": node.module,
            "line": place(node.file, node.line),
            "shape": shape_text(node.shape),
            **pick(parts, "eager planned"),
        }
        yield {**_slice(node.op, "op", _OPS, node.index, node.index + 1), "args": args}


def _modules(analysis: Analysis) -> Iterator[dict[str, object]]:
    """Each module from its first node to its last, as long as nodes of it follow each other."""
    nodes = analysis.trace.nodes
    open_: list[tuple[str, int]] = []
    for index in range(len(nodes) + 1):
        path = nodes[index].module.split(".") if index < len(nodes) else []
        path = [part for part in path if part]
        same = 0
        while same < min(len(open_), len(path)) and open_[same][0] == path[same]:
            same += 1
        while len(open_) > same:
            name, start = open_.pop()
            yield _slice(name, "module", _MODULES, start, index)
        open_ += [(part, index) for part in path[same:]]


def _slice(name: str, kind: str, row: int, start: int, end: int) -> dict[str, object]:
    where = {"pid": _PROCESS, "tid": row, "ts": start, "dur": end - start}
    return {"ph": "X", "name": name, "cat": kind, **where}


def _counters(analysis: Analysis) -> Iterator[dict[str, object]]:
    """Bytes at the end of each node, by part."""
    for index, parts in enumerate(analysis.memory.parts):
        values = pick(parts, "net input output kept held")
        yield {"ph": "C", "name": "memory", "pid": _PROCESS, "ts": index, "args": values}
