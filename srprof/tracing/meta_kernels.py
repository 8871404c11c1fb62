"""Output shapes of the commonest calls, without torch's own kernels for the meta device.

torch answers most calls on meta tensors in Python, by reference implementations: the first one
imports sympy and torch._dynamo (about a second), and a bilinear interpolation takes 5 ms each
time. For plain cases of a few ops the answer is simple, and is given here. Whatever is not
plain, or wrong, goes to torch, whose answer and whose error message count: `shortcut` gives
`NotImplemented`. A test holds every shortcut against torch's own kernel and against the CPU. Two
give what CUDA and the CPU do where torch's own for meta does not: a convolution's format, and the
statistics that a batch norm saves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import ge
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


def _is_nchw(tensor: Any) -> bool:
    """A plain 4-d tensor with the strides of NCHW, or some of such a tensor's channels.

    Where sides of 1 leave the format open, torch decides.
    """
    if not _plain(tensor) or tensor.dim() != 4:
        return False
    height, width = tensor.shape[2:]
    return bool(tensor.stride()[1:] == (height * width, width, 1))


def _suggests_channels_last(tensor: Tensor) -> bool:
    """Whether torch takes a 4-d tensor for channels-last (its `suggest_memory_format`).

    The strides must ascend from channels over width and height to the batch; a part of the
    channels will do. Of one channel, only a stride says which format was meant.
    """
    least = 0
    for side in (1, 3, 2, 0):
        stride = tensor.stride(side)
        if stride < least or not tensor.shape[side] or (side == 0 and least == tensor.stride(1)):
            return False
        least = stride * tensor.shape[side]
    return tensor.stride(1) != 0


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
    if first.dim() == 4 and first.is_contiguous(memory_format=torch.channels_last):
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
    """A valid 2-d convolution; channels-last if either operand is, as oneDNN and cuDNN have it.

    torch's own kernel for meta tensors always answers NCHW. That is right for float64, which cuDNN
    computes in NCHW only.
    """
    if not (_plain(image) and _plain(weight) and image.dim() == weight.dim() == 4):
        return NotImplemented
    channels_last = any(map(_suggests_channels_last, (image, weight)))
    if weight.dtype != image.dtype or (channels_last and image.dtype is torch.float64):
        return NotImplemented
    if not len(stride) == len(padding) == len(dilation) == 2 or min(*stride, *dilation) < 1:
        return NotImplemented
    batch, channels, *size = image.shape
    first, second, *kernel = weight.shape
    channels_in, channels_out = (first, second * groups) if transposed else (second * groups, first)
    if groups < 1 or channels != channels_in or first % groups:
        return NotImplemented
    if bias is not None and not (_plain(bias) and bias.shape == (channels_out,)):
        return NotImplemented
    if transposed:
        if len(output_padding) != 2 or any(map(ge, output_padding, map(max, stride, dilation))):
            return NotImplemented
        out = [
            (size[i] - 1) * stride[i]
            - 2 * padding[i]
            + dilation[i] * (kernel[i] - 1)
            + output_padding[i]
            + 1
            for i in range(2)
        ]
    else:
        out = [
            (size[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
            for i in range(2)
        ]
    if min(*padding, *output_padding) < 0 or min(batch, channels_out, *size, *out, *kernel) < 1:
        return NotImplemented
    shape = (batch, channels_out, *out)
    if not channels_last:
        return image.new_empty(shape)
    height, width = out
    row = channels_out * width
    return image.new_empty_strided(shape, (row * height, 1, row, channels_out))


#: Of cuDNN's batch norm outside of training: images in a batch, and elements, from torch 2.11.
_MOST_IMAGES, _MOST_ELEMENTS = 65535, 2**31 - 1


def _batch_norm(
    image: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    training: bool,
    *_: Any,
) -> Any:
    """Batch norm as cuDNN's: outside of training it saves no statistics, as on the CPU.

    torch's own CUDA kernels, which float16 and bfloat16 get, save two for each channel, and so
    does its kernel for meta tensors.
    """
    if training or not all(map(_plain, (image, weight, bias, mean, variance))):
        return NotImplemented
    if image.dtype not in (torch.float32, torch.float64) or image.dim() != 4:
        return NotImplemented
    if image.shape[0] > _MOST_IMAGES or image.numel() >= _MOST_ELEMENTS:
        return NotImplemented
    result = _like_first(image)
    if result is NotImplemented:
        return NotImplemented
    return result, image.new_empty(0), image.new_empty(0)


def _upsample(image: Tensor, size: Any, *_: Any) -> Any:
    """Interpolation of a contiguous image to a given size."""
    if not _is_nchw(image) or size is None or len(size) != 2 or min(size) < 1:
        return NotImplemented
    return image.new_empty((*image.shape[:2], *size))


def _max_pool2d(
    image: Tensor,
    kernel: list[int],
    stride: list[int] = [],  # noqa: B006  (torch's own default; never changed)
    padding: list[int] = [0],  # noqa: B006
    dilation: list[int] = [1],  # noqa: B006
    ceil_mode: bool = False,
) -> Any:
    """Maxima and their positions, for square or rectangular windows without dilation."""
    if not _is_nchw(image) or ceil_mode or any(d != 1 for d in dilation):
        return NotImplemented
    windows = [
        tuple(v) * 2 if len(v) == 1 else tuple(v) for v in (kernel, stride or kernel, padding)
    ]
    if any(len(window) != 2 for window in windows):
        return NotImplemented
    out = []
    for side, window, step, pad in zip(image.shape[2:], *windows, strict=True):
        if window < 1 or step < 1 or not 0 <= pad <= window // 2:
            return NotImplemented
        out.append((side + 2 * pad - window) // step + 1)
    if min(*image.shape, *out) < 1:
        return NotImplemented
    shape = (*image.shape[:2], *out)
    return image.new_empty(shape), image.new_empty(shape, dtype=torch.int64)


def _pixel_shuffle(image: Tensor, factor: int) -> Any:
    """Depth to space of a contiguous image."""
    if not _is_nchw(image) or factor < 1 or image.shape[1] % factor**2:
        return NotImplemented
    batch, channels, height, width = image.shape
    return image.new_empty((batch, channels // factor**2, height * factor, width * factor))


def _cat(tensors: Any, dim: int = 0) -> Any:
    """Concatenation of contiguous 4-d tensors that agree in all but one dimension."""
    if not tensors or not all(_is_nchw(t) for t in tensors):
        return NotImplemented
    first = tensors[0]
    if not -4 <= dim < 4 or any(t.dtype != first.dtype for t in tensors):
        return NotImplemented
    dim %= 4
    rest = {(*t.shape[:dim], *t.shape[dim + 1 :]) for t in tensors}
    if len(rest) != 1 or not all(side for t in tensors for side in t.shape):
        return NotImplemented
    shape = list(first.shape)
    shape[dim] = sum(t.shape[dim] for t in tensors)
    return first.new_empty(shape)


def _efficient_attention(*args: Any, **options: Any) -> Any:
    """Torch's answer, but the seed and offset of dropout are in main memory, as from CUDA's."""
    kernel = _aten._scaled_dot_product_efficient_attention.default
    result, logarithms, *state = kernel(*args, **options)
    return result, logarithms, *(torch.empty((), dtype=part.dtype) for part in state)


def _each(names: str, overload: str, kernel: _Shortcut) -> dict[Any, _Shortcut]:
    return {getattr(getattr(_aten, name), overload): kernel for name in names.split()}


SHORTCUTS: dict[Any, _Shortcut] = {
    **_each(
        "relu leaky_relu elu gelu silu mish softplus hardtanh hardswish hardsigmoid sigmoid tanh "
        "exp sqrt rsqrt abs neg clamp",
        "default",
        _like_first,
    ),
    **_each("add sub mul div", "Tensor", _like_first),
    **_each("add_ sub_ mul_ div_", "Tensor", _in_first),
    **_each("relu_ leaky_relu_ silu_ sigmoid_ clamp_", "default", _in_first),
    **_each("upsample_bilinear2d upsample_bicubic2d", "vec", _upsample),
    **_each("upsample_bilinear2d upsample_bicubic2d", "default", _upsample),
    _aten.convolution.default: _convolution,
    _aten.native_batch_norm.default: _batch_norm,
    _aten.pixel_shuffle.default: _pixel_shuffle,
    _aten.max_pool2d_with_indices.default: _max_pool2d,
    _aten.cat.default: _cat,
    _aten._scaled_dot_product_efficient_attention.default: _efficient_attention,
}


def shortcut(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, object]) -> Any:
    """The result of a call on meta tensors, or `NotImplemented` where torch must answer."""
    known = SHORTCUTS.get(func)
    return NotImplemented if known is None else known(*args, **kwargs)
