"""A trace as a `torch.fx.Graph` of ATen calls."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import Graph
from torch.fx import Node as FxNode
from torch.fx.passes.shape_prop import TensorMetadata

from srprof.records import RULED, Node, TensorInfo, TensorRef, Trace


def build_graph(trace: Trace) -> Graph:
    """The run as a graph that lints, prints, and runs if put in a `GraphModule` of the model.

    Inputs are placeholders, one for each tensor; parameters, buffers and other tensors that modules
    keep are `get_attr` nodes of their paths. A tensor that no module has as an attribute has a
    made-up name, `constant_5`: it cannot be run so. Each node's `meta` has `shape` and `dtype`
    (lists of them where it gives several tensors), `tensor_meta`, `module` (path), `file`, `line`,
    and `stack_trace`, which `Graph.print_tabular` and friends show.
    """
    graph = Graph()
    by_position: dict[int, FxNode] = {}
    for position, external in sorted(
        enumerate(trace.externals), key=lambda item: (item[1].role != "input", item[0])
    ):
        make = graph.placeholder if external.role == "input" else graph.get_attr
        node = make(external.name)
        if external.role == "input":
            node.target = (
                node.name
            )  # fx's own: of two names that collide it would mix up the values
        _describe(node, (external.info,), single=True)
        node.meta["module"] = ""
        by_position[position] = node

    made: list[FxNode] = []
    parts: dict[TensorRef, FxNode] = {}

    def resolve(value: Any) -> Any:
        if isinstance(value, TensorRef):
            if value.node < 0:
                return by_position[value.output]
            node = made[value.node]
            if _gives_one_tensor(trace.nodes[value.node]):
                return node
            if value not in parts:
                part = graph.call_function(operator.getitem, (node, value.output))
                info = trace.nodes[value.node].outputs[value.output]
                _describe(part, (info,), single=True)
                _locate(part, trace.nodes[value.node])
                parts[value] = part
            return parts[value]
        if isinstance(value, tuple):
            return tuple(resolve(item) for item in value)
        if isinstance(value, dict):
            return {key: resolve(item) for key, item in value.items()}
        return value

    for record in trace.nodes:
        positional, keyword = record.arguments
        node = graph.call_function(_target(record), resolve(positional), resolve(dict(keyword)))
        _describe(node, record.outputs, single=_gives_one_tensor(record))
        _locate(node, record)
        made.append(node)
    graph.output(resolve(trace.result))
    return graph


def _target(node: Node) -> Any:
    namespace, _, name = node.op.rpartition(".")
    namespace = (namespace or "aten") if node.ruled is None else RULED + namespace
    packet = getattr(getattr(torch.ops, namespace), name)
    return getattr(packet, node.overload or "default")


def _gives_one_tensor(node: Node) -> bool:
    returns = _target(node)._schema.returns
    return len(returns) == 1 and str(returns[0].type) == "Tensor"


def _describe(node: FxNode, infos: tuple[TensorInfo, ...], *, single: bool) -> None:
    metas = [_tensor_meta(info) for info in infos]
    if single and metas:
        node.meta["shape"], node.meta["dtype"] = metas[0].shape, metas[0].dtype
        node.meta["tensor_meta"] = metas[0]
    else:
        node.meta["shape"] = [meta.shape for meta in metas]
        node.meta["dtype"] = [meta.dtype for meta in metas]
        node.meta["tensor_meta"] = tuple(metas)


def _tensor_meta(info: TensorInfo) -> TensorMetadata:
    return TensorMetadata(
        shape=torch.Size(info.shape),
        dtype=getattr(torch, info.dtype),
        requires_grad=False,
        stride=(),
        memory_format=None,
        is_quantized=False,
        qparams={},
    )


def _locate(node: FxNode, record: Node) -> None:
    node.meta |= {"module": record.module, "file": record.file, "line": record.line}
    node.meta["index"] = record.index
    if record.file:
        where = f'  File "{record.file}", line {record.line}, in {record.function}'
        node.meta["stack_trace"] = where
