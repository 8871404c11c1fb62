"""The fast paths of torch's own attention modules, as CUDA takes them.

In evaluation mode and without gradients `nn.MultiheadAttention` and `nn.TransformerEncoderLayer`
leave their Python code for one call each, `_native_multi_head_attention` and
`_transformer_encoder_layer_fwd`. They do so for tensors on the CPU and on CUDA, not on meta, and
never while a mode of torch's functions is active. Here are the conditions as they are without
srprof, and the calls that CUDA's kernels of the two make inside (torch 2.13,
`aten/src/ATen/native/transformers/`), so that their memory is seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
import torch.overrides
import torch.utils.backend_registration
from torch import Tensor, nn
from torch.nn.modules import activation
from torch.overrides import _get_current_function_mode_stack

from srprof.blame import module_name
from srprof.running import replaced
from srprof.tracing.attention import FLASH_MULTIPLE, WIDTH_MULTIPLE, attention

#: Modules of torch's that have a fast path.
MODULES = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
#: Their ops; in an encoder layer's, linear layers are called without their modules.
OPS = ("_native_multi_head_attention", ENCODER_LAYER := "_transformer_encoder_layer_fwd")

NOTE = (
    "torch's own attention takes its fast path, as in evaluation mode on CUDA: shown are the calls "
    "inside _native_multi_head_attention and _transformer_encoder_layer_fwd"
)

#: Where modes of torch's functions come from that are not the caller's.
_NOT_THE_CALLERS = ("srprof.", "torch._export.", "torch.export.", "torch.fx.")
_DISABLED = torch._C._disabled_torch_function_impl


def fast_paths() -> AbstractContextManager[None]:
    """Have torch's modules decide as they would on CUDA, for meta tensors and in an export too."""
    return replaced(
        [
            (torch.overrides, "has_torch_function", _has_own_function),
            (activation, "_is_make_fx_tracing", lambda: False),
            (torch.utils.backend_registration, "_privateuse1_backend_name", "meta"),
        ]
    )


def _has_own_function(values: Iterable[Any]) -> bool:
    """Whether one has a `__torch_function__` of its own, or a mode of the caller's is active."""
    modes = _get_current_function_mode_stack()
    if not all(module_name(type(mode)).startswith(_NOT_THE_CALLERS) for mode in modes):
        return True
    kinds = {type(value) for value in values} - {Tensor}
    functions = (getattr(kind, "__torch_function__", _DISABLED) for kind in kinds)
    return any(function is not _DISABLED for function in functions)


def multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim: int,
    num_head: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    mask: Tensor | None = None,
    need_weights: bool = True,
    average_attn_weights: bool = True,
    mask_type: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The calls inside `_native_multi_head_attention` of (batch, tokens, width) on CUDA."""
    batch, tokens = query.shape[:2]
    heads = num_head, embed_dim // num_head
    bare = not need_weights and (mask is None or mask.shape[-2:] == (tokens, tokens))
    if bare and query.dtype in WIDTH_MULTIPLE and not heads[1] % FLASH_MULTIPLE:
        packed = F.linear(query, qkv_weight, qkv_bias)
        query, key, value = (
            part.unflatten(-1, heads).transpose(1, 2) for part in packed.chunk(3, -1)
        )
        context = attention(query, key, value, mask)
        merged = context.transpose(1, 2).reshape(batch, -1, embed_dim)
        return F.linear(merged, proj_weight, proj_bias), None
    packed = torch.add(F.linear(query, qkv_weight), qkv_bias)  # ordered anew in the same kernel
    query, key, value = packed.view(3, batch * num_head, tokens, heads[1])
    weights = torch.bmm(query, key.transpose(1, 2))
    if mask is None:
        weights = torch.ops.aten._softmax.out(weights, -1, False, out=weights)
    else:
        mask = mask.to(torch.bool)
        weights = torch.softmax(weights, -1)
    context = torch.bmm(weights, value, out=query).view(batch, num_head, tokens, heads[1])
    merged = context.transpose(1, 2).contiguous().view(batch * tokens, embed_dim)
    if not need_weights:
        del weights
    result = F.linear(merged, proj_weight, proj_bias).view(batch, tokens, -1)
    if not need_weights:
        return result, None
    weights = weights.view(batch, num_head, tokens, tokens)
    return result, weights.sum(1).div_(num_head) if average_attn_weights else weights


def encoder_layer(
    src: Tensor,
    embed_dim: int,
    num_heads: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    use_gelu: bool,
    norm_first: bool,
    eps: float,
    norm_weight_1: Tensor,
    norm_bias_1: Tensor,
    norm_weight_2: Tensor,
    norm_bias_2: Tensor,
    ffn_weight_1: Tensor,
    ffn_bias_1: Tensor,
    ffn_weight_2: Tensor,
    ffn_bias_2: Tensor,
    mask: Tensor | None = None,
    mask_type: int | None = None,
) -> Tensor:
    """The calls inside `_transformer_encoder_layer_fwd` of (batch, tokens, width) on CUDA."""

    def norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.layer_norm(x, (embed_dim,), weight, bias, eps)

    x = norm(src, norm_weight_1, norm_bias_1) if norm_first else src
    projections = qkv_weight, qkv_bias, proj_weight, proj_bias
    x = multi_head_attention(x, x, x, embed_dim, num_heads, *projections, mask, need_weights=False)[
        0
    ]
    x = x.add_(src)
    if not norm_first:
        x = norm(x, norm_weight_1, norm_bias_1)
    attended = x
    if norm_first:
        x = norm(x, norm_weight_2, norm_bias_2)
    x = x.view(-1, embed_dim)
    x = torch._addmm_activation(ffn_bias_1, x, ffn_weight_1.t(), use_gelu=use_gelu)
    x = torch.addmm(ffn_bias_2, x, ffn_weight_2.t()).view(src.shape)
    x = x.add_(attended)
    return x if norm_first else norm(x, norm_weight_2, norm_bias_2)
