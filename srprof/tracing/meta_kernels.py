"""Output shapes of the commonest calls, without torch's own kernels for the meta device.

torch answers most calls on meta tensors in Python, by reference implementations: the first one
imports sympy and torch._dynamo (about a second), and a bilinear interpolation takes 5 ms each
time. For plain cases of a few ops the answer is simple, and is given here. Whatever is not
plain, or wrong, goes to torch, whose answer and whose error message count. A test holds every
shortcut against torch's own kernel and against the CPU. Two give what CUDA and the CPU do where
torch's own for meta does not: a convolution's format, and the statistics that a batch norm saves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import ge
from typing import Any

import torch
from torch import Tensor

_Shortcut = Callable[..., Any]
_aten = torch.ops.aten


class _NotPlainError(Exception):
    """A call that torch must answer."""


def _require(holds: object) -> None:
    if not holds:
        raise _NotPlainError


def _plain(tensor: Any) -> bool:
    without_data = isinstance(tensor, Tensor) and tensor.device.type in ("meta", "cuda")
    return without_data and tensor.dtype.is_floating_point


def _is_nchw(tensor: Any) -> bool:
    """A plain 4-d tensor with the strides of NCHW, or some of such a tensor's channels.

    Where sides of 1 leave the format open, torch decides.
    """
    if not _plain(tensor) or tensor.dim() != 4:
        return False
    height, width = tensor.shape[2:]
    return bool(tensor.stride()[1:] == (height * width, width, 1))


def _agree(operands: Iterable[Any], first: Tensor) -> bool:
    """Whether those that are tensors have the shape and dtype of the first."""
    tensors = (operand for operand in operands if isinstance(operand, Tensor))
    return all(t.shape == first.shape and t.dtype == first.dtype for t in tensors)


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
    operands = (*others, *options.values())
    _require(_plain(first) and _agree(operands, first))
    for other in operands:
        if isinstance(other, Tensor):
            _require(other.device == first.device and other.stride() == first.stride())
    if first.is_contiguous():
        return first.new_empty(first.shape)
    _require(first.dim() == 4 and first.is_contiguous(memory_format=torch.channels_last))
    return first.new_empty_strided(first.shape, first.stride())


def _in_first(first: Any, *others: Any, **options: Any) -> Any:
    """Element-wise, written into the first operand."""
    _require(_plain(first) and _agree((*others, *options.values()), first))
    return first


def _convolution(image: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Any:
    """A valid 2-d convolution; channels-last if either operand is, as oneDNN and cuDNN have it.

    torch's own kernel for meta tensors always answers NCHW. That is right for float64, which cuDNN
    computes in NCHW only.
    """
    stride, padding, dilation, transposed, output_padding, groups = options
    _require(_plain(image) and _plain(weight) and image.dim() == weight.dim() == 4)
    channels_last = any(map(_suggests_channels_last, (image, weight)))
    _require(weight.dtype == image.dtype)
    _require(not (channels_last and image.dtype is torch.float64))
    _require(len(stride) == len(padding) == len(dilation) == 2 and min(*stride, *dilation) >= 1)
    batch, channels, *size = image.shape
    first, second, *kernel = weight.shape
    channels_in, channels_out = (first, second * groups) if transposed else (second * groups, first)
    _require(groups >= 1 and channels == channels_in and first % groups == 0)
    _require(bias is None or (_plain(bias) and bias.shape == (channels_out,)))
    # what the kernel spans beyond its first pixel, without the padding
    beyond = [dilation[i] * (kernel[i] - 1) - 2 * padding[i] for i in range(2)]
    if transposed:
        _require(len(output_padding) == 2)
        _require(not any(map(ge, output_padding, map(max, stride, dilation))))
        out = [(size[i] - 1) * stride[i] + beyond[i] + output_padding[i] + 1 for i in range(2)]
    else:
        out = [(size[i] - beyond[i] - 1) // stride[i] + 1 for i in range(2)]
    _require(min(*padding, *output_padding) >= 0)
    _require(min(batch, channels_out, *size, *out, *kernel) >= 1)
    shape = (batch, channels_out, *out)
    if not channels_last:
        return image.new_empty(shape)
    height, width = out
    row = channels_out * width
    return image.new_empty_strided(shape, (row * height, 1, row, channels_out))


#: Of cuDNN's batch norm outside of training: images in a batch, and elements, from torch 2.11.
_MOST_IMAGES, _MOST_ELEMENTS = 65535, 2**31 - 1


def _batch_norm(image: Tensor, *options: Any) -> Any:
    """Batch norm as cuDNN's: outside of training it saves no statistics, as on the CPU.

    torch's own CUDA kernels, which float16 and bfloat16 get, save two for each channel, and so
    does its kernel for meta tensors.
    """
    *weights_and_statistics, training, _momentum, _epsilon = options
    _require(not training and all(map(_plain, (image, *weights_and_statistics))))
    _require(image.dtype in (torch.float32, torch.float64) and image.dim() >= 3)
    _require(image.shape[0] <= _MOST_IMAGES and image.numel() < _MOST_ELEMENTS)
    return _like_first(image), image.new_empty(0), image.new_empty(0)


def _upsample(image: Tensor, size: Any, *_: Any) -> Any:
    """Interpolation of a contiguous image to a given size."""
    _require(_is_nchw(image) and size is not None and len(size) == 2 and min(size) >= 1)
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
    _require(_is_nchw(image) and not ceil_mode and all(d == 1 for d in dilation))
    windows = [list(v) * 2 if len(v) == 1 else v for v in (kernel, stride or kernel, padding)]
    _require(all(len(window) == 2 for window in windows))
    out = []
    for side, window, step, pad in zip(image.shape[2:], *windows, strict=True):
        _require(window >= 1 and step >= 1 and 0 <= pad <= window // 2)
        out.append((side + 2 * pad - window) // step + 1)
    _require(min(*image.shape, *out) >= 1)
    shape = (*image.shape[:2], *out)
    return image.new_empty(shape), image.new_empty(shape, dtype=torch.int64)


def _pixel_shuffle(image: Tensor, factor: int) -> Any:
    """Depth to space of a contiguous image."""
    _require(_is_nchw(image) and factor >= 1 and image.shape[1] % factor**2 == 0)
    batch, channels, height, width = image.shape
    return image.new_empty((batch, channels // factor**2, height * factor, width * factor))


def _cat(tensors: Any, dim: int = 0) -> Any:
    """Concatenation of contiguous 4-d tensors that agree in all but one dimension."""
    _require(tensors and all(map(_is_nchw, tensors)) and -4 <= dim < 4)
    first = tensors[0]
    dim %= 4
    agreed = {(t.dtype, *t.shape[:dim], *t.shape[dim + 1 :]) for t in tensors}
    _require(len(agreed) == 1 and all(side for t in tensors for side in t.shape))
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


#: What is answered here for fake tensors of a GPU too: torch's own are those of a build without it.
OF_CUDNN = frozenset((_aten.convolution.default, _aten.native_batch_norm.default))


def shortcut(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, object]) -> Any:
    """The result of a call on meta tensors, or `NotImplemented` where torch must answer."""
    known = SHORTCUTS.get(func)
    try:
        return NotImplemented if known is None else known(*args, **kwargs)
    except _NotPlainError:
        return NotImplemented
