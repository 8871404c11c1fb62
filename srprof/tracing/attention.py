"""Attention on meta tensors, as a GPU would run it.

`scaled_dot_product_attention` is a composite call. On CUDA it becomes one fused kernel that never
holds the matrix of weights; on the meta device torch takes it apart into the unfused path, whose
matrices of L x S can be the largest thing in the network. torch refuses kernels of others for
composite calls, and its fake CUDA tensors take the unfused path too, so the Python function itself
stands aside while such a network is traced.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from srprof.tracing.autocast import emulation

#: The op that only torch's unfused path makes.
UNFUSED = "_safe_softmax"

NOTE = (
    "attention is traced as CUDA's fused kernels; where a GPU or a head size does not allow them, "
    "its matrices of weights come on top"
)

_ORIGINAL = F.scaled_dot_product_attention
_HALF = (torch.float16, torch.bfloat16)
#: Flash attention's widest head.
_FLASH_WIDTH = 256


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The fused kernel that CUDA prefers for these operands, or torch's own choice."""
    fusible = query.device.type == "meta" and query.dim() == key.dim() == value.dim() == 4
    if not fusible or enable_gqa or dropout_p or (is_causal and attn_mask is not None):
        return _ORIGINAL(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    cast = emulation()
    if cast is not None:
        query, key, value, attn_mask = cast.cast_to_lower(query, key, value, attn_mask)
    aten = torch.ops.aten
    same_batch = query.shape[:2] == key.shape[:2] == value.shape[:2]
    if not same_batch or query.shape[-1] != key.shape[-1]:
        return _ORIGINAL(query, key, value, attn_mask, dropout_p, is_causal, scale=scale)
    if attn_mask is None and query.dtype in _HALF and query.shape[-1] <= _FLASH_WIDTH:
        flash = aten._scaled_dot_product_flash_attention
        return flash(query, key, value, 0.0, is_causal, False, scale=scale)[0]  # type: ignore[no-any-return]
    if attn_mask is not None:
        if attn_mask.dtype is torch.bool:
            bias = torch.zeros_like(attn_mask, dtype=query.dtype)
            attn_mask = bias.masked_fill_(attn_mask.logical_not(), float("-inf"))
        attn_mask = attn_mask.expand(*query.shape[:-1], key.shape[-2])
    efficient = aten._scaled_dot_product_efficient_attention
    return efficient(query, key, value, attn_mask, False, 0.0, is_causal, scale=scale)[0]  # type: ignore[no-any-return]


@contextmanager
def fused_attention() -> Iterator[None]:
    """Put the fused choice in the place of torch's function, wherever it was imported to."""
    places: list[tuple[ModuleType, str]] = []
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType) and module.__name__ != __name__:
            names = [name for name, value in list(vars(module).items()) if value is _ORIGINAL]
            places.extend((module, name) for name in names)
    for module, name in places:
        setattr(module, name, _attention)
    try:
        yield
    finally:
        for module, name in places:
            setattr(module, name, _ORIGINAL)
