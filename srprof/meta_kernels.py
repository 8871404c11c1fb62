"""Output shapes of the commonest calls, without torch's own kernels for the meta device.

torch answers most calls on meta tensors in Python, by reference implementations: the first one
imports sympy and torch._dynamo (about a second), and a bilinear interpolation takes 5 ms each
time. For plain cases of a few ops the answer is simple, and is given here. Whatever is not
plain, or wrong, goes to torch, whose answer and whose error message count. A test holds every
shortcut against torch's own kernel and against the CPU. Two give what CUDA and the CPU do where
torch's own for meta does not: a convolution's format, and the statistics that a batch norm saves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise, zip_longest
from operator import ge
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

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


#: The dtypes of spectra.
_COMPLEX = {torch.float32: torch.complex64, torch.float64: torch.complex128}


def _is_nchw(tensor: Any) -> bool:
    """A plain 4-d tensor with the strides of NCHW, or some of such a tensor's channels.

    Where sides of 1 leave the format open, torch decides.
    """
    if not _plain(tensor) or tensor.dim() != 4:
        return False
    height, width = tensor.shape[2:]
    return bool(tensor.stride()[1:] == (height * width, width, 1))


def _is_channels_last(image: Any) -> bool:
    """Whether a plain image is channels-last, and not NCHW; torch decides of other strides."""
    if _is_nchw(image):
        return False
    _require(_plain(image) and image.dim() == 4 and min(image.shape[1:]) > 1)
    _require(_suggests_channels_last(image))
    return True


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


def _reduced(
    tensor: Tensor,
    dims: Any = None,
    keepdim: bool = False,
    *,
    dtype: object = None,
    correction: object = None,
) -> Any:
    """Reduction along some dimensions; those that are left lie in memory in their order."""
    _require(dtype is None and dims)
    _require(_plain(tensor) and tensor.dim() and min(tensor.shape) > 0)
    _require(all(-tensor.dim() <= dim < tensor.dim() for dim in dims))
    gone = {dim % tensor.dim() for dim in dims}
    _require(len(gone) == len(dims))
    steps = zip(tensor.stride(), tensor.shape, strict=True)
    left = [step for i, (step, side) in enumerate(steps) if side > 1 and i not in gone]
    _require(all(outer > inner > 0 for outer, inner in pairwise(left)))
    if keepdim:
        return tensor.new_empty([1 if i in gone else n for i, n in enumerate(tensor.shape)])
    return tensor.new_empty([n for i, n in enumerate(tensor.shape) if i not in gone])


def _addmm(bias: Tensor, left: Tensor, right: Tensor, **_: Any) -> Any:
    """A matrix product to which a row is added: a linear layer."""
    _require(all(map(_plain, (bias, left, right))) and left.dim() == right.dim() == 2)
    _require(bias.dtype == left.dtype == right.dtype and left.shape[1] == right.shape[0])
    shape = left.shape[0], right.shape[1]
    _require(bias.shape == shape[1:] and min(shape) > 0)
    return left.new_empty(shape)


def _product(left: Tensor, right: Tensor) -> Any:
    """A product of matrices, or of each two in a batch."""
    _require(_plain(left) and _plain(right) and left.dtype == right.dtype)
    _require(left.dim() == right.dim() and min(*left.shape, *right.shape) > 0)
    *batch, rows, depth = left.shape
    _require([*batch, depth] == list(right.shape[:-1]))
    return left.new_empty((*batch, rows, right.shape[-1]))


def _softmax(tensor: Tensor, dim: int, half_to_float: bool) -> Any:
    """Softmax, whose result is contiguous."""
    _require(_plain(tensor) and not half_to_float and -tensor.dim() <= dim < tensor.dim())
    return tensor.new_empty(tensor.shape)


def _layer_norm(
    tokens: Tensor, shape: list[int], weight: Tensor | None, bias: Tensor | None, _epsilon: float
) -> Any:
    """Layer norm, whose result is contiguous, with the statistics of each row."""
    rows = tokens.dim() - len(shape)
    _require(_plain(tokens) and rows >= 1 and min(tokens.shape) > 0)
    _require(tokens.dtype in (torch.float32, torch.float64))
    _require(list(tokens.shape[rows:]) == list(shape))
    for part in (weight, bias):
        alike = _plain(part) and part.dtype == tokens.dtype if part is not None else True
        _require(alike and (part is None or list(part.shape) == list(shape)))
    statistics = (*tokens.shape[:rows], *(1 for _ in shape))
    return tokens.new_empty(tokens.shape), *(tokens.new_empty(statistics) for _ in range(2))


def _elementwise(*operands: Any, **options: Any) -> Any:
    """Element-wise, of tensors that are broadcast and of numbers."""
    tensors = [operand for operand in (*operands, *options.values()) if isinstance(operand, Tensor)]
    return _like_operands(tensors, tensors[0].dtype)


def _comparison(first: Any, second: Any) -> Any:
    """Element-wise, and the result is true or false."""
    tensors = [operand for operand in (first, second) if isinstance(operand, Tensor)]
    return _like_operands(tensors, torch.bool)


def _complex(real: Tensor, imaginary: Tensor) -> Any:
    """Complex values of their two parts."""
    _require(real.dtype in _COMPLEX)
    return _like_operands((real, imaginary), _COMPLEX[real.dtype])


def _like_operands(tensors: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """An element-wise result of plain tensors of one dtype."""
    first = tensors[0]
    _require(all(map(_plain, tensors)) and len({tensor.dtype for tensor in tensors}) == 1)
    if all(tensor.shape == first.shape for tensor in tensors):
        if all(tensor.is_contiguous() for tensor in tensors):
            return first.new_empty(first.shape, dtype=dtype)
        _require(min(first.shape) > 0)
        return first.new_empty_strided(first.shape, _strides(first.shape, tensors), dtype=dtype)
    shape: list[int] = []
    for sides in zip_longest(*(reversed(tensor.shape) for tensor in tensors), fillvalue=1):
        _require(len({*sides, 1}) <= 2 and 0 not in sides)
        shape.insert(0, max(sides))
    return first.new_empty_strided(shape, _strides(shape, tensors), dtype=dtype)


def _masked_fill(tensor: Tensor, mask: Tensor, _value: Any) -> Any:
    """A contiguous tensor with a number where a mask is true."""
    _require(_plain(tensor) and tensor.is_contiguous() and not isinstance(_value, Tensor))
    _require(mask.dtype is torch.bool and mask.device == tensor.device)
    _require(mask.shape == tensor.shape and min(tensor.shape) > 0)
    return tensor.new_empty(tensor.shape)


def _strides(shape: Sequence[int], tensors: Sequence[Tensor]) -> list[int]:
    """The strides of an element-wise result: in its operands' order, without gaps.

    As torch's TensorIterator: the first operand that tells two sides apart decides.
    """
    moved = [_when_broadcast(tensor, shape) for tensor in tensors]
    order = list(reversed(range(len(shape))))  # the fastest first
    for end in range(1, len(order)):
        at = end
        for before in reversed(range(end)):
            decided = _compared(order[before], order[at], shape, moved)
            if decided < 0:
                break
            if decided > 0:
                order[before], order[at] = order[at], order[before]
                at = before
    strides, expected = [0] * len(shape), 1
    for side in order:
        strides[side], expected = expected, expected * shape[side]
    return strides


def _when_broadcast(tensor: Tensor, shape: Sequence[int]) -> list[int]:
    """A tensor's strides with 0 where it is repeated."""
    more = len(shape) - tensor.dim()
    own = zip(tensor.stride(), tensor.shape, shape[more:], strict=True)
    return [0] * more + [0 if side == 1 != whole else stride for stride, side, whole in own]


def _compared(
    first: int, second: int, shape: Sequence[int], strides: Iterable[Sequence[int]]
) -> int:
    """Whether a side comes behind another (1), before it (-1), or nobody can tell (0)."""
    for each in strides:
        if each[first] and each[second]:
            if each[first] != each[second]:
                return 1 if each[first] > each[second] else -1
            if shape[first] > shape[second]:
                return 1
    return 0


def _in_first(first: Any, *others: Any, **options: Any) -> Any:
    """Element-wise, written into the first operand."""
    _require(_plain(first) and _agree((*others, *options.values()), first))
    _require(all(map(max, first.stride(), (side == 1 for side in first.shape))))  # not expanded
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
    return _formatted(image, (batch, channels_out, *out), channels_last=channels_last)


def _formatted(image: Tensor, shape: tuple[int, ...], *, channels_last: bool) -> Tensor:
    """An empty 4-d tensor in one of the two formats."""
    if not channels_last:
        return image.new_empty(shape)
    _, channels, height, width = shape
    row = channels * width
    return image.new_empty_strided(shape, (row * height, 1, row, channels))


#: Of cuDNN's batch norm outside of training: images in a batch, and elements, from torch 2.11.
_MOST_IMAGES, _MOST_ELEMENTS = 65535, 2**31 - 1


def _batch_norm(image: Tensor, *options: Any) -> Any:
    """Batch norm as cuDNN's: outside of training it saves no statistics, as on the CPU.

    torch's own CUDA kernels, which float16 and bfloat16 get, save two for each channel then too,
    and so does its kernel for meta tensors.
    """
    *weights_and_statistics, training, _momentum, _epsilon = options
    _require(all(map(_plain, (image, *weights_and_statistics))))
    _require(image.dtype in (torch.float32, torch.float64) and image.dim() >= 3)
    _require(image.is_contiguous() or (image.dim() == 4 and _suggests_channels_last(image)))
    _require(image.shape[0] <= _MOST_IMAGES and image.numel() < _MOST_ELEMENTS)
    saved = image.shape[1] if training else 0
    _require(all(tensor.shape == image.shape[1:2] for tensor in weights_and_statistics))
    return _elementwise(image), image.new_empty(saved), image.new_empty(saved)


def _batch_norm_backward(gradient: Tensor, image: Tensor, weight: Tensor, *options: Any) -> Any:
    """Gradients of a batch norm that trains: of a contiguous image, and of the two weights."""
    *statistics, training, _epsilon, wanted = options
    _require(training and all(wanted) and all(map(_plain, (weight, *statistics))))
    _require(_plain(image) and image.is_contiguous() and image.dtype is torch.float32)
    _require(_agree((gradient,), image) and _plain(gradient) and gradient.is_contiguous())
    _require(min(image.shape) > 0 and weight.dtype is torch.float32)
    return image.new_empty(image.shape), *(weight.new_empty(image.shape[1]) for _ in range(2))


def _gradient(gradient: Tensor, value: Tensor, *_: Any) -> Any:
    """The gradient of an element-wise call, where its two operands lie alike in memory."""
    _require(_plain(value) and gradient.stride() == value.stride())
    _require(gradient.shape == value.shape)
    return _elementwise(gradient, value)


def _upsample(image: Tensor, size: Any, *_: Any) -> Any:
    """Interpolation of an image to a given size, in its format."""
    _require(size is not None and len(size) == 2 and min(size) >= 1)
    channels_last = _is_channels_last(image)
    return _formatted(image, (*image.shape[:2], *size), channels_last=channels_last)


def _max_pool2d(
    image: Tensor,
    kernel: list[int],
    stride: list[int] = [],  # noqa: B006  (torch's own default; never changed)
    padding: list[int] = [0],  # noqa: B006
    dilation: list[int] = [1],  # noqa: B006
    ceil_mode: bool = False,
) -> Any:
    """Maxima and their positions, for square or rectangular windows without dilation."""
    channels_last = _is_channels_last(image)
    _require(not ceil_mode and all(d == 1 for d in dilation))
    windows = [list(v) * 2 if len(v) == 1 else v for v in (kernel, stride or kernel, padding)]
    _require(all(len(window) == 2 for window in windows))
    out = []
    for side, window, step, pad in zip(image.shape[2:], *windows, strict=True):
        _require(window >= 1 and step >= 1 and 0 <= pad <= window // 2)
        out.append((side + 2 * pad - window) // step + 1)
    _require(min(*image.shape, *out) >= 1)
    maxima = _formatted(image, (*image.shape[:2], *out), channels_last=channels_last)
    places = maxima.new_empty_strided(maxima.shape, maxima.stride(), dtype=torch.int64)
    return maxima, places


def _pixel_shuffle(image: Tensor, factor: int) -> Any:
    """Depth to space of an image: NCHW on CUDA, whatever the image is."""
    _require(_plain(image) and image.dim() == 4 and min(image.shape) > 0)
    _require(factor >= 1 and image.shape[1] % factor**2 == 0)
    batch, channels, height, width = image.shape
    return image.new_empty((batch, channels // factor**2, height * factor, width * factor))


def _fft_r2c(tensor: Tensor, dims: list[int], _norm: int, onesided: bool) -> Any:
    """The half of the spectrum of real values, along the last dimensions of a contiguous tensor."""
    _require(_plain(tensor) and tensor.is_contiguous() and min(tensor.shape) > 0)
    _require(tensor.dtype in _COMPLEX and onesided and _are_last(dims, tensor))
    *sides, last = tensor.shape
    return tensor.new_empty((*sides, last // 2 + 1), dtype=_COMPLEX[tensor.dtype])


def _fft_c2r(tensor: Tensor, dims: list[int], _norm: int, last: int) -> Any:
    """Real values of the half of a spectrum, along the last dimensions of a contiguous tensor."""
    _require(tensor.dtype.is_complex and tensor.device.type == "meta" and tensor.is_contiguous())
    _require(min(tensor.shape) > 0 and last > 0 and tensor.shape[-1] == last // 2 + 1)
    _require(_are_last(dims, tensor))
    return tensor.new_empty((*tensor.shape[:-1], last), dtype=tensor.dtype.to_real())


def _are_last(dims: Sequence[int], tensor: Tensor) -> bool:
    """Whether these are a tensor's last dimensions in their order, no more than cuFFT takes."""
    first = tensor.dim() - len(dims)
    return 1 <= len(dims) <= 3 and first >= 1 and list(dims) == [*range(first, tensor.dim())]


def _roll(tensor: Tensor, shifts: list[int], dims: list[int] = []) -> Any:  # noqa: B006
    """A contiguous tensor, turned along some dimensions."""
    _require(_plain(tensor) and tensor.is_contiguous() and min(tensor.shape) > 0)
    _require(dims and len(shifts) == len(dims))
    _require(all(-tensor.dim() <= dim < tensor.dim() for dim in dims))
    return tensor.new_empty(tensor.shape)


def _index(table: Tensor, indices: list[Tensor | None]) -> Any:
    """Rows of a contiguous table by their numbers."""
    _require(_plain(table) and table.is_contiguous() and min(table.shape) > 0)
    rows = indices[0] if len(indices) == 1 else None
    if rows is None or rows.dtype is not torch.int64 or rows.device != table.device:
        raise _NotPlainError
    _require(rows.is_contiguous() and rows.numel() > 0)
    return table.new_empty((*rows.shape, *table.shape[1:]))


def _cat(tensors: Any, dim: int = 0) -> Any:
    """Concatenation of 4-d tensors that agree in all but one dimension; in the format of all."""
    _require(tensors and all(_plain(tensor) and tensor.dim() == 4 for tensor in tensors))
    first = tensors[0]
    _require(-4 <= dim < 4)
    dim %= 4
    agreed = {(t.dtype, *t.shape[:dim], *t.shape[dim + 1 :]) for t in tensors}
    _require(len(agreed) == 1 and all(side for t in tensors for side in t.shape))
    shape = list(first.shape)
    shape[dim] = sum(t.shape[dim] for t in tensors)
    return _formatted(first, tuple(shape), channels_last=all(map(_suggests_channels_last, tensors)))


def _eye(rows: int, *columns: int, **options: Any) -> Any:
    """An identity on meta."""
    device, pin_memory = options.pop("device", None), options.pop("pin_memory", None)
    _require(device is not None and torch.device(device).type == "meta" and not pin_memory)
    _require(min(rows, *columns) >= 0)
    return torch.empty((rows, *(columns or (rows,))), device=device, **options)


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
        _elementwise,
    ),
    **_each("add sub mul div", "Tensor", _elementwise),
    **_each("eq ne lt le gt ge", "Scalar", _comparison),
    **_each("eq ne lt le gt ge", "Tensor", _comparison),
    _aten.masked_fill.Scalar: _masked_fill,
    **_each("amax amin", "default", _reduced),
    **_each("std var", "correction", _reduced),
    _aten.mean.dim: _reduced,
    **_each("add_ sub_ mul_ div_", "Tensor", _in_first),
    **_each("relu_ leaky_relu_ silu_ sigmoid_ clamp_ addcmul_ addcdiv_", "default", _in_first),
    _aten.lerp_.Scalar: _in_first,
    **_each("leaky_relu_backward sigmoid_backward", "default", _gradient),
    **_each("upsample_bilinear2d upsample_bicubic2d", "vec", _upsample),
    **_each("upsample_bilinear2d upsample_bicubic2d", "default", _upsample),
    _aten.sum.dim_IntList: _reduced,
    _aten.addmm.default: _addmm,
    **_each("mm bmm", "default", _product),
    _aten._softmax.default: _softmax,
    _aten.complex.default: _complex,
    _aten._fft_r2c.default: _fft_r2c,
    _aten._fft_c2r.default: _fft_c2r,
    _aten.roll.default: _roll,
    _aten.index.Tensor: _index,
    _aten.eye.default: _eye,
    _aten.eye.m: _eye,
    _aten.native_layer_norm.default: _layer_norm,
    _aten.convolution.default: _convolution,
    _aten.native_batch_norm.default: _batch_norm,
    _aten.native_batch_norm_backward.default: _batch_norm_backward,
    _aten.pixel_shuffle.default: _pixel_shuffle,
    _aten.max_pool2d_with_indices.default: _max_pool2d,
    _aten.cat.default: _cat,
    _aten._scaled_dot_product_efficient_attention.default: _efficient_attention,
}


class Shortcuts(TorchDispatchMode):
    """Takes the shortcuts where nothing is recorded: while a network is built on meta."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports torch._dynamo, which takes a second

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = shortcut(func, args, kwargs or {})
        return func(*args, **(kwargs or {})) if result is NotImplemented else result


#: What is answered here for fake tensors of a GPU too: torch's own are those of a build without it.
OF_CUDNN = frozenset((_aten.convolution.default, _aten.native_batch_norm.default))


def shortcut(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, object]) -> Any:
    """The result of a call on meta tensors, or `NotImplemented` where torch must answer."""
    known = SHORTCUTS.get(func)
    try:
        return NotImplemented if known is None else known(*args, **kwargs)
    except _NotPlainError:
        return NotImplemented
