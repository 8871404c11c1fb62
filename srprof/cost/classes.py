"""What each ATen call asks of a device: operation class, FLOPs, bytes, and the matrix product.

A device is good or bad at classes of operations rather than at single ones, so each node has a
class, and a device profile has an efficiency for each. Pure functions of the trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from math import prod
from typing import Any

from srprof.inputs import ITEMSIZE
from srprof.ops import CONVOLUTIONS, Family, Product, argument, row, transposed_and_groups
from srprof.records import Node, Ruled, Storage, TensorInfo, Trace, Where
from srprof.words import shape_text

#: Widths of the tiles of output channels in which libraries compute a convolution.
TILES = (32, 64, 128)
#: What PyTorch's iterator over elements computes: families, and copies.
_ITERATED = frozenset({"elementwise"})
_COPIES = frozenset({"clone", "_to_copy", "copy_"})


@dataclass(frozen=True, slots=True)
class NodeCost:
    """What one node asks of a device.

    Attributes:
        index: of the node. module: path of its module.
        op_class: `conv3x3/64` (dense, kernel, output channels up to 64; `/wide` above 128),
            `conv1x1`, `grouped`, `depthwise`, `matmul`, `elementwise`, `reduction`,
            `resample` (pooling too), `movement` (cat, pixel shuffle, pad, copies), `norm`
            (softmax too), `view` (launches nothing), or `other`.
        family: the class without kernel and width, one of `FAMILIES`, or `view`.
        dtype: of its (first) output, else input.
        flops: two for each multiply-accumulate; 0 where there is none.
        reads: (storage, bytes) of each storage that it reads. A tensor read twice counts once;
            no more is read of a storage than it holds.
        written: bytes. A node that works in place reads once and writes once.
        writes: the storages that it writes.
        strided: bytes of the reads that run across the grain: the tensor's fastest dimension
            is not the one that the kernel's threads follow, as in a transposing copy.
        single: whether its kernel takes one element at a time, since its operands are not all dense
            maps of one layout: one is broadcast, a slice, or the other way round.
        copied: bytes of the input that PyTorch first copies, in a kernel of its own, to make it
            contiguous. across: whether that copy runs across the grain.
        bias: bytes of the output if a bias is added to it, else 0.
        product: where there is one; None for depthwise convolutions.
        on: where it works, as `Node` has it. waits: whether the host then waits for its result.
        entered: modules that were called since the node before.
        kernels: that it launches. seconds: that it takes, where the rule of an operator says so.
        op: the ATen call. variant: which of its kernels computes it.
        taps, channels, channels_last: of a convolution, the kernel's area; channels of input and
            output; whether the input has them innermost in memory.
        stride, dilation, transposed: of a convolution, too.
        gathered: values that a resampling or pooling reads, each as often as it is read.
        serial: reads that one thread of it does one after another.
        row: elements over which one result of a layer norm is computed, else 0.
    """

    index: int
    module: str
    op_class: str
    family: Family
    dtype: str
    flops: int
    reads: tuple[tuple[int, int], ...]
    written: int
    writes: tuple[int, ...] = ()
    strided: int = 0
    single: bool = False
    copied: int = 0
    across: bool = False
    bias: int = 0
    product: Product | None = None
    taps: int = 1
    channels: tuple[int, int] = (0, 0)
    channels_last: bool = False
    stride: int = 1
    dilation: int = 1
    transposed: bool = False
    gathered: int = 0
    serial: int = 0
    row: int = 0
    op: str = ""
    variant: str = ""
    on: Where = "device"
    waits: bool = False
    entered: int = 0
    kernels: int = 1
    seconds: float | None = None

    @property
    def read(self) -> int:
        """Bytes read."""
        return sum(nbytes for _, nbytes in self.reads)

    @property
    def drains(self) -> bool:
        """Whether the host waits at it until the device has done all that was launched."""
        return self.waits or self.on == "to-host"

    @property
    def pixels(self) -> int:
        """Of a convolution, of all images: those that are computed; of a transposed one, read."""
        size = ITEMSIZE.get(self.dtype, 4)
        image, channels = (self.reads[0][1], 0) if self.transposed else (self.written, 1)
        return image // (size * self.channels[channels])

    @property
    def groups(self) -> int:
        """Of a convolution."""
        return self.channels[0] if self.product is None else self.product.batch


def bias_cost(dtype: str, nbytes: int) -> NodeCost:
    """The pass over a convolution's result, of so many bytes, that adds its bias."""
    return _pass("elementwise", "bias", dtype, nbytes, written=0)


def copy_cost(dtype: str, nbytes: int, across: bool) -> NodeCost:
    """The copy of so many bytes that makes a convolution's input contiguous."""
    if not across:
        return bias_cost(dtype, nbytes)  # element by element too, and the same traffic
    return replace(_pass("movement", "clone", dtype, nbytes, written=1), strided=nbytes)


def _pass(family: Family, op: str, dtype: str, nbytes: int, written: int) -> NodeCost:
    """A kernel that reads and writes so many bytes, one element at a time; `written`: a storage."""
    kind, reads = (family, family, dtype, 0), ((0, nbytes),)
    return NodeCost(0, "", *kind, reads, nbytes, (written,), single=True, op=op)


def node_costs(trace: Trace) -> tuple[NodeCost, ...]:
    """The cost of every node of a trace, in order."""
    before = ("", *(node.module for node in trace.nodes))
    return tuple(
        node_cost(node, trace.storages, _entered(module, node.module))
        for node, module in zip(trace.nodes, before, strict=False)
    )


def _entered(before: str, now: str) -> int:
    """Modules on the way from one module's call to another's."""
    if not now or now == before:
        return 0
    if now.startswith(f"{before}." if before else ""):
        return now.count(".", len(before)) + (not before)
    parts, of_before = now.split("."), before.split(".")
    pairs = zip(parts, of_before, strict=False)
    return len(parts) - len([*takewhile(lambda pair: pair[0] == pair[1], pairs)])


def node_cost(node: Node, storages: Sequence[Storage], entered: int = 0) -> NodeCost:
    """The cost of one node of a trace with these storages."""
    op, outputs = row(node.op), node.outputs or node.inputs
    dtype = outputs[0].dtype if outputs else ""
    family = "view" if node.is_view or not outputs else op.family_of(node)
    if family == "view":
        view = NodeCost(node.index, node.module, "view", "view", dtype, 0, (), 0)
        return replace(view, on=node.on, waits=op.waits, entered=entered)
    read = node.inputs[op.overwrites :]
    product = None if op.product is None else op.product(node)
    if product is not None and not prod(product):  # of no channels: its result is only filled
        family, product = "elementwise", None
    written = sum(o.nbytes for o in node.outputs) or sum(i.nbytes for i in node.inputs)
    about: dict[str, Any] = {
        "op_class": family,
        "product": product,
        "gathered": 0 if op.gathers is None else op.gathers(node),
        "serial": 0 if op.serial is None else op.serial(node),
        "row": 0 if op.row is None else op.row(node),
    }
    if family in {"elementwise", "movement"}:
        about["strided"] = _strided(node, read)
    if family in _ITERATED or node.op in _COPIES:
        about["single"] = _is_single(read, outputs[0])
    if node.ruled is None and family in CONVOLUTIONS:
        about |= _convolution(node, family, written)
    cost = NodeCost(
        index=node.index,
        module=node.module,
        family=family,
        dtype=dtype,
        flops=0 if product is None else 2 * prod(product),
        reads=_reads(read, storages),
        # Ops like `_foreach_add_` change their operands and return nothing.
        written=written,
        writes=node.created or node.written,
        op=op.same_as or node.op,
        variant="" if op.variant is None else op.variant(node),
        on=node.on,
        waits=op.waits,
        entered=entered,
        **about,
    )
    return cost if node.ruled is None else _by_rule(cost, node.ruled)


def _by_rule(cost: NodeCost, ruled: Ruled) -> NodeCost:
    """The cost of an operator of which a rule speaks, and not its shapes."""
    said: dict[str, Any] = {
        "flops": 2 * (ruled.macs or 0),
        "kernels": ruled.kernels,
        "seconds": ruled.seconds,
    }
    if ruled.moved is not None:
        said |= {"reads": (), "written": ruled.moved}
    return replace(cost, product=None, strided=0, single=False, **said)


def _reads(
    inputs: Sequence[TensorInfo], storages: Sequence[Storage]
) -> tuple[tuple[int, int], ...]:
    """Bytes read by storage: distinct tensors once each, at most what the storage holds."""
    total: dict[int, int] = {}
    for info in dict.fromkeys(inputs) if len(inputs) > 1 else inputs:
        total[info.storage] = total.get(info.storage, 0) + info.nbytes
    return tuple([(index, min(n, storages[index].nbytes)) for index, n in total.items()])


def _grain(info: TensorInfo) -> int:
    """The fastest dimension of a tensor, counted from the last; 0 where strides are not known."""
    if info.strides[-1:] == (1,) and info.shape[-1] > 1:
        return 0
    places = enumerate(zip(reversed(info.shape), reversed(info.strides), strict=False))
    strides = [(stride, place) for place, (size, stride) in places if size > 1 and stride > 0]
    return min(strides, default=(0, 0))[1]


def _is_contiguous(info: TensorInfo, innermost: int = -1) -> bool:
    """Whether the elements lie in memory in order, the last dimension fastest, or another."""
    dimensions = [*zip(info.shape, info.strides, strict=False)]
    if dimensions:
        dimensions.append(dimensions.pop(innermost))
    expected = 1
    for size, stride in reversed(dimensions):
        if size > 1 and stride != expected:
            return False
        expected *= size
    return True


def _is_single(read: Sequence[TensorInfo], result: TensorInfo) -> bool:
    """Whether these operands and this result are not all dense maps of one layout."""
    laid, same = _laid_out(result), (result.shape, result.strides)
    if prod(size for size, _ in laid) != 1 + sum((size - 1) * stride for size, stride in laid):
        return True
    # a number is no map
    maps = (info for info in read if info.shape and (info.shape, info.strides) != same)
    return any(_laid_out(info) != laid for info in maps)


def _laid_out(info: TensorInfo) -> tuple[tuple[int, int], ...]:
    """The sizes above 1 with their strides."""
    sizes = zip(info.shape, info.strides, strict=False)
    return tuple((size, stride) for size, stride in sizes if size > 1)


def _strided(node: Node, read: Sequence[TensorInfo]) -> int:
    """Bytes that an element-wise op or a copy reads across the grain of what it writes."""
    if not node.outputs or not node.shape:
        return 0
    result = node.outputs[0]
    others = [info for info in read if info.strides != result.strides]
    follows = _grain(result) if others else 0
    return sum(
        info.nbytes
        for info in others
        if len(info.shape) == len(node.shape)
        and info.shape[-1 - follows] > 1
        and _grain(info) != follows
    )


def _largest(node: Node, position: int) -> int:
    """The largest of a convolution's steps of one kind: 3, its strides; 5, its dilations."""
    steps = argument(node, position, 1)
    return steps if isinstance(steps, int) else max(steps, default=1)


def _convolution(node: Node, family: Family, written: int) -> dict[str, Any]:
    """What a convolution's kernel, channels and layout add to its cost."""
    info, weight = node.inputs[:2]
    kernel = weight.shape[2:]
    channels = info.shape[-len(kernel) - 1], node.shape[-len(kernel) - 1]
    transposed, _ = transposed_and_groups(node)
    about: dict[str, Any] = {}
    if family == "conv":
        tile = next((str(t) for t in TILES if channels[1] <= t), "wide")
        about["op_class"] = f"conv{shape_text(kernel)}/{tile}"
    if family == "depthwise":
        about["product"] = None
    # cuDNN takes maps with channels innermost, and PyTorch gives it dense ones: of a slice, a copy.
    along = _grain(info)
    channels_last = channels[0] > 1 and along == len(kernel)
    dense = _is_contiguous(info, -len(kernel) - 1 if channels_last else -1)
    biased = len(node.inputs) > 2 and _adds_bias(family, channels_last)
    return about | {
        "copied": 0 if dense else info.nbytes,
        "across": not dense and along > 0 and not channels_last,
        "bias": written if biased else 0,
        "taps": prod(kernel),
        "channels": channels,
        "stride": _largest(node, 3),
        "dilation": _largest(node, 5),
        "transposed": transposed,
        "channels_last": channels_last,
    }


def _adds_bias(family: Family, channels_last: bool) -> bool:
    """Whether a bias is a kernel of its own: PyTorch's depthwise kernel, of plain maps, adds it."""
    return channels_last or family != "depthwise"
