"""The operations that a table of measured ones has, as super-resolution networks use them.

An operation is named and sized by a mapping, a line of the raw file: `op`, `dtype`, and for a
convolution `cin`, `cout`, `k`, `h`, `w`, `groups`, `stride`, `dilation`, `channels_last` and
`tf32`, for others `c`, `h`, `w` and what they take besides.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from srprof.calibration.benches import Bench, Operation, Shape

#: What a line of the raw file says of an operation.
Line = Mapping[str, Any]

#: Functions of one map, (1, c, h, w).
_OF_A_MAP: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu_": F.relu_,
    "leaky_relu": partial(F.leaky_relu, negative_slope=0.05),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "clamp": partial(torch.clamp, min=0, max=1),
    "silu": F.silu,
    "gelu": F.gelu,
    "permute_copy": lambda x: x.permute(0, 2, 3, 1).contiguous(),
    "softmax_channel": partial(F.softmax, dim=1),
    "l2norm": partial(F.normalize, dim=1),
    "mean_hw": partial(torch.mean, dim=(2, 3), keepdim=True),
    "mean_c": partial(torch.mean, dim=1, keepdim=True),
    "var_hw": partial(torch.var, dim=(2, 3), keepdim=True),
    "max_pool7s3": partial(F.max_pool2d, kernel_size=7, stride=3),
    "max_pool8": lambda x: F.adaptive_max_pool2d(x, (x.shape[2] // 8, x.shape[3] // 8)),
    "avg_pool3": partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1),
    "adaptive1": partial(F.adaptive_avg_pool2d, output_size=1),
    "nearest2": partial(F.interpolate, scale_factor=2),
    "group_norm": partial(F.group_norm, num_groups=4),
    "instance_norm": F.instance_norm,
    "pad_reflect": partial(F.pad, pad=(1, 1, 1, 1), mode="reflect"),
    "pad_zero": partial(F.pad, pad=(1, 1, 1, 1)),
    "unfold3": partial(F.unfold, kernel_size=3, padding=1),
    "roll": partial(torch.roll, shifts=(1, -1), dims=(2, 3)),
}
#: Functions of two maps.
_OF_TWO: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "mul": torch.mul,
    "add_": Tensor.add_,
    "cat2": lambda x, y: torch.cat([x, y], 1),
    "cat4": lambda x, y: torch.cat([x, y, x, y], 1),
}


def _attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return torch.softmax((queries * 0.3) @ keys.transpose(-2, -1), -1) @ values


def _heads(line: Line) -> list[Shape]:
    windows = (line["h"] // line["win"]) * (line["w"] // line["win"])
    return [(windows, line["heads"], line["win"] ** 2, line["c"] // line["heads"])] * 3


def _map(line: Line) -> Shape:
    return 1, line["c"], line["h"], line["w"]


def _special(line: Line) -> tuple[Callable[..., Tensor], list[Shape]]:
    """Operations whose operands are not maps of the line's size, or more of them."""
    c, h, w = line["c"], line["h"], line["w"]
    size, each = (h, w), [(c,)] * 3
    pixels, map_ = (1, h * w, c), (1, c, h, w)
    bilinear = partial(F.interpolate, size=size, mode="bilinear", align_corners=False)
    bicubic = partial(F.interpolate, scale_factor=4, mode="bicubic", align_corners=False)
    deconvolution = partial(F.conv_transpose2d, stride=4, padding=4, output_padding=3)
    layer_norm = lambda x, g: F.layer_norm(x, (c,), g, g)  # noqa: E731
    known: Mapping[str, tuple[Callable[..., Tensor], list[Shape]]] = {
        "mul_channel": (torch.mul, [map_, (1, c, 1, 1)]),
        "mul_map": (torch.mul, [map_, (1, 1, h, w)]),
        "chunk_copy": (lambda x: x[:, : c // 2].contiguous(), [map_]),
        "layer_norm_last": (layer_norm, [pixels, (c,)]),
        "linear_last": (F.linear, [pixels, (2 * c, c)]),
        "bilinear_up": (bilinear, [(1, c, h // 8, w // 8)]),
        "bicubic4": (bicubic, [(1, 3, h, w)]),
        "batch_norm": (lambda x, m, v, g: F.batch_norm(x, m, v, g, m), [map_, *each]),
        "prelu": (F.prelu, [map_, (c,)]),
        "deconv9": (deconvolution, [map_, (c, 1, 9, 9)]),
        "rfft": (lambda x: torch.fft.rfft2(x.float()), [map_]),
    }
    if line["op"] == "pixel_shuffle":
        return partial(F.pixel_shuffle, upscale_factor=line["r"]), [map_]
    if line["op"] in ("window_attention", "sdpa"):
        fused = F.scaled_dot_product_attention
        return (_attention if line["op"] == "window_attention" else fused), _heads(line)
    return known[line["op"]]


def operation(line: Line) -> tuple[Callable[..., Tensor], list[Shape]]:
    """A line's function and the shapes of its operands; a KeyError if no operation has its name."""
    if line["op"] in _OF_A_MAP:
        return _OF_A_MAP[line["op"]], [_map(line)]
    if line["op"] in _OF_TWO:
        return _OF_TWO[line["op"]], [_map(line)] * 2
    if line["op"] == "conv2d":
        padding = line["dilation"] * (line["k"] - 1) // 2
        steps = line["stride"], padding, line["dilation"], line["groups"]
        inner, outer, side = line["cin"], line["cout"], line["k"]
        filters: Shape = (outer, inner // line["groups"], side, side)
        image: Shape = (1, inner, line["h"], line["w"])
        return lambda x, f, b: F.conv2d(x, f, b, *steps), [image, filters, (outer,)]
    return _special(line)


def bench(line: Line) -> Bench:
    """A line as what can be traced and timed."""
    function, shapes = operation(line)
    dtype = "float32" if line["op"] == "rfft" else line["dtype"]
    return Bench(line["op"], "operation", Operation(function), tuple(shapes), dtype)


# -- the grid --------------------------------------------------------------------------------------

_WIDTHS = (3, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 50, 52, 56, 60, 64, 80, 96, 128, 192, 256)
_SIDES = ((339, 510), (256, 256), (510, 510), (128, 128))


def grid(dtypes: Sequence[str] = ("float32", "float16")) -> Iterator[dict[str, Any]]:
    """Lines of all operations to measure, each once, what matters most first."""
    for h, w in _SIDES:
        for dtype in dtypes:
            lines = (*_convolutions(dtype, h, w), *_others(dtype, h, w))
            yield from {identity(line): line for line in lines}.values()


def identity(line: Mapping[str, Any]) -> str:
    """What tells a line's operation from others, whether it was timed or not."""
    return json.dumps({k: v for k, v in line.items() if k != "kernels"}, sort_keys=True)


def _line(inner: int, outer: int, side: int, **other: object) -> dict[str, Any]:
    plain = {"groups": 1, "stride": 1, "dilation": 1, "channels_last": False, "tf32": True}
    return {"op": "conv2d", "cin": inner, "cout": outer, "k": side, **plain, **other}


def _convolutions(dtype: str, h: int, w: int) -> Iterator[dict[str, Any]]:
    at = {"dtype": dtype, "h": h, "w": w}
    ends, beginnings = (3, 12, 16, 24, 32, 48, 64), (3, 16, 32, 48, 64)
    pairs = {(a, b) for a in _WIDTHS for b in (*ends, a)} | {
        (a, b) for a in beginnings for b in _WIDTHS
    }
    for inner, outer in sorted(pairs):
        yield _line(inner, outer, 3, **at)
        yield _line(inner, outer, 1, **at)
    for width in (24, 32, 40, 48, 50, 64):
        for times in (2, 3, 4, 5, 6):
            yield _line(times * width, width, 1, **at)
    for width in _WIDTHS[1:]:
        for side in (3, 5, 7):
            yield _line(width, width, side, groups=width, **at)
    for width in (16, 32, 48, 64):
        for side in (5, 7, 9):
            yield _line(width, width, side, **at)
        yield _line(width, width, 3, stride=2, **at)
        yield _line(width, width, 3, dilation=2, **at)
        yield from (_line(width, width, 3, groups=groups, **at) for groups in (2, 4, 8))
        yield _line(width, width, 17, groups=width, **at)
        for side in (1, 3):
            yield _line(width, width, side, channels_last=True, **at)
            if dtype == "float32":
                yield _line(width, width, side, tf32=False, **at)


def _others(dtype: str, h: int, w: int) -> Iterator[dict[str, Any]]:
    special = (
        "mul_channel", "mul_map", "layer_norm_last", "linear_last", "bilinear_up", "bicubic4",
        "batch_norm", "prelu",
    )  # fmt: skip
    for width in (16, 48, 64):
        for op in (*_OF_A_MAP, *_OF_TWO, *special):
            yield {"op": op, "dtype": dtype, "c": width, "h": h, "w": w}
    for width, scale in ((12, 2), (48, 4), (192, 4)):
        yield {"op": "pixel_shuffle", "dtype": dtype, "c": width, "r": scale, "h": h, "w": w}
    for side, width, heads in ((8, 60, 6), (16, 60, 6), (8, 48, 4), (16, 64, 4)):
        whole = {"h": h // side * side, "w": w // side * side, "win": side, "heads": heads}
        for op in ("window_attention", "sdpa"):
            yield {"op": op, "dtype": dtype, "c": width, **whole}
    for op in ("deconv9", "rfft"):
        yield {"op": op, "dtype": dtype, "c": 16, "h": h, "w": w}
