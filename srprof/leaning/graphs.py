"""A graph made call by call from another, with the fake value of every call."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Graph
from torch.fx import Node as FxNode
from torch.fx.node import map_arg

from srprof.leaning.alike import UnknownLookError, look

#: What says where a node comes from, and is handed on to those that replace it.
ORIGIN = ("nn_module_stack", "stack_trace")

#: Fake values by a call's operator and what its arguments look like.
Known = dict[Any, Any]


def call_function(
    graph: Graph,
    mode: FakeTensorMode,
    known: Known,
    target: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] = MappingProxyType({}),
) -> FxNode:
    """Add a call to a graph, with its fake value.

    Args:
        known: fake values that were found for other calls of the same network, and is added to.
    """
    node = graph.call_function(target, args, dict(kwargs))
    values, named = map_arg((args, dict(kwargs)), lambda value: value.meta["val"])
    try:
        key: Any = target, look((values, named))
    except UnknownLookError:
        key = node
    if key not in known:  # with symbolic sizes a call takes milliseconds
        with mode, enable_python_dispatcher(), torch.no_grad():
            known[key] = target(*values, **named)
    node.meta["val"] = known[key]
    return node


class Copying:
    """A new graph, to which the calls of an old one are added, as they are or otherwise.

    Attributes:
        made: the new node of an old one.
        known: fake values that were found for other graphs of the same network, and are added to.
    """

    def __init__(self, old: Graph, known: Known) -> None:
        self.old, self.graph, self.known = old, Graph(), known
        self.made: dict[FxNode, FxNode] = {}
        values = (node.meta.get("val") for node in old.nodes)
        tensors = (value for value in values if isinstance(value, torch.Tensor))
        self._mode = next(tensors).fake_mode  # type: ignore[attr-defined]  # all are fake
        self._origin: dict[str, Any] = {}

    def run(self) -> Graph:
        """Go through the old graph in order."""
        for node in self.old.nodes:
            self._origin = {key: node.meta[key] for key in ORIGIN if key in node.meta}
            if node.op == "call_function":
                self.made[node] = self.call(node)
            elif node.op == "output":
                self.graph.output(self.result(node))
            else:
                self.made[node] = self.same(node)
        return self.graph

    def call(self, node: FxNode) -> FxNode:
        """What stands for a call; as it is, unless a pass knows better."""
        args, kwargs = map_arg((node.args, node.kwargs), self.made.__getitem__)
        return self.add(node.target, *args, **kwargs)

    def same(self, node: FxNode) -> FxNode:
        """An input, or a tensor of the network's."""
        return self.graph.node_copy(node)

    def result(self, node: FxNode) -> Any:
        """What is returned."""
        return map_arg(node.args[0], self.made.__getitem__)

    def attribute(self, name: str, value: torch.Tensor) -> FxNode:
        """A tensor of the network's, or a constant, by its name; once."""
        known: list[FxNode] = self.graph.find_nodes(op="get_attr", target=name)
        if known:
            return known[0]
        first = next(iter(self.graph.nodes), None)
        with self.graph.inserting_before(first) if first else self.graph.inserting_after(None):
            node = self.graph.create_node("get_attr", name)
        node.meta["val"] = self._mode.from_tensor(value, static_shapes=True)
        return node

    def add(self, target: Any, *args: Any, **kwargs: Any) -> FxNode:
        """Add a call, of which the graph then has the fake value."""
        node = call_function(self.graph, self._mode, self.known, target, args, kwargs)
        node.meta.update(self._origin)
        return node


def argument_of(node: FxNode, name: str) -> Any:
    """An argument of a call by its name in the operator's schema, or its default."""
    schema = node.target._schema  # type: ignore[union-attr]  # an overload, not a string
    for position, argument in enumerate(schema.arguments):
        if argument.name == name:
            if position < len(node.args):
                return node.args[position]
            value = node.kwargs.get(name, argument.default_value)
            return [value] if isinstance(value, int) and "int[" in str(argument.type) else value
    raise LookupError(name)


def without_dead(graph: Graph) -> Graph:
    """The graph, whose calls that nothing reads are erased; those that write stay."""
    for node in reversed(list(graph.nodes)):
        dead = node.op in ("call_function", "get_attr") and not node.users
        if dead and not writes(node):
            graph.erase_node(node)
    return graph


def writes(node: FxNode) -> bool:
    """Whether a call writes into an argument, or is made for what it does and not for a result."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and (schema.is_mutable or not schema.returns)
