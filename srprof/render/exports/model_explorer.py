"""JSON for Google's Model Explorer: the graph of ATen calls, and node data for it, in one file.

Modules are its layers. The file is a graph collection (`label`, `graphs`) and custom node data too
(the graph's id, with `results`), so that it is given twice:

    model-explorer net.json --node_data_paths=net.json

The node data colour each node by the bytes that the program references at its end; all else that is
known of a node and of a module is among its attributes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from srprof.analysis.record import ModuleRow, NodeRecord
from srprof.paths import place
from srprof.records import External, Node, TensorInfo, TensorRef
from srprof.words import MIB, mib_size, one_line, shape_text

if TYPE_CHECKING:
    from srprof.analysis import Analysis

#: From the least to the most memory: from white to Okabe and Ito's vermilion.
_GRADIENT = (
    {"stop": 0, "bgColor": "#ffffff", "textColor": "#000000"},
    {"stop": 1, "bgColor": "#d55e00", "textColor": "#000000"},
)

Json = dict[str, Any]


def model_explorer(analysis: Analysis) -> str:
    """The graph with its node data."""
    graph = one_line(analysis.trace.name) or "model"
    whole = {
        "label": one_line(analysis.record.title),
        "graphs": [_graph(analysis, graph)],
        _free(graph): _data(analysis),
    }
    return json.dumps(whole, indent=1) + "\n"


def _free(graph: str) -> str:
    """A graph's id that is no other key of the file."""
    return f"{graph}." if graph in ("label", "graphs", "results") else graph


def _graph(analysis: Analysis, name: str) -> Json:
    record, trace = analysis.record, analysis.trace
    inputs = [
        _input(index, external)
        for index, external in enumerate(trace.externals)
        if external.role == "input"
    ]
    shown = {i for i, external in enumerate(trace.externals) if external.role == "input"}
    nodes = [
        _node(node, row, record.memory.net, shown)
        for node, row in zip(trace.nodes, record.nodes, strict=True)
    ]
    end = {"id": "result", "label": "result", "namespace": ""}
    result = {**end, "incomingEdges": _edges(trace.result, shown)}
    peaks = {f"{name} peak": mib_size(size) for name, size in record.memory.peak.items()}
    return {
        "id": _free(name),
        "nodes": [*inputs, *nodes, result],
        "groupNodeAttributes": {
            _layer(row.path): {**(peaks if not row.path else {}), **_module(row)}
            for row in record.modules
        },
    }


def _input(index: int, external: External) -> Json:
    return {
        "id": _id(TensorRef(-1, index)),
        "label": one_line(external.name) or "input",
        "namespace": "",
        "outputsMetadata": [_tensor(0, external.info)],
    }


def _node(node: Node, row: NodeRecord, net: int, inputs: set[int]) -> Json:
    said = {
        "line": place(node.file, node.line),
        "eager": mib_size(net + row.referenced),
        **{part: mib_size(getattr(row, part)) for part in ("input", "output", "kept", "held")},
        "workspace": "not known" if row.workspace is None else mib_size(row.workspace),
        "allocated": None if row.allocated is None else mib_size(row.allocated),
        "MACs": None if row.macs is None else f"{row.macs:,}",
        "predicted": None if row.predicted_us is None else f"{row.predicted_us:.2f} us",
        "bound by": row.bound,
    }
    return {
        "id": str(node.index),
        "label": node.op,
        "namespace": _layer(node.module),
        "attrs": _attributes(said),
        "incomingEdges": _edges(node.arguments, inputs),
        "outputsMetadata": [_tensor(i, info) for i, info in enumerate(node.outputs)],
    }


def _layer(module: str) -> str:
    """A module's path as the viewer nests layers."""
    return one_line(module).replace("/", "_").replace(".", "/")


def _module(row: ModuleRow) -> Mapping[str, str]:
    said = {
        "class": row.kind,
        "params": None if row.params is None else f"{row.params:,}",
        "MACs": None if row.macs is None else f"{row.macs:,}",
        "peak": None if row.peak is None else mib_size(row.peak),
        "predicted": None if row.predicted_ms is None else f"{row.predicted_ms:.2f} ms",
    }
    return {pair["key"]: pair["value"] for pair in _attributes(said)}


def _attributes(said: Mapping[str, str | None]) -> list[dict[str, str]]:
    """What is known, as the viewer has attributes: texts by names."""
    return [{"key": name, "value": one_line(text)} for name, text in said.items() if text]


def _tensor(index: int, info: TensorInfo) -> Json:
    said = {"shape": shape_text(info.shape), "dtype": info.dtype}
    return {"id": str(index), "attrs": _attributes(said)}


def _edges(value: Any, inputs: set[int]) -> list[dict[str, str]]:
    """Where the tensors among arguments come from; parameters and constants are no nodes."""
    found = (ref for ref in _references(value) if ref.node >= 0 or ref.output in inputs)
    return [
        {
            "sourceNodeId": _id(ref),
            "sourceNodeOutputId": str(max(ref.output, 0) if ref.node >= 0 else 0),
            "targetNodeInputId": str(index),
        }
        for index, ref in enumerate(found)
    ]


def _id(ref: TensorRef) -> str:
    return str(ref.node) if ref.node >= 0 else f"input {ref.output}"


def _references(value: Any) -> Iterator[TensorRef]:
    if isinstance(value, TensorRef):
        yield value
    elif isinstance(value, (tuple, list, Mapping)):
        parts: Iterable[Any] = value.values() if isinstance(value, Mapping) else value
        for part in parts:
            yield from _references(part)


def _data(analysis: Analysis) -> Json:
    """Custom node data: MiB that the program references at the end of each node."""
    record = analysis.record
    return {
        "name": "eager MiB",
        "results": {
            str(node.index): {"value": round((record.memory.net + node.referenced) / MIB, 2)}
            for node in record.nodes
        },
        "gradient": list(_GRADIENT),
    }
