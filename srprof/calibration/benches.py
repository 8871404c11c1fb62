"""What a calibration runs: single operations as super-resolution networks use them.

Each bench is a module and its inputs' shapes, traced and timed like any network, so that a
prediction is fitted to just what it will be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
import torch.nn.functional as F
from torch import nn

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Bench:
    """One operation to time: its name, with its size, and the group that says what it tells.

    `model` calls it, on arguments of the shapes `inputs`.
    """

    name: str
    group: str
    model: nn.Module
    inputs: tuple[Shape, ...]
    dtype: str = "float32"


class Operation(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return self.function(*tensors)


def roofs(size: int, width: int, copied: int, modes: Mapping[str, str]) -> list[Bench]:
    """What comes nearest to a device's peaks and to its bandwidth.

    Args:
        size: of the square matrices that are multiplied, for each mode.
        width: channels of a dense convolution, which on a CPU another library computes.
        copied: floats that are copied.
        modes: dtype by the mode of arithmetic whose peak it tells.
    """
    square, maps = (size, size), (1, width, 64, 64)
    benches = []
    for mode, dtype in modes.items():
        name = f"product of {size}x{size}, {mode}"
        benches.append(Bench(name, f"peak {mode}", Operation(torch.mm), (square, square), dtype))
    if width:
        dense = nn.Conv2d(width, width, 3, padding=1)
        name = f"dense 3x3 {width} to {width} at 64x64"
        benches.append(Bench(name, "peak float32", dense, (maps,)))
    copy = f"copy of {copied * 4 / 2**20:.0f} MiB"
    return [*benches, Bench(copy, "bandwidth", Operation(torch.clone), ((copied,),))]


def benches(
    sizes: Sequence[int], dtypes: Sequence[str] = ("float32",), traffic: Sequence[int] | None = None
) -> list[Bench]:
    """All benches at maps of these sides, and the launches.

    Args:
        dtypes: of the convolutions and products; all else is in the first.
        traffic: sides of the maps of what hardly computes; None for `sizes`.
    """
    benches: list[Bench] = []
    for size, dtype in product(sizes, dtypes):
        benches += [*_convolutions(size, dtype), *_products(size, dtype)]
    benches += [bench for size in traffic or sizes for bench in _traffic(size, dtypes[0])]
    return benches + list(_launches(dtypes[0]))


#: Input and output channels: multiples of a tile and not, narrow and wide, an image's three.
_DENSE = ((3, 50), (16, 16), (16, 50), (32, 32), (50, 16), (50, 48), (50, 50), (64, 64))
#: More of what tensor cores' tiles make of widths.
_DENSE_IN_TENSOR_CORES = ((36, 36), (40, 40), (48, 48), (52, 52), (64, 32), (64, 48))
_POINTWISE = ((16, 50), (48, 12), (50, 25), (50, 50), (64, 64), (200, 50))


def _convolution(
    group: str, size: int, dtype: str, channels: tuple[int, int], kernel: int, groups: int = 1
) -> Bench:
    inner, outer = channels
    model = nn.Conv2d(inner, outer, kernel, padding=kernel // 2, groups=groups)
    kind = group if group == f"{kernel}x{kernel}" else f"{group} {kernel}x{kernel}"
    parts = f" in {groups}" if 1 < groups < inner else ""
    name = f"{kind} {inner} to {outer}{parts} at {size}x{size}"
    return Bench(_named(name, dtype), group, model, ((1, inner, size, size),), dtype)


def tensor_benches(size: int, dtypes: Sequence[str]) -> list[Bench]:
    """More benches for a device with tensor cores, at maps of this side."""
    pairs = product(dtypes, _DENSE_IN_TENSOR_CORES)
    benches = [_convolution("dense", size, dtype, channels, 3) for dtype, channels in pairs]
    small = (1, 16, size // 4, size // 4)
    name = f"bicubic by 4 at {size}x{size}"
    return [
        *benches,
        Bench(name, "resample", Operation(_enlarging("bicubic")), (small,), dtypes[0]),
    ]


def _named(name: str, dtype: str) -> str:
    return name if dtype == "float32" else f"{name}, {dtype}"


def _convolutions(size: int, dtype: str) -> Iterator[Bench]:
    for channels in _DENSE:
        yield _convolution("dense", size, dtype, channels, 3)
    yield _convolution("dense", size // 2, dtype, (128, 128), 3)
    for channels in _POINTWISE:
        yield _convolution("1x1", size, dtype, channels, 1)
    for width, kernel in ((50, 3), (64, 5)):
        yield _convolution("depthwise", size, dtype, (width, width), kernel, groups=width)
    for width, groups in ((48, 3), (64, 2), (64, 4)):
        yield _convolution("grouped", size, dtype, (width, width), 3, groups=groups)


def _products(size: int, dtype: str) -> Iterator[Bench]:
    """Linear layers on the pixels, and attention's two products in windows of 8x8."""
    pixels = size * size
    for inner, outer in ((60, 60), (60, 120)):
        name = _named(f"linear {inner} to {outer} on {pixels} pixels", dtype)
        yield Bench(name, "matrix product", nn.Linear(inner, outer), ((1, pixels, inner),), dtype)
    windows = 2 * pixels // 64
    scores, factors = f"{windows} windows' scores", ((windows, 64, 30), (windows, 30, 64))
    yield Bench(_named(scores, dtype), "matrix product", Operation(torch.bmm), factors, dtype)


def _traffic(size: int, dtype: str) -> Iterator[Bench]:
    """What moves memory and hardly computes."""
    maps, narrow = (1, 50, size, size), (1, 16, size, size)
    pixels = (1, size * size, 60)
    for group, name, function, inputs in (
        ("element-wise", "add", torch.add, (maps, maps)),
        ("element-wise", "mul", torch.mul, (maps, maps)),
        ("element-wise", "leaky ReLU", lambda x: F.leaky_relu(x, 0.05), (maps,)),
        ("element-wise", "ReLU in place", F.relu_, (maps,)),
        ("element-wise", "sigmoid", torch.sigmoid, (maps,)),
        ("element-wise", "SiLU", F.silu, (maps,)),
        ("movement", "cat", lambda x, y: torch.cat((x, y), 1), (maps, maps)),
        ("movement", "cat of four", lambda x: torch.cat((x, x, x, x), 1), (narrow,)),
        ("movement", "clone", torch.clone, (maps,)),
        ("movement", "pixel shuffle", lambda x: F.pixel_shuffle(x, 4), ((1, 48, size, size),)),
        ("reduction", "mean", lambda x: x.mean((2, 3)), (maps,)),
        ("resample", "max pool 7 by 3", lambda x: F.max_pool2d(x, 7, 3), (narrow,)),
        ("resample", "bilinear by 4", _enlarging("bilinear"), ((1, 16, size // 4, size // 4),)),
        ("norm", "layer norm", lambda x: F.layer_norm(x, (60,)), (pixels,)),
        ("norm", "softmax", lambda x: x.softmax(-1), ((size * size // 32, 64, 64),)),
    ):
        yield Bench(f"{name} at {size}x{size}", group, Operation(function), inputs, dtype)


def _enlarging(mode: str) -> Callable[..., torch.Tensor]:
    return partial(F.interpolate, scale_factor=4, mode=mode, align_corners=False)


#: Calls in a row, so that a GPU's launches are as far apart as in a network.
_ROW = 20


def _launches(dtype: str) -> Iterator[Bench]:
    """Rows of operations too small to take time of their own."""
    small = (1, 16, 4, 4)
    for name, make in (
        ("ReLUs", nn.ReLU),
        ("1x1 convolutions", lambda: nn.Conv2d(16, 16, 1)),
        ("3x3 convolutions", lambda: nn.Conv2d(16, 16, 3, padding=1)),
    ):
        row = nn.Sequential(*(make() for _ in range(_ROW)))
        yield Bench(f"{_ROW} {name} at 4x4", "launches", row, (small,), dtype)
