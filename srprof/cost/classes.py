"""What each ATen call asks of a device: operation class, FLOPs, bytes, and the matrix product.

A device is good or bad at classes of operations rather than at single ones, so each node has a
class, and a device profile has an efficiency for each. Pure functions of the trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from srprof.cost.macs import RULES
from srprof.records import Node, Storage, TensorInfo, Trace
from srprof.words import shape_text

#: Widths of the tiles of output channels in which libraries compute a convolution.
TILES = (32, 64, 128)

#: Families of classes: what a device profile's memory efficiencies are keyed by.
FAMILIES = (
    "conv",
    "conv1x1",
    "grouped",
    "depthwise",
    "matmul",
    "elementwise",
    "reduction",
    "resample",
    "movement",
    "norm",
    "other",
)

_CONVOLUTIONS = frozenset(
    "convolution convolution_overrideable _convolution conv1d conv2d conv3d".split()
)
_ATTENTION = frozenset(op for op in RULES if "scaled_dot_product" in op)
_ADDED_PRODUCTS = frozenset("addmm baddbmm addmv addbmm".split())
_MOVEMENT = frozenset(
    """
    cat stack constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d
    replication_pad2d pixel_shuffle pixel_unshuffle channel_shuffle clone copy copy_ _to_copy
    contiguous index index_select gather scatter scatter_ index_put index_put_ index_copy_
    slice_scatter select_scatter roll flip repeat repeat_interleave im2col col2im tril triu
    masked_select masked_fill masked_fill_ fill fill_ zero zero_ zeros zeros_like ones ones_like
    full full_like new_zeros new_ones new_full arange linspace eye one_hot embedding rand randn
    rand_like randn_like normal_ uniform_
    """.split()
)
_NORM = frozenset(
    """
    native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training
    cudnn_batch_norm batch_norm native_layer_norm layer_norm native_group_norm _softmax softmax
    _safe_softmax _log_softmax
    """.split()
)
_REDUCTION = frozenset(
    """
    sum mean amax amin max min argmax argmin any all std var var_mean std_mean norm
    linalg_vector_norm prod cumsum cumprod sort topk logsumexp
    """.split()
)
_RESAMPLE = frozenset(
    """
    max_pool2d max_pool2d_with_indices avg_pool1d avg_pool2d adaptive_avg_pool2d
    _adaptive_avg_pool2d adaptive_max_pool2d upsample_nearest1d upsample_nearest2d
    _upsample_nearest_exact2d upsample_bilinear2d upsample_bicubic2d upsample_linear1d
    _upsample_bilinear2d_aa _upsample_bicubic2d_aa grid_sampler_2d
    """.split()
)
#: Ops that launch nothing: bare allocations and questions about shapes.
_FREE = frozenset(
    """
    empty empty_like empty_strided new_empty new_empty_strided sym_size sym_stride sym_numel
    resize_ set_ lift_fresh scalar_tensor _assert_async _assert_scalar _assert_tensor_metadata
    """.split()
)
#: Ops whose first argument is overwritten without having been read.
_OVERWRITES = frozenset("copy_ fill_ zero_ normal_ uniform_ bernoulli_".split())


class Product(NamedTuple):
    """The matrix product that a convolution, linear layer or attention amounts to.

    `batch` independent products of `rows x depth` by `depth x columns`. For a convolution
    (implicit GEMM) the rows are output pixels, the columns output channels of one group, and
    the depth is input channels of one group times the kernel's area.
    """

    batch: int
    rows: int
    columns: int
    depth: int


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
        copied: bytes of the input that the library first copies to make it contiguous.
        bias: bytes of the output if a bias is added to it, else 0.
        product: where there is one; None for depthwise convolutions.
        taps: of a convolution, the kernel's area; the product's depth is so many times its
            channels.
        channels: of a convolution, all of its input's and of its output's.
        channels_last: a convolution's input has the channels innermost in memory.
        gathered: values that a resampling or pooling reads, each as often as it is read.
        row: elements over which one result of a layer norm is computed, else 0.
    """

    index: int
    module: str
    op_class: str
    family: str
    dtype: str
    flops: int
    reads: tuple[tuple[int, int], ...]
    written: int
    writes: tuple[int, ...] = ()
    strided: int = 0
    copied: int = 0
    bias: int = 0
    product: Product | None = None
    taps: int = 1
    channels: tuple[int, int] = (0, 0)
    channels_last: bool = False
    gathered: int = 0
    row: int = 0

    @property
    def read(self) -> int:
        """Bytes read."""
        return sum(nbytes for _, nbytes in self.reads)


def node_costs(trace: Trace) -> tuple[NodeCost, ...]:
    """The cost of every node of a trace, in order."""
    return tuple(node_cost(node, trace.storages) for node in trace.nodes)


def node_cost(node: Node, storages: Sequence[Storage]) -> NodeCost:
    """The cost of one node of a trace with these storages."""
    outputs = node.outputs or node.inputs
    dtype = outputs[0].dtype if outputs else ""
    if node.is_view or node.op in _FREE or not outputs:
        return NodeCost(node.index, node.module, "view", "view", dtype, 0, (), 0)
    read = node.inputs[1:] if node.op in _OVERWRITES else node.inputs
    reads = _reads(read, storages)
    # Ops like `_foreach_add_` change their operands and return nothing.
    written = sum(o.nbytes for o in node.outputs) or sum(i.nbytes for i in node.inputs)
    if node.op in _CONVOLUTIONS:
        return _convolution(node, dtype, reads, written)
    rule = RULES.get(node.op)
    if rule is not None:
        product = _product(node)
        return NodeCost(
            index=node.index,
            module=node.module,
            op_class="matmul",
            family="matmul",
            dtype=dtype,
            flops=2 * prod(product),
            reads=reads,
            written=written,
            writes=node.created or node.written,
            product=product,
        )
    family = _family(node)
    row = prod(_argument(node, 1, ())) if node.op == "native_layer_norm" else 0
    return NodeCost(
        index=node.index,
        module=node.module,
        op_class=family,
        family=family,
        dtype=dtype,
        flops=0,
        reads=reads,
        written=written,
        writes=node.created or node.written,
        strided=_strided(node) if family in {"elementwise", "movement"} else 0,
        gathered=_gathered(node) if family == "resample" else 0,
        row=row,
    )


def _reads(
    inputs: Sequence[TensorInfo], storages: Sequence[Storage]
) -> tuple[tuple[int, int], ...]:
    """Bytes read by storage: distinct tensors once each, at most what the storage holds."""
    if len(inputs) == 1:
        info = inputs[0]
        return ((info.storage, min(info.nbytes, storages[info.storage].nbytes)),)
    total: dict[int, int] = {}
    for info in dict.fromkeys(inputs):
        total[info.storage] = total.get(info.storage, 0) + info.nbytes
    return tuple((index, min(n, storages[index].nbytes)) for index, n in total.items())


def _grain(info: TensorInfo) -> int:
    """The fastest dimension of a tensor, counted from the last; 0 where strides are not known."""
    fastest, least = 0, 0
    for place, (size, stride) in enumerate(
        zip(reversed(info.shape), reversed(info.strides), strict=False)
    ):
        if size > 1 and stride > 0 and (least == 0 or stride < least):
            fastest, least = place, stride
    return fastest


def _is_contiguous(info: TensorInfo) -> bool:
    """Whether the elements lie in memory in order, the last dimension fastest."""
    expected = 1
    for size, stride in zip(reversed(info.shape), reversed(info.strides), strict=False):
        if size > 1 and stride != expected:
            return False
        expected *= size
    return True


def _strided(node: Node) -> int:
    """Bytes that an element-wise op or a copy reads across the grain of what it writes."""
    if not node.outputs:
        return 0
    output = node.outputs[0]
    follows = _grain(output)
    return sum(
        info.nbytes
        for info in node.inputs[node.op in _OVERWRITES :]
        if len(info.shape) == len(output.shape)
        and info.shape[-1 - follows] > 1
        and _grain(info) != follows
    )


#: Values that one result of an interpolation is made of, by what the op's name says.
_SUPPORT = {"nearest1d": 1, "nearest2d": 1, "linear1d": 2, "bilinear2d": 4, "bicubic2d": 16}


def _gathered(node: Node) -> int:
    """Values that a resampling or pooling reads for all its results together."""
    results = prod(node.shape)
    for kind, support in _SUPPORT.items():
        if node.op.endswith(f"_{kind}"):
            return support * results
    if node.op.startswith(("max_pool", "avg_pool")):
        kernel = tuple(_argument(node, 1, (1,)))
        window: tuple[int, ...] = kernel if len(kernel) > 1 else kernel * (len(node.shape) - 2)
        return results * prod(window)
    # Adaptive pooling: every value goes into one result, or a few.
    return max(results, *(prod(info.shape) for info in node.inputs))


def _argument(node: Node, position: int, default: Any) -> Any:
    positional = node.arguments[0]
    return positional[position] if len(positional) > position else default


def _convolution(
    node: Node, dtype: str, reads: tuple[tuple[int, int], ...], written: int
) -> NodeCost:
    image, weight = node.inputs[0].shape, node.inputs[1].shape
    kernel = weight[2:]
    named = node.op.endswith(("convolution", "overrideable"))
    transposed = bool(_argument(node, 6, False)) if named else False
    # aten::convolution(input, weight, bias, stride, padding, dilation, transposed, _, groups)
    groups = int(_argument(node, 8 if named else 6, 1))
    channels = image[-len(kernel) - 1]
    batch = prod(image[: -len(kernel) - 1])
    if transposed:
        pixels, columns = prod(image[-len(kernel) :]), prod(weight[1:])
    else:
        pixels, columns = prod(node.shape[-len(kernel) :]), weight[0] // groups
    depth = channels // groups * (1 if transposed else prod(kernel))
    product: Product | None = Product(groups, batch * pixels, columns, depth)
    flops = 2 * groups * batch * pixels * columns * depth
    if groups > 1:
        family = op_class = "depthwise" if groups == channels else "grouped"
        product = None if family == "depthwise" else product
    elif prod(kernel) == 1:
        family = op_class = "conv1x1"
    else:
        family = "conv"
        width = node.shape[-len(kernel) - 1]
        tile = next((str(t) for t in TILES if width <= t), "wide")
        op_class = f"conv{shape_text(kernel)}/{tile}"
    # cuDNN takes channels-last inputs as they are; PyTorch's own depthwise kernel does not.
    info = node.inputs[0]
    along = _grain(info) == 0
    copied = 0 if _is_contiguous(info) or (family != "depthwise" and not along) else info.nbytes
    # PyTorch's own depthwise kernel adds the bias as it goes.
    bias = written if len(node.inputs) > 2 and family != "depthwise" else 0
    return NodeCost(
        index=node.index,
        module=node.module,
        op_class=op_class,
        family=family,
        dtype=dtype,
        flops=flops,
        reads=reads,
        written=written,
        writes=node.created,
        strided=0 if along else copied,
        copied=copied,
        bias=bias,
        product=product,
        taps=1 if transposed else prod(kernel),
        channels=(channels, node.shape[-len(kernel) - 1]),
        channels_last=channels > 1 and _grain(info) == len(kernel),
    )


def _product(node: Node) -> Product:
    """The matrix product of a linear layer, `mm`, `bmm` or attention call."""
    if node.op in _ATTENTION:
        query, key, value = (node.inputs[i].shape for i in range(3))
        return Product(prod(query[:-2]), query[-2], key[-2], query[-1] + value[-1])
    left, right = (i.shape for i in node.inputs[node.op in _ADDED_PRODUCTS :][:2])
    if node.op == "addbmm":
        return Product(left[0], left[1], right[-1], left[-1])
    if node.op == "linear":
        return Product(1, prod(left[:-1]), right[0], left[-1])
    depth = left[-1]
    columns = right[-1] if len(right) > 1 else 1
    rows = left[-2] if len(left) > 1 else 1
    return Product(max(1, prod(node.shape) // (rows * columns)), rows, columns, depth)


def _family(node: Node) -> str:
    for family, ops in (
        ("movement", _MOVEMENT),
        ("norm", _NORM),
        ("reduction", _REDUCTION),
        ("resample", _RESAMPLE),
    ):
        if node.op in ops:
            return family
    return "elementwise" if _is_elementwise(node) else "other"


def _is_elementwise(node: Node) -> bool:
    """Whether the output has the shape that element-wise arithmetic of the inputs would have.

    Told by shapes, so that torch need not be asked: what has no matrix product, reduces nothing
    and keeps its shape costs what element-wise arithmetic costs.
    """
    shapes = [i.shape for i in node.inputs]
    if not shapes:
        return False
    result = [1] * max(map(len, shapes))
    for shape in shapes:
        for place, size in enumerate(reversed(shape)):
            if result[-1 - place] not in {size, 1} and size != 1:
                return False
            result[-1 - place] = max(result[-1 - place], size)
    return not node.outputs or all(o.shape == tuple(result) for o in node.outputs)
