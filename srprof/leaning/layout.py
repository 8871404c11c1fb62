"""Maps with their channels innermost, from the first convolution to the last (pass `layout`).

Weights are given that layout, which makes every convolution's result so; a map that is not is
brought into it once. What a call can make only of plain maps, it is given; results come out as the
network's own lie.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import Graph
from torch.fx import Node as FxNode
from torch.fx.node import map_arg

from srprof.leaning.graphs import Copying, Known, argument_of

aten = torch.ops.aten


def channels_last(graph: Graph, known: Known) -> Graph:
    """The graph with convolutions of 2-d maps in channels-last layout."""
    return _ChannelsLast(graph, known).run()


class _ChannelsLast(Copying):
    def __init__(self, old: Graph, known: Known) -> None:
        super().__init__(old, known)
        self._last: dict[FxNode, FxNode] = {}

    def call(self, node: FxNode) -> FxNode:
        name = getattr(node.target, "_opname", "")
        if name in ("conv2d", "conv_transpose2d"):
            return self._convolution(node)
        if name == "pixel_shuffle" and node.meta["val"].dim() == 4:
            return self._shuffled(node)
        args, kwargs = map_arg((node.args, node.kwargs), self.made.__getitem__)
        own = getattr(node.target, "namespace", "aten") in ("aten", "prims", "_operator")
        if name == "as_strided" or not own:  # they read strides, or may
            args, kwargs = map_arg((node.args, node.kwargs), self._as_it_was)
        target = aten.reshape.default if name == "view" else node.target
        return self.add(target, *args, **kwargs)

    def result(self, node: FxNode) -> Any:
        return map_arg(node.args[0], self._as_it_was)

    def _convolution(self, node: FxNode) -> FxNode:
        args, kwargs = map_arg((node.args, node.kwargs), self.made.__getitem__)
        image: Any
        weight: Any
        image, weight, *rest = args
        if image.meta["val"].dim() == 4:
            image, weight = self._innermost(image), self._innermost(weight)
        return self.add(node.target, image, weight, *rest, **kwargs)

    def _innermost(self, node: FxNode) -> FxNode:
        if node not in self._last:
            wanted = torch.channels_last
            value = node.meta["val"]
            ready = value.shape[1] > 1 and value.is_contiguous(memory_format=wanted)
            made = node if ready else self.add(aten.clone.default, node, memory_format=wanted)
            self._last[node] = made
        return self._last[node]

    def _shuffled(self, node: FxNode) -> FxNode:
        """A pixel shuffle in one copy, whose result is plain."""
        image = self.made[node.args[0]]  # type: ignore[index]
        factor: int = argument_of(node, "upscale_factor")
        batch, _, height, width = (
            size if isinstance(size, int) else self.add(aten.sym_size.int, image, axis)
            for axis, size in enumerate(image.meta["val"].shape)
        )
        count = int(image.meta["val"].shape[1]) // factor**2
        parts = [batch, count, factor, factor, height, width]
        apart = self.add(aten.view.default, image, parts)
        moved = self.add(aten.permute.default, apart, [0, 1, 4, 2, 5, 3])
        whole = self.add(aten.clone.default, moved, memory_format=torch.contiguous_format)
        sides = (self._times(size, factor) for size in (height, width))
        return self.add(aten.view.default, whole, [batch, count, *sides])

    def _times(self, size: Any, factor: int) -> Any:
        return size * factor if isinstance(size, int) else self.add(operator.mul, size, factor)

    def _as_it_was(self, node: FxNode) -> FxNode:
        """A value that lies in memory as the network's own does."""
        made = self.made[node]
        before, after = node.meta.get("val"), made.meta.get("val")
        if not isinstance(before, torch.Tensor) or not isinstance(after, torch.Tensor):
            return made
        if before.stride() == after.stride() or not before.is_contiguous():
            return made
        return self.add(aten.contiguous.default, made, memory_format=torch.contiguous_format)
