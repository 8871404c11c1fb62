"""Calls that write into an argument, as calls that make a new value: what other passes start from.

The pass `in-place` puts those back that pay, at the end.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Graph
from torch.fx import Node as FxNode

from srprof.leaning.graphs import Copying, Known, writes
from srprof.leaning.hoisting import storages


def functional(graph: Graph, known: Known) -> Graph | None:
    """The graph without calls that write; None where one of them must stay."""
    if not any(map(writes, graph.nodes)):
        return graph
    made = _Functional(graph, known)
    new = made.run()
    return new if made.whole else None


class _Functional(Copying):
    def __init__(self, old: Graph, known: Known) -> None:
        super().__init__(old, known)
        self.whole = True
        self._places = {node: number for number, node in enumerate(old.nodes)}
        self._lies_in = storages(old)

    def call(self, node: FxNode) -> FxNode:
        if not writes(node):
            return super().call(node)
        made = self._made_anew(node)
        if made is None:
            self.whole = False
            return super().call(node)
        return made

    def _made_anew(self, node: FxNode) -> FxNode | None:
        target = _twin(node.target)
        if target is None or not self._read_no_more(node):
            return None
        made = self.add(target, *(self._new(a) for a in node.args), **node.kwargs)
        before, after = node.meta["val"], made.meta["val"]
        return made if before.dtype == after.dtype and before.shape == after.shape else None

    def _new(self, argument: Any) -> Any:
        return self.made[argument] if isinstance(argument, FxNode) else argument

    def _read_no_more(self, node: FxNode) -> bool:
        """Whether what a call overwrites is nobody's but the call's result afterwards."""
        written: Any = node.args[0]
        place = self._places[node]
        lies_in = self._lies_in[written]
        if any(one.op != "call_function" for one in lies_in):
            return False
        sharing = (one for one in self._places if self._lies_in[one] & lies_in)
        return all(
            self._places[user] <= place
            for one in sharing
            if self._places[one] < place
            for user in one.users
        )


def _twin(target: Any) -> Any:
    """`aten.relu.default` for `aten.relu_.default`."""
    name = getattr(target, "_opname", "")
    if not name.endswith("_") or name.endswith("__") or target.namespace != "aten":
        return None
    packet = getattr(torch.ops.aten, name[:-1], None)
    return getattr(packet, target._overloadname, None) if packet is not None else None
