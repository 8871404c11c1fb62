"""One row for each ATen op: all that srprof knows of it. No torch.

Complexity, latency classes, workspace and advice look their facts up here. An op without a row is
told by its shapes and by torch's tags, its scratch is unknown, and it is advised nothing.

A multiply-accumulate (MAC) is one multiplication whose product is added to a sum: convolutions,
matrix products and attention have them, and nothing else. An op whose MACs no rule gives is
*uncounted*: it is reported, never taken for zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, Literal, NamedTuple, cast, get_args

from srprof.records import Node

#: Operation classes without kernel and width. `view` launches nothing: bare allocations and
#: questions about shapes too.
Family = Literal[
    "conv", "conv1x1", "grouped", "depthwise", "matmul", "elementwise", "reduction", "resample",
    "movement", "norm", "other", "view",
]  # fmt: skip

#: What a device profile's memory efficiencies are keyed by.
FAMILIES: tuple[Family, ...] = tuple(f for f in get_args(Family) if f != "view")
CONVOLUTIONS = FAMILIES[:4]
#: Input channels below which cuDNN leaves a convolution to the other cores.
FEWEST_IN_TENSOR_CORES = 16
#: Bytes of a pixel's channels that cuDNN's kernels in tensor cores take at once, and fill up to,
#: and channels that some take at once in maps with channels innermost.
VECTOR = 16
FEWEST_AT_ONCE = 4

#: Scratch that a CUDA kernel takes: none beside inputs and outputs; PyTorch's own copies of maps in
#: another layout; a workspace of cuBLAS's, and
#: one of cuBLASLt's where a bias is added in the same kernel, which are taken at the first such
#: call and kept; cuDNN's and cuFFT's, which rules give.
Scratch = Literal["none", "aten", "cublas", "cublaslt", "cudnn", "cufft", "unknown"]

#: How a call is written so that it changes its input: `x.relu_()`, `F.silu(x, inplace=True)`, or,
#: of what Python has an operator for, `x.add_(y)`.
InPlace = Literal["method", "function", "operator"]


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
class Op:
    """What is known of an op.

    Attributes:
        family: what it costs, or a function that tells it from the operands; None where the
            shapes tell: element-wise if the result is as broadcasting makes it, else other.
        product: of a call's operands; None has no multiply-accumulates.
        counted: a rule gives its MACs, `product` or none at all.
        scratch: that its CUDA kernels take.
        overwrites: its first argument is overwritten without having been read.
        in_place: how an element-wise call is written so that it changes its input; None if it
            cannot be, or nobody has looked. commutative: its second input may be changed too.
        gathers: values that a resampling or pooling reads for all results, each as often as read.
        serial: reads that a thread of a resampling or pooling does one after another.
        row: elements over which one result of a layer norm is computed.
        same_as: the op that it is where another library computes the same call.
        variant: which of its kernels computes a call, where that is not told by shapes alone.
        waits: the program needs its result, or the size of that, before it goes on.
    """

    family: Family | Callable[[Node], Family] | None = None
    product: Callable[[Node], Product] | None = None
    counted: bool = True
    scratch: Scratch = "unknown"
    overwrites: bool = False
    in_place: InPlace | None = None
    commutative: bool = False
    gathers: Callable[[Node], int] | None = None
    serial: Callable[[Node], int] | None = None
    row: Callable[[Node], int] | None = None
    same_as: str = ""
    variant: Callable[[Node], str] | None = None
    waits: bool = False

    def macs(self, node: Node) -> int | None:
        """Multiply-accumulates of a call; None where no rule gives them."""
        if node.ruled is not None:
            return node.ruled.macs
        if self.product is not None:
            return prod(self.product(node))
        return 0 if self.counted else None

    def family_of(self, node: Node) -> Family:
        """The family of a call."""
        if node.ruled is not None:
            return cast(Family, node.ruled.family)
        if callable(self.family):
            return self.family(node)
        return self.family or ("elementwise" if _is_elementwise(node) else "other")


#: What is known of an op without a row.
UNKNOWN = Op(counted=False)
#: The rows, by op: `convolution` for `aten::convolution`, other libraries with their namespace.
OPS: dict[str, Op] = {}


def row(op: str) -> Op:
    """What is known of an op; of one that writes into its argument, as of the one that does not."""
    return OPS.get(op) or OPS.get(op.removesuffix("_"), UNKNOWN)


def add(names: str, facts: Op) -> None:
    """Give each op its row; a ValueError if one has a row already, and the table is as it was."""
    ops = names.split()
    twice = sorted({op for op in ops if op in OPS or ops.count(op) > 1})
    if twice:
        raise ValueError(f"more than one row in the table of ops: {', '.join(twice)}")
    OPS.update(dict.fromkeys(ops, facts))


def argument(node: Node, position: int, default: Any) -> Any:
    """A positional argument of a call; the default where it was left out."""
    positional = node.arguments[0]
    return positional[position] if len(positional) > position else default


def _is_elementwise(node: Node) -> bool:
    """Whether the output has the shape that element-wise arithmetic of the inputs would have.

    What keeps its shape costs what element-wise arithmetic costs; torch need not be asked.
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


# -- convolutions -------------------------------------------------------------------------------


def transposed_and_groups(node: Node) -> tuple[bool, int]:
    """Of a convolution: whether it is transposed, and its groups."""
    # aten::convolution(input, weight, bias, stride, padding, dilation, transposed, _, groups);
    # conv2d and its like end with the groups
    positional = node.arguments[0]
    if len(positional) > 8:
        return bool(positional[6]), int(positional[8])
    return False, int(argument(node, 6, 1))


def _convolution(node: Node) -> Product:
    """Each output element sums Cin/groups x k x k products.

    A transposed convolution spreads each input element over Cout/groups x k x k instead.
    """
    image, weight = node.inputs[0].shape, node.inputs[1].shape
    transposed, groups = transposed_and_groups(node)
    sides = len(weight) - 2
    batch, channels = prod(image[: -sides - 1]), image[-sides - 1]
    if transposed:
        pixels = batch * prod(image[-sides:])
        return Product(groups, pixels, prod(weight[1:]), channels // groups)
    return Product(groups, batch * prod(node.shape[-sides:]), weight[0] // groups, prod(weight[1:]))


def _convolution_family(node: Node) -> Family:
    weight = node.inputs[1].shape
    _, groups = transposed_and_groups(node)
    if groups > 1:
        return "depthwise" if groups == node.inputs[0].shape[1 - len(weight)] else "grouped"
    return "conv1x1" if prod(weight[2:]) == 1 else "conv"


#: Sides of square kernels that PyTorch has depthwise convolutions of their own for.
_OWN_SIDES = (1, 3, 5)


def depthwise_variant(kernel: Sequence[int]) -> str:
    """Whether a depthwise convolution goes through PyTorch's kernel for any shape."""
    return "" if len(set(kernel)) == 1 and kernel[0] in _OWN_SIDES else "any shape"


def _convolution_variant(node: Node) -> str:
    depthwise = _convolution_family(node) == "depthwise"
    return depthwise_variant(node.inputs[1].shape[2:]) if depthwise else ""


_CONVOLUTION = partial(Op, _convolution_family, _convolution, variant=_convolution_variant)
add("convolution", _CONVOLUTION(scratch="cudnn"))
add("convolution_overrideable _convolution conv1d conv2d conv3d", _CONVOLUTION())

# -- matrix products ----------------------------------------------------------------------------


def _matmul(node: Node, first: int = 0) -> Product:
    """Of two operands, from the first on; what is added to the product stands before them."""
    left, right = (info.shape for info in node.inputs[first : first + 2])
    rows = left[-2] if len(left) > 1 else 1
    columns = right[-1] if len(right) > 1 else 1
    batch = node.shape[: len(node.shape) - (len(left) > 1) - (len(right) > 1)]
    return Product(prod(batch), rows, columns, left[-1])


def _addbmm(node: Node) -> Product:
    """The batch is summed."""
    (batch, rows, depth), right = (info.shape for info in node.inputs[1:3])
    return Product(batch, rows, right[-1], depth)


def _outer(node: Node) -> Product:
    """Every element of one vector against every one of the other."""
    rows, columns = node.shape
    return Product(1, rows, columns, 1)


def _linear(node: Node) -> Product:
    image, weight = (info.shape for info in node.inputs[:2])
    return Product(1, prod(image[:-1]), *weight)


def _attention(node: Node) -> Product:
    """Queries against keys, then weights against values."""
    query, key, value = (info.shape for info in node.inputs[:3])
    return Product(prod(query[:-2]), query[-2], key[-2], query[-1] + value[-1])


def _multi_head(node: Node) -> Product:
    """Three projections, attention, and one projection."""
    batch, tokens, width = node.inputs[0].shape
    return Product(1, batch * tokens, width, 4 * width + 2 * tokens)


def _encoder_layer(node: Node) -> Product:
    """The same, and two linear layers."""
    attended, hidden = _multi_head(node), node.inputs[9].shape[0]
    return attended._replace(depth=attended.depth + 2 * hidden)


_CUBLAS = partial(Op, "matmul", scratch="cublas")
add("mm bmm mv dot", _CUBLAS(_matmul))
add("vdot matmul", Op("matmul", _matmul))
add("baddbmm addmv", _CUBLAS(partial(_matmul, first=1)))
add("addmm _addmm_activation", _CUBLAS(partial(_matmul, first=1), scratch="cublaslt"))
add("addbmm", _CUBLAS(_addbmm))
add("addr", Op("matmul", _outer))
add("linear", _CUBLAS(_linear))
add(
    "_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_attention_math "
    "scaled_dot_product_attention",
    Op("matmul", _attention),
)
add(
    "_scaled_dot_product_cudnn_attention",
    Op("matmul", _attention, same_as="_scaled_dot_product_flash_attention"),
)
add("_native_multi_head_attention", Op("matmul", _multi_head))
add("_transformer_encoder_layer_fwd", Op("matmul", _encoder_layer))

# -- element-wise arithmetic --------------------------------------------------------------------

_ELEMENTWISE = partial(Op, "elementwise")
_KNOWN = partial(_ELEMENTWISE, scratch="none")
add("add mul", _KNOWN(in_place="operator", commutative=True))
add("sub div", _KNOWN(in_place="operator"))
add("abs clamp clamp_min exp neg relu rsqrt sigmoid sqrt tanh", _KNOWN(in_place="method"))
add("hardsigmoid hardswish leaky_relu silu", _KNOWN(in_place="function"))
add("add_ sub_ mul_ div_ clamp_ leaky_relu_ relu_ sigmoid_ silu_ tanh_", _KNOWN())
add("gelu pow _prelu_kernel", _KNOWN())
add("ceil clamp_max erf floor log reciprocal round square", _ELEMENTWISE(in_place="method"))
add("elu hardtanh mish", _ELEMENTWISE(in_place="function"))
add("atan2 cos eq ge gt le lt maximum minimum ne remainder rsub sin where", _ELEMENTWISE())
add("linalg_cross log_sigmoid_forward", _ELEMENTWISE())
add("prelu", Op(scratch="none"))

# -- reductions and norms -----------------------------------------------------------------------


def _along(node: Node, position: int = 1) -> str:
    """Whether what is reduced lies together in memory, or across."""
    dims = argument(node, position, None)
    sides = len(node.inputs[0].shape) if node.inputs else 0
    last = dims if isinstance(dims, int) else max((d % sides for d in dims or ()), default=-1)
    return "together" if not sides or last % sides == sides - 1 else "across"


_REDUCTION = partial(Op, "reduction")
add("sum mean amax amin any all var var_mean std std_mean prod", _REDUCTION(variant=_along))
add("linalg_vector_norm norm", _REDUCTION(variant=partial(_along, position=2)))
add(
    "max min argmax argmin cumsum cumprod cummax cummin logcumsumexp sort topk logsumexp median "
    "kthvalue mode aminmax",
    _REDUCTION(),
)
_NORM = partial(Op, "norm")


def _grouped(node: Node) -> int:
    """PyTorch gives each group to one block, each thread of which divides for every value."""
    images, groups = node.inputs[0].shape[0], argument(node, 6, 1)
    reads: int = _DIVISION * prod(node.shape) // max(1, images * groups * _GROUP_THREADS)
    return reads


#: Threads of a block of PyTorch's group norm, and reads of a pooling that one of its steps takes as
#: long as: 200 to 390 ns (NVIDIA H200).
_GROUP_THREADS, _DIVISION = 512, 10
add("native_group_norm", _NORM(serial=_grouped))
add("softmax _softmax _safe_softmax _log_softmax", _NORM(variant=_along))
_BATCH_NORM = _NORM(variant=lambda node: "training" if argument(node, 5, False) is True else "")
add("native_batch_norm", _BATCH_NORM)
add(
    "_native_batch_norm_legit _native_batch_norm_legit_no_training batch_norm layer_norm "
    "_weight_norm_interface renorm",
    _NORM(),
)
add("cudnn_batch_norm", Op("norm", same_as="native_batch_norm"))
add("native_layer_norm", Op("norm", row=lambda node: prod(argument(node, 1, ()))))

# -- resampling and pooling ---------------------------------------------------------------------


def window(node: Node) -> tuple[int, ...]:
    """The sides of what one result of a pooling is made of."""
    sides = tuple(argument(node, 1, (1,)))
    return sides if len(sides) > 1 else sides * (len(node.shape) - 2)


def windows(node: Node) -> int:
    """The values of all windows of a pooling."""
    return prod(node.shape) * prod(window(node))


def _each(values: int) -> Callable[[Node], int]:
    """So many values for each result."""
    return lambda node: values * prod(node.shape)


def _whole(node: Node) -> int:
    """Every value goes into one result, or a few."""
    return max(prod(node.shape), *(prod(info.shape) for info in node.inputs))


def _adaptive(node: Node) -> int:
    """PyTorch gives each map to a block or a few, and each thread so many results of it."""
    *maps, height, width = node.inputs[0].shape
    rows, columns = node.shape[-2:]
    blocks = max(1, _LEAST_BLOCKS // max(1, prod(maps)))
    results = -(-rows // (_BLOCK[0] * blocks)) * -(-columns // _BLOCK[1])
    return results * _reads(-(-height // max(rows, 1)), -(-width // max(columns, 1)))


def _window(node: Node) -> int:
    """A thread makes one result."""
    *sides, width = window(node)
    return _reads(prod(sides), width)


def _reads(rows: int, width: int) -> int:
    """Reads of a window, one that misses the nearest cache counted as several that hit it."""
    return rows * (width + _MISS * (1 + -(-width // _SECTOR)))


#: Rows and columns of threads in a block of PyTorch's adaptive pooling, and its blocks at least.
_BLOCK, _LEAST_BLOCKS = (8, 32), 16
#: Values that are fetched together, and how many hits a miss takes as long as.
_SECTOR, _MISS = 8, 5

_RESAMPLE = partial(Op, "resample")
add("upsample_nearest2d", _RESAMPLE(gathers=_each(1), scratch="aten"))
add("upsample_bilinear2d", _RESAMPLE(gathers=_each(4), scratch="none"))
add("upsample_bicubic2d", _RESAMPLE(gathers=_each(16), scratch="none"))
add(
    "upsample_nearest1d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact3d",
    _RESAMPLE(gathers=_each(1)),
)
add("upsample_linear1d", _RESAMPLE(gathers=_each(2)))
add("upsample_trilinear3d", _RESAMPLE(gathers=_each(8)))
add(
    "max_pool2d_with_indices avg_pool2d",
    _RESAMPLE(gathers=windows, serial=_window, scratch="none"),
)
add(
    "adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d",
    _RESAMPLE(gathers=_whole, serial=_adaptive),
)
add("max_pool2d avg_pool1d max_pool3d_with_indices avg_pool3d", _RESAMPLE(gathers=windows))
add(
    "adaptive_avg_pool3d _adaptive_avg_pool3d adaptive_max_pool3d fractional_max_pool2d "
    "fractional_max_pool3d max_unpool2d max_unpool3d grid_sampler_2d grid_sampler_3d "
    "_upsample_nearest_exact2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa",
    _RESAMPLE(gathers=_whole),
)

# -- movement -----------------------------------------------------------------------------------

_MOVEMENT = partial(Op, "movement")
add(
    "cat stack constant_pad_nd reflection_pad2d replication_pad2d pixel_shuffle pixel_unshuffle "
    "clone _to_copy zeros zeros_like ones ones_like full",
    _MOVEMENT(scratch="none"),
)
add("copy_ fill_ zero_", _MOVEMENT(scratch="none", overwrites=True))
add("normal_ uniform_", _MOVEMENT(overwrites=True))
add(
    "reflection_pad1d replication_pad1d reflection_pad3d replication_pad3d channel_shuffle copy "
    "contiguous index index_select gather take scatter scatter_ scatter_add scatter_add_ "
    "index_add index_add_ index_put index_put_ index_copy_ slice_scatter select_scatter roll "
    "flip rot90 repeat repeat_interleave im2col col2im tril triu tril_ triu_ "
    "masked_fill masked_fill_ fill zero full_like new_zeros new_ones new_full arange linspace "
    "eye one_hot embedding rand randn rand_like randn_like",
    _MOVEMENT(),
)

add("masked_select", _MOVEMENT(waits=True))

# -- what launches nothing ----------------------------------------------------------------------

add(
    "_reshape_alias _unsafe_view alias as_strided detach diagonal expand permute select slice "
    "split split_with_sizes squeeze t transpose unbind unfold unsqueeze view view_as_complex "
    "view_as_real",
    Op("view"),
)
add("empty", Op("view", scratch="none"))
# a tensor is changed, and what it shows stays where it is
add("as_strided_ squeeze_ t_ transpose_ unsqueeze_", Op("view", scratch="none"))
add(
    "empty_like empty_strided new_empty new_empty_strided resize_ resize_as_ set_ lift_fresh "
    "scalar_tensor sym_size sym_stride sym_numel _assert_async _assert_scalar "
    "_assert_tensor_metadata",
    Op("view"),
)

# -- the rest: what they cost is told by their shapes -------------------------------------------

add("bernoulli_ exponential_", Op(overwrites=True))
add(
    "_foreach_add_ _foreach_mul_ bucketize searchsorted isfinite complex glu native_dropout "
    "rrelu_with_noise bernoulli randint randperm meshgrid lift_fresh_copy",
    Op(),
)
add("_local_scalar_dense item nonzero unique2 _unique2 equal", Op(waits=True))
add("_fft_r2c _fft_c2r _fft_c2c", Op(counted=False, scratch="cufft"))
