"""Parts of a graph replaced by others that compute the same up to rounding (level `equivalent`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, pairwise, takewhile
from typing import Any

import torch
from torch.fx import Graph
from torch.fx import Node as FxNode

from srprof.leaning.graphs import ORIGIN, Known, argument_of, call_function

aten = torch.ops.aten


#: By this in its `meta` a node says which fusion of its graph it is a part of.
FUSION = "srprof_fusion"


@dataclass(frozen=True)
class Fusion:
    """A concatenation and the 1x1 convolutions that it feeds (the paper's fusion node)."""

    concatenation: FxNode
    convolutions: tuple[FxNode, ...]

    @property
    def parts(self) -> list[FxNode]:
        """What is joined."""
        return list(self.concatenation.args[0])  # type: ignore[arg-type]  # a list, by the schema of cat

    @property
    def ways(self) -> list[int]:
        """Of how many summands a sum may be: 1 (not split), 2, 4 and so on, and one per part."""
        most = len(self.parts)
        return [*takewhile(most.__gt__, (2**power for power in count())), most]

    def mark(self, number: int) -> None:
        """Have its nodes say that they are of the fusion with this number, and copies of them."""
        for node in (self.concatenation, *self.convolutions):
            node.meta[FUSION] = number


def fusions(graph: Graph) -> list[Fusion]:
    """Concatenations of channels that nothing but 1x1 convolutions read."""
    return [
        Fusion(node, tuple(node.users))
        for node in graph.find_nodes(op="call_function", target=aten.cat.default)
        if node.users and _joins_channels(node) and all(_is_pointwise(u, node) for u in node.users)
    ]


def split_fusion(fusion: Fusion, summands: int, known: Known | None = None) -> None:
    """Make a sum of partial convolutions of it, so that its 2N feature maps never exist.

    Parts next to each other are joined, so that there are as many as `summands`. The first gives a
    convolution; each further one is multiplied by its columns of the weight and added in place
    (`baddbmm_`), so that it can die as soon as it was added.

    `known` has what splitting other copies of the graph found, and is added to.
    """
    known = {} if known is None else known
    parts = _joined(fusion, summands, known)
    for convolution in fusion.convolutions:
        _split(parts, convolution, known)
    _erase(fusion.concatenation)


def _joined(fusion: Fusion, summands: int, known: Known) -> list[FxNode]:
    """The parts, or where there are more than that, groups of neighbours of them, each joined."""
    parts, before = fusion.parts, fusion.concatenation
    bounds = [len(parts) * number // summands for number in range(summands + 1)]
    groups = [parts[start:stop] for start, stop in pairwise(bounds)]
    with _inserting(before, before=before, known=known) as add:
        return [g[0] if len(g) == 1 else add(aten.cat.default, g, 1) for g in groups]


def _split(parts: list[FxNode], convolution: FxNode, known: Known) -> None:
    first, *others = parts
    weight, bias = convolution.args[1], argument_of(convolution, "bias")
    outputs, inputs = _sizes(weight)[:2]
    stop = int(_sizes(first)[1])
    last = _lies_last(first)
    following = _after(first)  # so that no size keeps it alive
    with _inserting(convolution, before=following, known=known) as add:
        batch, height, width = (add(aten.sym_size.int, first, axis) for axis in (0, 2, 3))
    with _inserting(convolution, before=convolution, known=known) as add:
        matrix = add(aten.view.default, weight, [1, outputs, inputs])

        def factors(part: FxNode, start: int, stop: int) -> tuple[FxNode, FxNode]:
            columns = add(aten.slice.Tensor, matrix, 2, start, stop)
            columns = add(aten.expand.default, columns, [batch, -1, -1])
            pixels = _pixels(add, part, last)
            if not last:
                return columns, pixels
            return pixels, add(aten.transpose.int, columns, 1, 2)

        if not last:
            columns = add(aten.slice.Tensor, weight, 1, 0, stop)
            sums = _pixels(add, add(aten.conv2d.default, first, columns, bias), last)
        elif bias is None:  # a convolution of some channels of more would copy them
            sums = add(aten.bmm.default, *factors(first, 0, stop))
        else:
            sums = add(aten.baddbmm.default, bias, *factors(first, 0, stop))
        for part in others:
            start, stop = stop, stop + int(_sizes(part)[1])
            sums = add(aten.baddbmm_.default, sums, *factors(part, start, stop))
        if last:
            rows = add(aten.view.default, sums, [batch, height, width, outputs])
            result = add(aten.permute.default, rows, [0, 3, 1, 2])
        else:
            result = add(aten.view.default, sums, [batch, outputs, height, width])
    convolution.replace_all_uses_with(result)
    _erase(convolution)


def _lies_last(node: FxNode) -> bool:
    """Whether a map has its channels innermost, all of those in memory or some."""
    return bool(node.meta["val"].stride()[1] == 1 and _sizes(node)[1] > 1)


def _pixels(add: Callable[..., FxNode], image: FxNode, last: bool) -> FxNode:
    """A map as matrices, without a copy: a column of each pixel's channels, or a row."""
    if not last:
        return add(aten.flatten.using_ints, image, 2)
    return add(aten.flatten.using_ints, add(aten.permute.default, image, [0, 2, 3, 1]), 1, 2)


def fold_batch_norm(graph: Graph) -> int:
    """Fold each batch norm that alone reads a convolution into its weights; gives how many.

    The weights are folded in each call, which costs nothing beside the convolution, so that the
    state dict stays what it was.
    """
    folded = 0
    for norm in graph.find_nodes(op="call_function", target=aten.batch_norm.default):
        convolution, mean, of_batch = norm.args[0], norm.args[3], norm.args[5]
        if mean is None or of_batch or not _foldable(convolution):
            continue
        _fold(convolution, norm)
        folded += 1
    return folded


def _foldable(node: Any) -> bool:
    return (
        isinstance(node, FxNode)
        and node.target is aten.conv2d.default
        and len(node.users) == 1
        and isinstance(node.args[1], FxNode)
        and node.args[1].op == "get_attr"
    )


def _fold(convolution: FxNode, norm: FxNode) -> None:
    gamma, beta, mean, variance = norm.args[1:5]
    epsilon = norm.args[7]
    weight, bias = convolution.args[1], argument_of(convolution, "bias")
    with _inserting(norm, before=norm, known={}) as add:
        scale = add(aten.rsqrt.default, add(aten.add.Tensor, variance, epsilon))
        if gamma is not None:
            scale = add(aten.mul.Tensor, scale, gamma)
        scaled = add(aten.mul.Tensor, weight, add(aten.view.default, scale, [-1, 1, 1, 1]))
        shift = mean if bias is None else add(aten.sub.Tensor, mean, bias)
        shift = add(aten.mul.Tensor, shift, scale)
        offset = (aten.neg.default, shift) if beta is None else (aten.sub.Tensor, beta, shift)
        result = add(
            aten.conv2d.default, convolution.args[0], scaled, add(*offset), *convolution.args[3:]
        )
    norm.replace_all_uses_with(result)
    _erase(norm)
    _erase(convolution)


def _joins_channels(node: FxNode) -> bool:
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    parts: Any = node.args[0]
    return (
        node.meta["val"].dim() == 4
        and axis in (1, -3)
        and len(parts) > 1
        and all(_is_fixed(_sizes(part)[1]) for part in parts)
    )


def _is_fixed(size: Any) -> bool:
    """Whether a size is the same in every call that the graph holds for."""
    return isinstance(size, int) or bool(size.node.expr.is_number)


def _is_pointwise(node: FxNode, source: FxNode) -> bool:
    """Whether it is a 1x1 convolution of the source, of stride 1, dense and without padding."""
    if node.target is not aten.conv2d.default or node.args[0] is not source:
        return False
    if not isinstance(node.args[1], FxNode) or _sizes(node.args[1])[2:] != [1, 1]:
        return False
    stride, padding, groups = (argument_of(node, n) for n in ("stride", "padding", "groups"))
    return set(stride) == {1} and set(padding) == {0} and groups == 1


def _sizes(node: Any) -> list[Any]:
    return list(node.meta["val"].shape)


def _after(node: FxNode) -> FxNode:
    """The call that follows a node."""
    following = node.next
    while following.op in ("placeholder", "get_attr"):
        following = following.next
    return following


def _erase(node: FxNode) -> None:
    if not node.users:
        node.graph.erase_node(node)


_HANDED_ON = (*ORIGIN, FUSION)


@contextmanager
def _inserting(origin: FxNode, before: FxNode, known: Known) -> Iterator[Callable[..., FxNode]]:
    """What adds a call before a node, with its fake value and the origin of another node."""
    graph, mode = before.graph, origin.meta["val"].fake_mode

    def add(target: Any, *args: Any) -> FxNode:
        node = call_function(graph, mode, known, target, args)
        node.meta.update({key: origin.meta[key] for key in _HANDED_ON if key in origin.meta})
        return node

    with graph.inserting_before(before):
        yield add
