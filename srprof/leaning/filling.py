"""Channels filled up to what a device's kernels want (pass `widths`), and biases in what is filled.

A convolution's result is given more channels than the network has, and whatever reads it is changed
to know which of them count: a convolution by zeros among its weights, element-wise calls, pooling
and resampling not at all. What mixes channels or counts them gets the network's own back.

An extra channel holds a number that is followed through the graph. If it is not zero (pass
`biases`), the next convolution multiplies it by the bias, at a tap of its kernel that never lies in
the padding: so the bias is part of the sum, and no kernel of its own.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import torch
from torch.fx import Graph
from torch.fx import Node as FxNode
from torch.fx.node import map_arg

from srprof.leaning.capture import _at as place_of
from srprof.leaning.channels import Channels, Held, joined
from srprof.leaning.graphs import Copying, Known, argument_of

aten = torch.ops.aten

#: What gives each channel's result from that channel alone, whatever its size.
_CHANNELWISE = frozenset(
    "max_pool2d avg_pool2d adaptive_avg_pool2d upsample_bilinear2d upsample_nearest2d "
    "upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa _upsample_nearest_exact2d "
    "reflection_pad2d replication_pad2d pad constant_pad_nd contiguous clone detach alias dropout "
    "to _to_copy interpolate".split()
)
#: Of these, those that give of a number everywhere the same number everywhere.
_EVEN = frozenset(
    "max_pool2d adaptive_avg_pool2d upsample_bilinear2d upsample_nearest2d reflection_pad2d "
    "_upsample_nearest_exact2d replication_pad2d contiguous clone detach alias dropout to "
    "_to_copy".split()
)
#: Reductions, with what they give of a number everywhere; None is not known.
_REDUCTIONS: dict[str, Callable[[float], Held]] = {
    "mean": lambda held: held,
    "sum": lambda held: 0.0 if held == 0 else None,
    "amax": lambda held: held,
    "amin": lambda held: held,
    "var": lambda held: 0.0,
    "std": lambda held: 0.0,
}
#: Element-wise calls that give a finite number of every finite one.
_BOUNDED = frozenset(
    "relu relu6 leaky_relu sigmoid tanh silu gelu add sub mul clamp clamp_min clamp_max neg abs "
    "hardtanh hardswish hardsigmoid minimum maximum mish softplus sin cos".split()
)
_SPLITS = frozenset("split split_with_sizes chunk slice narrow".split())


class Widths:
    """Which width each convolution's result is given.

    Args:
        filled: physical channels by the network's own. Convolutions that are not named keep theirs.
        value: what extra channels hold; 0, or 1 if biases are to be in them.
        biases: put biases among the weights of extra channels where an input has such.
        whole: some channels of a value are read as all of them, the others with weights of zero,
            and not as a part of it, which kernels for channels-last maps would copy.
        compact: concatenations leave out extra channels.
    """

    def __init__(
        self,
        filled: Mapping[int, int],
        *,
        value: float = 0.0,
        biases: bool = False,
        whole: bool = False,
        compact: bool = True,
    ) -> None:
        self.filled, self.value, self.biases = dict(filled), value, biases
        self.whole, self.compact = whole, compact


@dataclass(frozen=True)
class Filled:
    """A graph with filled channels.

    Attributes:
        constants: tensors that it names beside the network's.
        ended: calls before which the network's own channels were needed back, in words.
    """

    graph: Graph
    constants: Mapping[str, torch.Tensor] = field(default_factory=dict)
    ended: tuple[str, ...] = ()


def filled(graph: Graph, widths: Widths, known: Known) -> Filled:
    """The graph of a network without calls in place, its convolutions of these widths."""
    filling = _Filling(graph, widths, known)
    made = filling.run()
    return Filled(made, filling.constants, tuple(dict.fromkeys(filling.ended)))


def own_widths(graph: Graph) -> tuple[int, ...]:
    """The distinct widths of results of convolutions that may be filled."""
    return tuple(
        sorted({_outputs(node) for node in graph.nodes if _is_dense(node) and _outputs(node) > 4})
    )


def _name(node: FxNode) -> str:
    return getattr(node.target, "_opname", "")


def _is_dense(node: FxNode) -> bool:
    convolutions = (aten.conv2d.default, aten.conv2d.padding)
    return node.target in convolutions and argument_of(node, "groups") == 1


def _outputs(node: FxNode) -> int:
    return int(node.meta["val"].shape[1])


def _axis(dim: int, rank: int) -> int:
    return dim % rank


class _Filling(Copying):
    def __init__(self, old: Graph, widths: Widths, known: Known) -> None:
        super().__init__(old, known)
        self.widths = widths
        self.channels: dict[FxNode, Channels] = {}  # of old nodes; others have their own
        self.lists: dict[FxNode, list[tuple[FxNode, Channels]]] = {}
        self.constants: dict[str, torch.Tensor] = {}
        self.ended: list[str] = []
        self._plain: dict[FxNode, FxNode] = {}
        self._weights: set[FxNode] = set()  # what depends on the network's tensors alone

    def same(self, node: FxNode) -> FxNode:
        if node.op == "get_attr":
            self._weights.add(node)
        return super().same(node)

    def call(self, node: FxNode) -> FxNode:
        arguments = node.all_input_nodes
        if arguments and all(argument in self._weights for argument in arguments):
            self._weights.add(node)
        if node.target is operator.getitem and node.args[0] in self.lists:
            made, channels = self.lists[node.args[0]][node.args[1]]  # type: ignore[index]
            return self._put(node, made, channels)
        changed = self._filled(node)
        return self._as_it_was(node) if changed is None else changed

    def _filled(self, node: FxNode) -> FxNode | None:
        """The call with filled channels; None where it needs the network's own."""
        if node.target in (aten.conv2d.default, aten.conv2d.padding):
            return self._convolution(node)
        name = _name(node)
        window = self.widths.whole and name in _SPLITS and self._lies_last(node)
        if not window and not any(argument in self.channels for argument in node.all_input_nodes):
            return None
        if name == "conv_transpose2d":
            return self._transposed(node)
        if name == "cat":
            return self._joined(node)
        if name in _SPLITS:
            return self._split(node)
        if name == "sym_size" and node.args[1] not in (1, -3):
            return self.add(node.target, self.made[node.args[0]], node.args[1])  # type: ignore[index]
        if name in _REDUCTIONS:
            return self._reduced(node)
        if name in _CHANNELWISE:
            return self._channelwise(node)
        if name == "prelu":
            return self._prelu(node)
        pointwise = isinstance(node.target, torch._ops.OpOverload) and (
            torch.Tag.pointwise in node.target.tags
        )
        return self._pointwise(node) if pointwise else None

    def result(self, node: FxNode) -> Any:
        return map_arg(node.args[0], self._whole)

    def _whole(self, node: FxNode) -> FxNode:
        """A result, which is no part of something larger where the network's own is not."""
        own = self._own(node)
        if own is self.made[node] or not node.meta["val"].is_contiguous():
            return own
        return self.add(aten.contiguous.default, own, memory_format=torch.contiguous_format)

    def _put(self, node: FxNode, made: FxNode, channels: Channels) -> FxNode:
        if not channels.plain:
            self.channels[node] = channels
        return made

    def _of(self, node: FxNode) -> Channels:
        count = int(node.meta["val"].shape[1])
        return self.channels.get(node) or Channels.first(count, count)

    def _as_it_was(self, node: FxNode) -> FxNode:
        """The call of the network's own channels."""
        if any(argument in self.channels for argument in node.all_input_nodes):
            self.ended.append(f"{node.target}{place_of(node)}")
        args, kwargs = map_arg((node.args, node.kwargs), self._own)
        return self.add(node.target, *args, **kwargs)

    def _own(self, node: FxNode) -> FxNode:
        """A value with its own channels only."""
        if node in self.lists:  # of what is no list any more
            raise LookupError(f"{node} is read as a whole")
        made, channels = self.made[node], self.channels.get(node)
        if channels is None:
            return made
        if node not in self._plain:
            if channels.together:
                first = channels.places[0]
                stop = first + len(channels.places)
                self._plain[node] = self.add(aten.slice.Tensor, made, 1, first, stop)
            else:
                index = self._index(channels.places)
                self._plain[node] = self.add(aten.index_select.default, made, 1, index)
        return self._plain[node]

    def _index(self, places: Sequence[int]) -> FxNode:
        name = next((n for n, t in self.constants.items() if t.tolist() == list(places)), None)
        if name is None:
            name = f"places_{len(self.constants)}"
            self.constants[name] = torch.tensor(places)
        return self.attribute(name, self.constants[name])

    def _fill(self, tensor: FxNode, axis: int, channels: Channels, held: float = 0.0) -> FxNode:
        """A weight with the network's channels along an axis where they now are."""
        if channels.plain:
            return tensor
        rank = tensor.meta["val"].dim()
        pads = [0, 0] * (rank - axis)
        prefix = channels.places == tuple(range(len(channels.places)))
        pads[-1] = len(channels.extra) if prefix else 1
        padded = self.add(aten.constant_pad_nd.default, tensor, pads, held)
        if prefix:
            return padded
        return self.add(aten.index_select.default, padded, axis, self._index(channels.rows()))

    # -- convolutions -----------------------------------------------------------------------------

    def _convolution(self, node: FxNode) -> FxNode | None:
        image, weight, bias, groups = (
            argument_of(node, name) for name in ("input", "weight", "bias", "groups")
        )
        if image.meta["val"].dim() != 4:
            return None
        inputs = self._of(image)
        if groups != 1:
            return self._depthwise(node, inputs) if image in self.channels else None
        count = _outputs(node)
        read = any(user.op != "output" for user in node.users)
        total = self.widths.filled.get(count, count) if read else count
        constant = inputs.constant if self.widths.biases else None
        tap = _tap(node) if constant else None
        held = self.widths.value if bias is not None or tap else 0.0
        outputs = Channels.first(count, total, held)
        if inputs.plain and outputs.plain:
            return None
        kernel = self._fill(self.made[weight], 0, outputs)
        kernel = self._fill(kernel, 1, inputs)
        added = None if bias is None else self.made[bias]
        if tap and constant and (bias is not None or held):
            place, number = constant
            kernel = self._with_bias(kernel, added, outputs, place, number, tap)
            added = None
        elif added is not None:
            added = self._fill(added, 0, outputs, held)
        rest = [argument_of(node, name) for name in ("stride", "padding", "dilation", "groups")]
        made = self.add(node.target, self.made[image], kernel, added, *rest)
        return self._put(node, made, outputs)

    def _with_bias(
        self,
        kernel: FxNode,
        bias: FxNode | None,
        outputs: Channels,
        place: int,
        number: float,
        tap: tuple[int, int],
    ) -> FxNode:
        """Weights that multiply the constant input channel by the bias, and make one again."""
        total, inputs, height, width = map(int, kernel.meta["val"].shape)
        if bias is None:
            bias = self.add(aten.new_zeros.default, kernel, [len(outputs.places)])
        column = self._fill(bias, 0, outputs, self.widths.value)
        column = self.add(aten.div.Tensor, column, number)
        column = self.add(aten.view.default, column, [total, 1, 1, 1])
        row, along = tap
        pads = [along, width - 1 - along, row, height - 1 - row, place, inputs - 1 - place]
        column = self.add(aten.constant_pad_nd.default, column, pads)
        return self.add(aten.add.Tensor, kernel, column)

    def _depthwise(self, node: FxNode, inputs: Channels) -> FxNode | None:
        image, weight, bias, groups = (
            argument_of(node, name) for name in ("input", "weight", "bias", "groups")
        )
        if groups != len(inputs.places) or _outputs(node) != groups:
            return None
        kernel = self._fill(self.made[weight], 0, inputs)
        added = None if bias is None else self._fill(self.made[bias], 0, inputs)
        rest = [argument_of(node, name) for name in ("stride", "padding", "dilation")]
        made = self.add(node.target, self.made[image], kernel, added, *rest, inputs.total)
        return self._put(node, made, inputs.holding(lambda held: 0.0))

    def _transposed(self, node: FxNode) -> FxNode | None:
        image, weight, groups = (argument_of(node, n) for n in ("input", "weight", "groups"))
        if groups != 1 or image not in self.channels:
            return None
        kernel = self._fill(self.made[weight], 0, self.channels[image])
        args = map_arg(node.args[2:], self.made.__getitem__)
        kwargs = map_arg(node.kwargs, self.made.__getitem__)
        return self.add(node.target, self.made[image], kernel, *args, **kwargs)

    # -- concatenations and parts -----------------------------------------------------------------

    def _joined(self, node: FxNode) -> FxNode | None:
        parts: Any = node.args[0]
        axis = argument_of(node, "dim")
        if node.meta["val"].dim() != 4 or any(p in self.lists for p in parts):
            return None
        if _axis(axis, 4) != 1:
            alike = {self._of(part) for part in parts}
            if len(alike) > 1:
                return None
            made = self.add(node.target, [self.made[part] for part in parts], axis)
            return self._put(node, made, alike.pop())
        if self.widths.compact or any(not self._of(part).places for part in parts):
            return self.add(node.target, [self._own(part) for part in parts], axis)
        tight = [self._tight(part) for part in parts]
        made = self.add(node.target, [part for part, _ in tight], axis)
        return self._put(node, made, joined([channels for _, channels in tight]))

    def _tight(self, node: FxNode) -> tuple[FxNode, Channels]:
        """A value without the channels of others that it is a part of."""
        channels = self._of(node)
        if channels.together and any(held is None for _, held in channels.extra):
            count = len(channels.places)
            return self._own(node), Channels.first(count, count)
        return self.made[node], channels

    def _lies_last(self, node: FxNode) -> bool:
        image = node.args[0]
        return isinstance(image, FxNode) and image.meta["val"].dim() == 4

    def _split(self, node: FxNode) -> FxNode | None:
        image: Any = node.args[0]
        if image.meta["val"].dim() != 4 or _axis(argument_of(node, "dim"), 4) != 1:
            return self._split_elsewhere(node)
        bounds = _bounds(node, int(image.meta["val"].shape[1]))
        if bounds is None:
            return None
        channels, made = self._of(image), self.made[image]
        parts: list[tuple[FxNode, Channels]] = []
        for start, stop in bounds:
            part = channels.part(start, stop)
            if self.widths.whole and stop > start:
                parts.append((made, part))
                continue
            if not part.together:
                return None
            first = part.places[0]
            piece = self.add(aten.slice.Tensor, made, 1, first, first + stop - start)
            parts.append((piece, Channels.first(stop - start, stop - start)))
        if _name(node) in ("slice", "narrow"):
            return self._put(node, *parts[0])
        self.lists[node] = parts
        return made  # read only through its elements

    def _split_elsewhere(self, node: FxNode) -> FxNode | None:
        """Parts along another axis, each with all channels."""
        image: Any = node.args[0]
        if image not in self.channels or _name(node) not in ("slice", "narrow"):
            return None
        args, kwargs = map_arg((node.args, node.kwargs), self.made.__getitem__)
        return self._put(node, self.add(node.target, *args, **kwargs), self.channels[image])

    # -- each channel by itself -------------------------------------------------------------------

    def _channelwise(self, node: FxNode) -> FxNode | None:
        image: Any = node.args[0]
        if image not in self.channels or image.meta["val"].dim() != 4:
            return None
        name, channels = _name(node), self.channels[image]
        if name in ("pad", "constant_pad_nd") and len(argument_of(node, "pad")) > 4:
            return None
        if any(argument in self.channels for argument in node.all_input_nodes[1:]):
            return None
        kept = name in _EVEN

        def held(value: Held) -> Held:
            if name in ("pad", "constant_pad_nd") and _mode(node) == "constant":
                number = argument_of(node, "value") or 0.0
                return value if value == number else None
            return value if kept or value == 0 or name == "pad" else None

        args, kwargs = map_arg((node.args, node.kwargs), self.made.__getitem__)
        made = self.add(node.target, *args, **kwargs)
        return self._put(node, made, channels.holding(held))

    def _reduced(self, node: FxNode) -> FxNode | None:
        image: Any = node.args[0]
        dims = argument_of(node, "dim")
        rank = image.meta["val"].dim()
        if image not in self.channels or rank != 4 or not dims:
            return None
        if {_axis(dim, rank) for dim in dims} & {0, 1}:
            return None
        of = _REDUCTIONS[_name(node)]
        args, kwargs = map_arg((node.args, node.kwargs), self.made.__getitem__)
        made = self.add(node.target, *args, **kwargs)
        channels = self.channels[image]
        return self._put(node, made, channels.holding(lambda h: None if h is None else of(h)))

    def _prelu(self, node: FxNode) -> FxNode | None:
        image, weight = node.args
        if image not in self.channels or weight not in self._weights:
            return None
        channels = self.channels[image]  # type: ignore[index]
        slopes = self.made[weight]  # type: ignore[index]
        if slopes.meta["val"].numel() > 1:
            slopes = self._fill(slopes, 0, channels)
        made = self.add(node.target, self.made[image], slopes)  # type: ignore[index]
        alike = channels.holding(lambda h: h if h is not None and h >= 0 else None)
        return self._put(node, made, alike)

    def _pointwise(self, node: FxNode) -> FxNode | None:
        rank = node.meta["val"].dim()
        maps = {self.channels[a] for a in node.all_input_nodes if a in self.channels}
        places = {(m.places, m.total) for m in maps}
        if len(places) != 1 or rank < 2:
            return None
        shape = next(iter(maps))
        count = len(shape.places)
        unfilled: list[FxNode] = []
        for argument in node.all_input_nodes:
            value = argument.meta["val"]
            if not isinstance(value, torch.Tensor):
                continue
            axis = value.dim() - rank + 1
            if argument in self.channels:
                if value.dim() != rank:
                    return None
            elif axis >= 0 and value.shape[axis] != 1:
                if argument not in self._weights or value.shape[axis] != count:
                    return None
                unfilled.append(argument)
        for neutral in (0.0, 1.0) if unfilled else (0.0,):
            held = [self._held(node, place, neutral, unfilled) for place, _ in shape.extra]
            if all(ok for ok, _ in held):
                break
        else:
            return None
        filled = {
            argument: self._fill(
                self.made[argument], argument.meta["val"].dim() - rank + 1, shape, neutral
            )
            for argument in unfilled
        }

        def new(argument: FxNode) -> FxNode:
            return filled.get(argument, self.made[argument])

        args, kwargs = map_arg((node.args, node.kwargs), new)
        made = self.add(node.target, *args, **kwargs)
        extra = tuple((place, h) for (place, _), (_, h) in zip(shape.extra, held, strict=True))
        return self._put(node, made, Channels(shape.places, extra))

    def _held(
        self, node: FxNode, place: int, neutral: float, unfilled: Sequence[FxNode]
    ) -> tuple[bool, Held]:
        """What an element-wise call gives in an extra channel, and whether that is finite."""
        known = True
        values: list[Held] = []

        def number(argument: FxNode) -> Any:
            nonlocal known
            if argument in self.channels:
                held: Held = dict(self.channels[argument].extra)[place]
            elif argument in unfilled:
                held = neutral
            else:
                held = None
            values.append(held)
            known = known and held is not None
            return None if held is None else torch.tensor(held, dtype=torch.float64)

        args, kwargs = map_arg((node.args, node.kwargs), number)
        if not known:
            name = _name(node)
            zero = name == "mul" and 0.0 in values
            return name in _BOUNDED, 0.0 if zero else None
        target: Any = node.target
        try:
            found = float(target(*args, **kwargs))
        except (RuntimeError, TypeError, ValueError):
            return False, None
        return isfinite(found) and abs(found) < 1e4, found


def _tap(node: FxNode) -> tuple[int, int] | None:
    """A tap of a convolution's kernel that lies in the image wherever the kernel is."""
    if node.target is not aten.conv2d.default:
        return None
    sides = argument_of(node, "weight").meta["val"].shape[2:]
    taps = []
    for axis, side in enumerate(map(int, sides)):
        padding, step = (_side(argument_of(node, n), axis) for n in ("padding", "dilation"))
        first = -(-padding // step)
        if first > side - 1 - first:
            return None
        taps.append(first)
    return taps[0], taps[1]


def _side(values: Any, axis: int) -> int:
    if isinstance(values, int):
        return values
    return int(values[axis] if len(values) > 1 else values[0])


def _mode(node: FxNode) -> str:
    return argument_of(node, "mode") if _name(node) == "pad" else "constant"


def _bounds(node: FxNode, count: int) -> list[tuple[int, int]] | None:
    """First and last of the channels of each part; None where they are no numbers."""
    name = _name(node)
    if name in ("slice", "narrow"):
        start = argument_of(node, "start") or 0
        if name == "slice":
            stop, step = argument_of(node, "end"), argument_of(node, "step")
        else:
            stop, step = start + argument_of(node, "length"), 1
        stop = count if stop is None else stop
        if step != 1 or not isinstance(start, int) or not isinstance(stop, int):
            return None
        start, stop = (min(max(n + count if n < 0 else n, 0), count) for n in (start, stop))
        return [(start, stop)] if stop > start else None
    if name == "split_with_sizes":
        sizes = list(argument_of(node, "split_sizes"))
    else:
        each: Any = node.args[1]
        if name == "chunk":
            each = -(-count // each)
        if not isinstance(each, int):
            return None
        sizes = [min(each, count - start) for start in range(0, count, each)]
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        return None
    stops = [sum(sizes[: n + 1]) for n in range(len(sizes))]
    return [(stop - size, stop) for stop, size in zip(stops, sizes, strict=True)]
