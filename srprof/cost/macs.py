"""True multiply-accumulates of each ATen call, from its shapes.

A MAC is one multiplication whose product is added to a sum: convolutions, matrix products and
attention have them. Element-wise arithmetic, pooling, interpolation and data movement have none
by this definition and are listed as such. An op that is in neither table is *uncounted*: it is
reported, never taken for zero.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import prod

from srprof.records import Node

#: Op to its MACs.
RULES: dict[str, Callable[[Node], int]] = {}


def _rule(*ops: str) -> Callable[[Callable[[Node], int]], Callable[[Node], int]]:
    def register(function: Callable[[Node], int]) -> Callable[[Node], int]:
        for op in ops:
            RULES[op] = function
        return function

    return register


@_rule("convolution", "convolution_overrideable", "_convolution", "conv2d", "conv1d", "conv3d")
def _convolution(node: Node) -> int:
    """Each output element sums Cin/groups x k x k products.

    A transposed convolution spreads each input element over Cout/groups x k x k instead.
    """
    image, weight = node.inputs[0].shape, node.inputs[1].shape
    positional = node.arguments[0]
    transposed = node.op.endswith(("convolution", "overrideable")) and bool(positional[6])
    return prod(image if transposed else node.shape) * prod(weight[1:])


@_rule("mm", "bmm", "mv", "dot", "vdot", "matmul")
def _product(node: Node) -> int:
    """Output elements times the length of the sum behind each."""
    return prod(node.shape) * node.inputs[0].shape[-1]


@_rule("addmm", "baddbmm", "addmv")
def _added_product(node: Node) -> int:
    return prod(node.shape) * node.inputs[1].shape[-1]


@_rule("addbmm")
def _added_batch_product(node: Node) -> int:
    batch, rows, inner = node.inputs[1].shape
    return batch * rows * inner * node.inputs[2].shape[-1]


@_rule("linear")
def _linear(node: Node) -> int:
    return prod(node.shape) * node.inputs[1].shape[-1]


@_rule(
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_attention_math",
    "scaled_dot_product_attention",
)
def _attention(node: Node) -> int:
    """Queries against keys, then weights against values."""
    query, key, value = (node.inputs[i].shape for i in range(3))
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


#: Ops without a multiply-accumulate that torch does not tag as element-wise.
NO_MACS = frozenset(
    """
    cat stack constant_pad_nd reflection_pad1d reflection_pad2d replication_pad2d pixel_shuffle
    pixel_unshuffle channel_shuffle clone copy copy_ _to_copy contiguous index index_select gather
    scatter scatter_ index_put index_put_ index_copy_ slice_scatter select_scatter roll flip
    repeat repeat_interleave im2col tril triu fill fill_ zero_ masked_fill masked_fill_
    masked_select where one_hot lift_fresh lift_fresh_copy empty empty_like empty_strided
    new_empty new_empty_strided new_zeros new_ones new_full zeros zeros_like ones ones_like full
    full_like arange linspace scalar_tensor eye rand randn rand_like randn_like randint randperm
    normal_ uniform_ bernoulli bernoulli_ meshgrid _local_scalar_dense item resize_ set_ unbind
    max_pool2d max_pool2d_with_indices avg_pool1d avg_pool2d adaptive_avg_pool2d
    _adaptive_avg_pool2d adaptive_max_pool2d upsample_nearest1d upsample_nearest2d
    upsample_bilinear2d upsample_bicubic2d upsample_linear1d _upsample_bilinear2d_aa
    _upsample_bicubic2d_aa _upsample_nearest_exact2d sum mean amax amin max min argmax argmin any
    all std var var_mean std_mean norm linalg_vector_norm prod cumsum cumprod sort topk logsumexp
    _softmax _safe_softmax softmax _log_softmax native_batch_norm _native_batch_norm_legit
    _native_batch_norm_legit_no_training cudnn_batch_norm native_layer_norm native_group_norm
    batch_norm layer_norm nonzero unique2 _unique2 bucketize searchsorted native_dropout
    leaky_relu leaky_relu_ prelu _prelu_kernel rrelu_with_noise glu isfinite equal
    grid_sampler_2d complex col2im _foreach_add_ _foreach_mul_ embedding _assert_async
    _assert_scalar sym_size
    """.split()
)


@cache
def _is_elementwise(op: str, overload: str) -> bool:
    """Whether torch tags the op as element-wise."""
    import torch

    namespace, _, name = op.rpartition(".")
    packet = getattr(getattr(torch.ops, namespace or "aten"), name, None)
    function = getattr(packet, overload or "default", None)
    return function is not None and torch.Tag.pointwise in function.tags


def macs(node: Node) -> int | None:
    """Multiply-accumulates of a node; None if there is no rule for its op."""
    rule = RULES.get(node.op)
    if rule is not None:
        return rule(node)
    if node.op in NO_MACS or node.is_view or _is_elementwise(node.op, node.overload):
        return 0
    return None
