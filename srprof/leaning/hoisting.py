"""What a network makes of weights and sizes alone, made once and kept (pass `constants`).

Weights with filled channels, folded batch norms, re-parameterised kernels, masks, grids, tables of
positions: they are the same in every call of a size. The graph is taken apart into what prepares
them and what the call then runs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch.fx import Graph
from torch.fx import Node as FxNode
from torch.fx.node import map_arg

from srprof.leaning.graphs import without_dead, writes
from srprof.leaning.liveness import is_random, is_view, may_share

#: Before the number of what is kept, in the place of a parameter's path.
KEPT = "kept:"


@dataclass(frozen=True)
class Hoisted:
    """A graph in two.

    Attributes:
        graph: what each call runs; `get_attr` nodes named `kept:N` are what was prepared.
        first: what prepares them, in their order, from the same inputs, of which only sizes count;
            None if there is nothing.
        sized: they depend on sizes, so that each size has its own.
    """

    graph: Graph
    first: Graph | None = None
    sized: bool = False


def hoisted(graph: Graph) -> Hoisted:
    """The graph, without what is the same in every call of a size."""
    lies_in = storages(graph)
    fixed = _fixed(graph, lies_in)
    views = _views(fixed)
    kept = [
        node
        for node in fixed
        if _is_tensor(node)
        and node not in views
        and any(user not in fixed or not _is_tensor(user) for user in node.users)  # sizes, lists
    ]
    if not kept:
        return Hoisted(graph)
    first = Graph()
    made: dict[FxNode, FxNode] = {}
    for node in graph.nodes:
        if node.op in ("placeholder", "get_attr") or node in fixed:
            made[node] = first.node_copy(node, made.__getitem__)
    first.output([made[node] for node in kept])
    main, made = Graph(), {}
    numbers = {node: number for number, node in enumerate(kept)}
    for node in graph.nodes:
        if node in numbers:
            made[node] = main.create_node("get_attr", f"{KEPT}{numbers[node]}")
            made[node].meta.update(node.meta)
        elif node.op == "output":
            main.output(map_arg(node.args[0], made.__getitem__))
        elif node not in fixed or node in views or not _is_tensor(node):
            made[node] = main.node_copy(node, made.__getitem__)
    return Hoisted(without_dead(main), without_dead(first), any(fixed[node] for node in kept))


def storages(graph: Graph) -> dict[FxNode, frozenset[FxNode]]:
    """The nodes in whose storages each node's value may lie, its own among them."""
    lies_in: dict[FxNode, frozenset[FxNode]] = {}
    for node in graph.nodes:
        shared = (a for a in node.all_input_nodes if may_share(node, a))
        lies_in[node] = frozenset({node}).union(*(lies_in[a] for a in shared))
    return lies_in


def _views(fixed: Collection[FxNode]) -> set[FxNode]:
    """Views of the network's own tensors, which cost nothing to make in each call."""
    views: set[FxNode] = set()
    for node in fixed:
        tensors = [a for a in node.all_input_nodes if _is_tensor(a)]
        own = all(a.op == "get_attr" or a in views for a in tensors)
        if _is_tensor(node) and tensors and own and is_view(node):
            views.add(node)
    return views


def _is_tensor(node: FxNode) -> bool:
    return isinstance(node.meta.get("val"), torch.Tensor)


def _fixed(graph: Graph, lies_in: dict[FxNode, frozenset[FxNode]]) -> dict[FxNode, bool]:
    """Calls of weights and sizes alone, and whether sizes are among what they are of."""
    writers = [node for node in graph.nodes if writes(node) and node.op == "call_function"]
    written = frozenset().union(*(lies_in[a] for node in writers for a in node.all_input_nodes[:1]))
    fixed: dict[FxNode, bool] = {}
    for node in graph.nodes:
        alone = node.op == "call_function" and node not in writers and not is_random(node)
        if alone and not lies_in[node] & written:
            found = _depends(node, fixed)
            if found is not None:
                fixed[node] = found
    return fixed


def _depends(node: FxNode, fixed: dict[FxNode, bool]) -> bool | None:
    """Whether a call depends on sizes; None if on values of the call's tensors."""
    arguments = node.all_input_nodes
    if node.target is torch.ops.aten.sym_size.int and arguments[0].op == "placeholder":
        return True
    of = [False if argument.op == "get_attr" else fixed.get(argument) for argument in arguments]
    return None if None in of else any(of)
