"""Output shapes of the commonest calls, without torch's own kernels for the meta device.

torch answers most calls on meta tensors in Python, by reference implementations: the first one
imports sympy and torch._dynamo (about a second), and a bilinear interpolation takes 5 ms each
time. For plain cases of a few ops the answer is simple, and is given here. Whatever is not
plain, or wrong, goes to torch, whose answer and whose error message count: `shortcut` gives
`NotImplemented`. A test holds every shortcut against torch's own kernel and against the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_Shortcut = Callable[..., Any]
_aten = torch.ops.aten


def _plain(tensor: Any) -> bool:
    return (
        isinstance(tensor, Tensor)
        and tensor.device.type == "meta"
        and tensor.dtype.is_floating_point
    )


def _is_also(tensor: Tensor, memory_format: torch.memory_format) -> bool:
    """Contiguous in this format too, as 1x1 sizes and single channels are."""
    return tensor.dim() == 4 and tensor.is_contiguous(memory_format=memory_format)


def _like_first(first: Any, *others: Any, **options: Any) -> Any:
    """Element-wise, result like the first operand; the others are numbers or just like it."""
    if not _plain(first):
        return NotImplemented
    for other in (*others, *options.values()):
        if isinstance(other, Tensor) and not (
            other.shape == first.shape
            and other.dtype == first.dtype
            and other.device == first.device
            and other.stride() == first.stride()
        ):
            return NotImplemented
    if first.is_contiguous():
        return first.new_empty(first.shape)
    if _is_also(first, torch.channels_last):
        return first.new_empty_strided(first.shape, first.stride())
    return NotImplemented


def _in_first(first: Any, *others: Any, **options: Any) -> Any:
    """Element-wise, written into the first operand."""
    if not _plain(first):
        return NotImplemented
    for other in (*others, *options.values()):
        if isinstance(other, Tensor) and not (
            other.shape == first.shape and other.dtype == first.dtype
        ):
            return NotImplemented
    return first


def _convolution(
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
) -> Any:
    """A valid 2-d convolution of a contiguous image with a contiguous weight."""
    if transposed or not (_plain(image) and _plain(weight)) or image.dim() != 4:
        return NotImplemented
    if weight.dim() != 4 or weight.dtype != image.dtype:
        return NotImplemented
    if not (image.is_contiguous() and weight.is_contiguous()):
        return NotImplemented
    channels_last = torch.channels_last
    if _is_also(image, channels_last) or _is_also(weight, channels_last):
        return NotImplemented
    batch, channels, *size = image.shape
    out_channels, group_channels, *kernel = weight.shape
    if groups < 1 or channels != group_channels * groups or out_channels % groups:
        return NotImplemented
    if bias is not None and not (_plain(bias) and bias.shape == (out_channels,)):
        return NotImplemented
    if not len(stride) == len(padding) == len(dilation) == 2 or min(*stride, *dilation) < 1:
        return NotImplemented
    out = [
        (size[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        for i in range(2)
    ]
    if min(padding) < 0 or min(batch, *out) < 1:
        return NotImplemented
    return image.new_empty((batch, out_channels, *out))


def _upsample(image: Tensor, size: Any, align: bool, scales: Any, *_: Any) -> Any:
    """Interpolation of a contiguous image to a given size."""
    if not _plain(image) or image.dim() != 4 or size is None or len(size) != 2:
        return NotImplemented
    if not image.is_contiguous() or _is_also(image, torch.channels_last) or min(size) < 1:
        return NotImplemented
    return image.new_empty((*image.shape[:2], *size))


def _pixel_shuffle(image: Tensor, factor: int) -> Any:
    """Depth to space of a contiguous image."""
    if not _plain(image) or image.dim() != 4 or factor < 1 or image.shape[1] % factor**2:
        return NotImplemented
    if not image.is_contiguous() or _is_also(image, torch.channels_last):
        return NotImplemented
    batch, channels, height, width = image.shape
    return image.new_empty((batch, channels // factor**2, height * factor, width * factor))


def _cat(tensors: Any, dim: int = 0) -> Any:
    """Concatenation of contiguous 4-d tensors that agree in all but one dimension."""
    if not all(
        _plain(t) and t.dim() == 4 and t.is_contiguous() and not _is_also(t, torch.channels_last)
        for t in tensors
    ):
        return NotImplemented
    first = tensors[0]
    if not -4 <= dim < 4 or any(t.dtype != first.dtype for t in tensors):
        return NotImplemented
    dim %= 4
    rest = {(*t.shape[:dim], *t.shape[dim + 1 :]) for t in tensors}
    if len(rest) != 1 or not all(first.shape):
        return NotImplemented
    shape = list(first.shape)
    shape[dim] = sum(t.shape[dim] for t in tensors)
    return first.new_empty(shape)


#: Calls whose result is just like their first operand.
_UNARY = (
    _aten.relu,
    _aten.leaky_relu,
    _aten.elu,
    _aten.gelu,
    _aten.silu,
    _aten.mish,
    _aten.softplus,
    _aten.hardtanh,
    _aten.hardswish,
    _aten.hardsigmoid,
    _aten.sigmoid,
    _aten.tanh,
    _aten.exp,
    _aten.sqrt,
    _aten.rsqrt,
    _aten.abs,
    _aten.neg,
    _aten.clamp,
)
_BINARY = (_aten.add, _aten.sub, _aten.mul, _aten.div)
_BINARY_INPLACE = (_aten.add_, _aten.sub_, _aten.mul_, _aten.div_)
_UNARY_INPLACE = (_aten.relu_, _aten.leaky_relu_, _aten.silu_, _aten.sigmoid_, _aten.clamp_)

SHORTCUTS: dict[Any, _Shortcut] = {
    **{packet.default: _like_first for packet in _UNARY},
    **{packet.Tensor: _like_first for packet in _BINARY},
    **{packet.Tensor: _in_first for packet in _BINARY_INPLACE},
    **{packet.default: _in_first for packet in _UNARY_INPLACE},
    _aten.convolution.default: _convolution,
    _aten.upsample_bilinear2d.vec: _upsample,
    _aten.upsample_bicubic2d.vec: _upsample,
    _aten.pixel_shuffle.default: _pixel_shuffle,
    _aten.cat.default: _cat,
}


def shortcut(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of a call on meta tensors, or `NotImplemented` where torch must answer."""
    known = SHORTCUTS.get(func)
    return NotImplemented if known is None else known(*args, **kwargs)
