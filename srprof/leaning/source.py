"""A graph in a chosen order as the text of a Python function: what is run, and what is emitted."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath
from typing import Any

import torch
from torch.fx import Graph
from torch.fx import Node as FxNode
from torch.fx.node import map_aggregate
from torch.utils import _pytree as pytree

from srprof.blame import is_user_file
from srprof.leaning.capture import RefusedError
from srprof.leaning.liveness import GraphCall
from srprof.words import one_line

_INFIX = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.mod: "%",
    operator.floordiv: "//",
    operator.truediv: "/",
    operator.pow: "**",
}

#: Values whose `repr` is Python.
_PLAIN = (bool, int, float, str, torch.dtype, torch.layout, torch.memory_format)

#: Names that the text uses, which no value may take.
_RESERVED = frozenset("self aten torch operator math device kept step".split())


def body(
    graph: Graph,
    order: Sequence[tuple[FxNode, GraphCall | None]],
    attribute: Callable[[str], str],
    result: pytree.TreeSpec,
) -> list[str]:
    """The lines of the function, each value released after its last use.

    Args:
        order: calls as they are to be made, with how one writes into an argument, if it does.
        attribute: the text for a parameter, buffer or constant.
        result: how results lie in what is returned.
    """
    return list(_Writer(graph, attribute).lines(order, result))


class _Writer:
    def __init__(self, graph: Graph, attribute: Callable[[str], str]) -> None:
        self.graph = graph
        self.inputs = [node for node in graph.nodes if node.op == "placeholder"]
        self.output = next(node for node in graph.nodes if node.op == "output")
        self.attribute = attribute

    def lines(
        self, order: Sequence[tuple[FxNode, GraphCall | None]], result: pytree.TreeSpec
    ) -> Iterator[str]:
        dying = self._last_uses([node for node, _ in order])
        origin = ""
        given = (value for node, _ in order for value in (*node.args, *node.kwargs.values()))
        if any(isinstance(value, torch.device) for value in given):
            # an input may be gone when it is needed
            yield f"device = {name_of(self.inputs[0])}.device"
        for node, in_place in order:
            if (came := _origin(node)) != origin and came:
                origin = came
                yield f"# {one_line(origin)}"  # a module's name may have ends of lines
            call = in_place or GraphCall(node.target, node.args, node.kwargs)
            text = self._call(call)
            yield f"{name_of(node)} = {text}" if node.users else text
            if dead := dying.get(node):
                yield f"del {', '.join(map(name_of, dead))}"
        yield f"return {self._result(result)}"

    def _last_uses(self, order: list[FxNode]) -> dict[FxNode, list[FxNode]]:
        """For each call the values that it is the last to use."""
        last = {argument: node for node in order for argument in node.all_input_nodes}
        results = self.output.all_input_nodes
        dying: dict[FxNode, list[FxNode]] = {}
        for value, user in last.items():
            if value.op != "get_attr" and value not in results:
                dying.setdefault(user, []).append(value)
        return dying

    def _call(self, call: GraphCall) -> str:
        target, args = call.target, call.args
        if target is operator.getitem:
            return f"{self._text(args[0])}[{self._text(args[1])}]"
        if target in _INFIX:
            return f"{self._text(args[0])} {_INFIX[target]} {self._text(args[1])}"
        if target is torch.ops.aten.sym_size.int:
            return f"{self._text(args[0])}.size({self._text(args[1])})"
        texts = [self._text(value) for value in args]
        texts += [f"{key}={self._text(value)}" for key, value in call.kwargs.items()]
        return f"{_function(target)}({', '.join(texts)})"

    def _text(self, value: Any) -> str:
        return repr(map_aggregate(value, self._leaf))

    def _leaf(self, value: Any) -> Any:
        """A value as its `repr` is to stand in the text."""
        if isinstance(value, FxNode):
            own = value.op == "get_attr"
            return Text(self.attribute(str(value.target)) if own else name_of(value))
        if isinstance(value, torch.device):  # where the call's tensors are
            return Text("device")
        if isinstance(value, float) and not math.isfinite(value):
            return Text(f'float("{value}")')
        if value is None or isinstance(value, _PLAIN):
            return value
        raise RefusedError(f"the graph holds a {type(value).__name__}")

    def _result(self, result: pytree.TreeSpec) -> str:
        leaves = [Text(self._text(value)) for value in self.output.args[0]]
        value = pytree.tree_unflatten(leaves, result)
        _check_containers(value)
        return repr(value)


class Text(str):
    """Text that stands in a container as it is: its `repr` has no quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _check_containers(value: Any) -> None:
    if isinstance(value, Text):
        return
    if type(value) not in (tuple, list, dict):
        raise RefusedError(f"it returns a {type(value).__name__}; tuples, lists and dicts are kept")
    for part in value.values() if isinstance(value, dict) else value:
        _check_containers(part)


def name_of(node: FxNode) -> str:
    """The variable of a value; inputs keep the names that the network has for them."""
    name = str(node.target) if node.op == "placeholder" else node.name
    return f"{name}_" if name in _RESERVED else name


def _function(target: Any) -> str:
    if isinstance(target, torch._ops.OpOverload):
        name = str(target)
        if target.namespace == "srprof":
            return "step"
        return name if name.startswith("aten.") else f"torch.ops.{name}"
    return f"{target.__module__.removeprefix('_')}.{target.__name__}"


def _origin(node: FxNode) -> str:
    """The module and the user's line that a call comes from, for a comment."""
    stack = node.meta.get("nn_module_stack") or {}
    module = next(reversed(stack.values()), ("", None))[0] if stack else ""
    frames = re.findall(r'File "(.*?)", line (\d+)', node.meta.get("stack_trace") or "")
    users = [(file, line) for file, line in frames if is_user_file(file)]
    line = f"{PurePath(users[-1][0]).name}:{users[-1][1]}" if users else ""
    return "  ".join(part for part in (module, line) if part)
