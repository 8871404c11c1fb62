"""Attention on meta tensors, as a GPU would run it.

`scaled_dot_product_attention` is a composite call. On CUDA it becomes one fused kernel that never
holds the matrix of weights; on the meta device torch takes it apart into the unfused path, whose
matrices of L x S can be the largest thing in the network. torch refuses kernels of others for
composite calls, and its fake CUDA tensors take the unfused path too, so `attention` stands in for
torch's function while such a network is traced (`fused.py`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from srprof.tracing.autocast import emulation

NOTE = (
    "attention is traced as CUDA's fused kernels, as a GPU from Ampere on takes them (Hopper has "
    "cuDNN's in half precision); on other GPUs its matrices of weights may come on top"
)

ORIGINAL = F.scaled_dot_product_attention
_HALF = (torch.float16, torch.bfloat16)
#: Flash attention's widest head, and what a width must be a multiple of, else it is filled up.
_FLASH_WIDTH, FLASH_MULTIPLE = 256, 8
#: What heads of the memory-efficient kernel must be a multiple of, from Ampere on; a mask's rows.
WIDTH_MULTIPLE = {torch.float32: 4, torch.float16: 8, torch.bfloat16: 8}
_MASK_MULTIPLE = 8


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The fused kernel that CUDA prefers for these operands, or torch's own choice.

    Calls and bytes are as an H100 was seen to make them (tests/integration/test_random_cuda.py).
    """
    fusible = query.device.type == "meta" and query.dim() == key.dim() == value.dim() == 4
    if not fusible or enable_gqa or dropout_p or (is_causal and attn_mask is not None):
        return ORIGINAL(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    cast = emulation()
    if cast is not None:
        query, key, value, attn_mask = cast.cast_to_lower(query, key, value, attn_mask)
    same_batch = query.shape[:2] == key.shape[:2] == value.shape[:2]
    width = query.shape[-1]
    if same_batch and width == key.shape[-1]:
        flash = query.dtype in _HALF and width == value.shape[-1] <= _FLASH_WIDTH
        if attn_mask is None and flash:
            return _flash(query, key, value, is_causal, scale)
        multiple = WIDTH_MULTIPLE.get(query.dtype, 0)
        if multiple and not width % multiple and not value.shape[-1] % multiple:
            return _efficient(query, key, value, attn_mask, is_causal, scale)
    return ORIGINAL(query, key, value, attn_mask, dropout_p, is_causal, scale=scale)


def _flash(
    query: Tensor, key: Tensor, value: Tensor, is_causal: bool, scale: float | None
) -> Tensor:
    """Flash attention, the heads filled up to a multiple of eight."""
    width = query.shape[-1]
    missing = -width % FLASH_MULTIPLE
    parts = [query, key, value]
    if missing:
        scale = width**-0.5 if scale is None else scale
        parts = [F.pad(part, (0, missing)) for part in parts]
    kernel = torch.ops.aten._scaled_dot_product_flash_attention
    results = kernel(*parts, 0.0, is_causal, False, scale=scale)  # all held until it returns
    result: Tensor = results[0][..., :width] if missing else results[0]
    return result


def _efficient(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    is_causal: bool,
    scale: float | None,
) -> Tensor:
    """The memory-efficient kernel, which takes a mask in the operands' dtype and aligned."""
    kernel = torch.ops.aten._scaled_dot_product_efficient_attention
    bias = mask
    if mask is not None and mask.dtype is torch.bool:
        zero, never = (
            torch.scalar_tensor(number, dtype=query.dtype, device=mask.device)
            for number in (0.0, float("-inf"))
        )
        bias = torch.where(mask, zero, never)
        del zero, never
    aligned = None if bias is None else _aligned(bias).expand(*query.shape[:-1], key.shape[-2])
    result: Tensor = kernel(query, key, value, aligned, False, 0.0, is_causal, scale=scale)[0]
    return result


def _aligned(bias: Tensor) -> Tensor:
    """A mask whose rows begin at multiples of eight elements; the one given is held meanwhile."""
    strides = bias.stride()
    if strides[-1] == 1 and not any(stride % _MASK_MULTIPLE for stride in strides[:-1]):
        return bias
    length = bias.shape[-1]
    return F.pad(bias, (0, _MASK_MULTIPLE - length % _MASK_MULTIPLE))[..., :length]
