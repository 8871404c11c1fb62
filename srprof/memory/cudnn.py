"""Scratch that cuDNN takes in a convolution on tensor cores. Pure; no torch.

cuDNN's kernels for tensor cores compute in NHWC. Given NCHW, it copies the input, the weights and
the output; the copies are scratch of the call. Which maps it copies, and whether their channels
are filled up to 16 bytes' worth, its heuristics decide by dtype, kernel, widths and size. So that
is looked up in what an H200 took (torch 2.11, cuDNN 9.19; `data/cudnn_copies.json`, made by
`python benchmarks/copies_table.py`): what was done for the nearest widths and size is done for
this convolution. Groups of channels and transposed convolutions follow rules of their own.
docs/validation.md has what this gives for peaks. Without tensor cores (a GPU before Volta;
float32 without TF32) none of it is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import log, prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from srprof.codec import decode
from srprof.files import read_json
from srprof.ops import FEWEST_IN_TENSOR_CORES, argument, row, transposed_and_groups
from srprof.records import Node, TensorInfo
from srprof.words import MIB

#: What a user gives for a table of workspaces to have this rule.
TENSOR_CORES = "tensor-cores"
#: And for this one.
POINTWISE = "pointwise"
SOURCE = "cuDNN's copies for tensor cores, as an H200 made them"
WINOGRAD_SOURCE = "the filters that cuDNN transforms for Winograd's kernels, by a rule"
POINTWISE_SOURCE = "128 MiB in each 1x1 convolution, as published peaks have them"
TABLE = Path(__file__).parents[1] / "data" / "cudnn_copies.json"

#: Bytes of an element, and channels to whose multiple maps are filled up: 16 bytes' worth.
FILLED = {"float32": (4, 4), "float16": (2, 8), "bfloat16": (2, 8)}
#: The most by which the three copies are aligned.
_ALIGNMENT = 147
#: Elements above which a 1x1 convolution, else a matrix product in place, is computed by copies.
_MOST_ELEMENTS = 2**31 - 1
#: Input channels from which most of Pascal's 3x3 convolutions are Winograd's.
_FEWEST_IN_WINOGRAD = 32
#: What a 1x1 convolution takes on some GPUs, whatever its widths, and pixels up to which it does:
#: it was seen of 260,100 and not of 1,040,400.
_OF_POINTWISE, _MOST_PIXELS = 128 * MIB, 2**19
#: A measured convolution's distance from another: if only one has enough input channels for tensor
#: cores, for widths of another alignment, for a width twice as large, for four times the pixels.
_ENOUGH, _OTHER_ALIGNMENT, _TWICE_AS_WIDE, _FOUR_TIMES_LARGER = 4.0, 2.0, 3.0, 2.0


@dataclass(frozen=True)
class CopiesTable:
    """What cuDNN copied in 2-d convolutions of stride 1, as measured on one GPU.

    Attributes:
        source: the device and versions.
        copies: by `dtype kernel pixels`, followed by ` last` where maps had their channels
            innermost, and what was done, pairs of input and output channels.
            What was done is a letter for the input and one for the output: `-` it was read where
            it was, `c` it was copied, `f` it was copied with its channels filled up.
    """

    source: str
    copies: Mapping[str, Mapping[str, str]]


def copied_for_tensor_cores(node: Node) -> int | None:
    """Bytes of scratch of a convolution on tensor cores; None where nothing is known.

    A node that is no convolution is not known either.
    """
    if row(node.op).scratch != "cudnn":
        return None
    image, weight, *_ = node.inputs
    transposed, groups = transposed_and_groups(node)
    if len(image.shape) != 4 or image.dtype not in FILLED:
        return None
    if groups != 1:
        return None if transposed else _copies_of_groups(image, weight, node.outputs[0], groups)
    if transposed:
        return _copies_of_transposed(node)
    last = is_last(image) or is_last(weight)
    if prod(weight.shape[2:]) == 1:
        whole = _made_whole(image, last)
        return whole if prod(image.shape) <= _MOST_ELEMENTS else whole + _copies(node, "ff")
    pixels = node.shape[0] * prod(node.shape[2:])
    kernel = round(prod(weight.shape[2:]) ** 0.5)
    widths = weight.shape[1], weight.shape[0]
    done = copies_made(image.dtype, kernel, *widths, pixels, last)
    return _made_whole(image, last) + _copies(node, done)


def transformed_filters(node: Node) -> int | None:
    """Bytes of scratch of a convolution on a GPU before tensor cores, by a rule.

    There cuDNN takes Winograd's kernels for most 3x3 convolutions of large maps and at least 32
    channels (NeuSight's measurements of a Tesla P4 and P100), most often of tiles of 4 x 8: each
    filter is transformed to as many values. None for a node that is no convolution.
    """
    if row(node.op).scratch != "cudnn":
        return None
    image, weight, *_ = node.inputs
    transposed, groups = transposed_and_groups(node)
    stride = argument(node, 3, (1,))
    plain = not transposed and groups == 1 and set(stride) == {1}
    if not plain or tuple(weight.shape[2:]) != (3, 3) or image.dtype != "float32":
        return 0
    return 0 if weight.shape[1] < _FEWEST_IN_WINOGRAD else 4 * 8 * 4 * prod(weight.shape[:2])


def fixed_for_pointwise(node: Node) -> int | None:
    """Bytes of scratch of a convolution where each of 1x1 takes as much; None for another node.

    Read off peaks that entrants of the NTIRE challenges published of their own GPUs, whose names
    they did not (docs/validation.md). An H200 takes none (cuDNN 9.19).
    """
    if row(node.op).scratch != "cudnn":
        return None
    transposed, groups = transposed_and_groups(node)
    pointwise = not transposed and groups == 1 and prod(node.inputs[1].shape[2:]) == 1
    pixels = node.shape[0] * prod(node.shape[2:])
    return _OF_POINTWISE if pointwise and pixels <= _MOST_PIXELS else 0


@cache
def copies_made(
    dtype: str, kernel: int, inputs: int, outputs: int, pixels: int, last: bool = False
) -> str:
    """What cuDNN copies, in the letters of `CopiesTable`, as for the nearest one measured.

    `last`: the maps have their channels innermost.
    """
    dtype = "float32" if dtype == "float32" else "float16"
    table = _table()[dtype, last]
    measured = table[min(table, key=lambda side: abs(side - kernel))]
    multiple = FILLED[dtype][1]
    far = measured.each(2, lambda size: abs(log(size / pixels, 4)) * _FOUR_TIMES_LARGER)
    enough = inputs >= FEWEST_IN_TENSOR_CORES
    far += measured.each(0, lambda width: ((width >= FEWEST_IN_TENSOR_CORES) != enough) * _ENOUGH)
    for column, wanted in enumerate((inputs, outputs)):
        far += measured.each(column, partial(_twice, wanted))
        far += measured.each(column, partial(_other_alignment, wanted, multiple))
    nearest = int(far.argmin())
    widths, done = measured.rows[nearest, :2].tolist(), measured.done[nearest]
    # kernels that read unfilled widths are chosen for just the widths where they were seen
    return "".join(
        letter if letter == "-" or width == wanted or wanted % multiple == 0 else "f"
        for letter, width, wanted in zip(done, widths, (inputs, outputs), strict=True)
    )


def _twice(wanted: int, width: int) -> float:
    return abs(log(width / wanted, 2)) * _TWICE_AS_WIDE


def _other_alignment(wanted: int, multiple: int, width: int) -> float:
    return (_alignment(width, multiple) != _alignment(wanted, multiple)) * _OTHER_ALIGNMENT


class _Measured:
    """Convolutions of one dtype, layout and kernel: their channels, pixels, and what was copied."""

    def __init__(self, found: Sequence[tuple[int, int, int, str]]) -> None:
        self.rows = np.array([row[:3] for row in found])
        self.done = [row[3] for row in found]
        self._values = [np.unique(column, return_inverse=True) for column in self.rows.T]

    def each(self, column: int, function: Callable[[int], float]) -> npt.NDArray[np.float64]:
        """A function of a column's values, which are few, by row."""
        values, rows = self._values[column]
        return np.array([float(function(value)) for value in values.tolist()])[rows]


@cache
def _table() -> Mapping[tuple[str, bool], Mapping[int, _Measured]]:
    """By dtype, layout and kernel."""
    rows: dict[tuple[str, bool], dict[int, list[tuple[int, int, int, str]]]] = {}
    table = decode(CopiesTable, read_json(TABLE))
    for key, entries in table.copies.items():
        dtype, kernel, pixels, *last = key.split()
        found = rows.setdefault((dtype, bool(last)), {}).setdefault(int(kernel), [])
        for done, pairs in entries.items():
            for pair in pairs.split():
                inputs, outputs = map(int, pair.split("-"))
                found.append((inputs, outputs, int(pixels), done))
    return {key: {k: _Measured(f) for k, f in kernels.items()} for key, kernels in rows.items()}


def _alignment(channels: int, multiple: int) -> int:
    """The power of two, up to a whole reading of the tensor cores, that divides the channels."""
    return min(channels & -channels, multiple)


def _copies_of_groups(
    image: TensorInfo, weight: TensorInfo, result: TensorInfo, groups: int
) -> int:
    """All is copied, with each group's channels filled up to a power of two."""
    if image.shape[1] == groups:  # depthwise: its kernels read NCHW
        return 0
    inputs, outputs = (
        1 << (n // groups - 1).bit_length() for n in (image.shape[1], result.shape[1])
    )
    maps = (
        image.shape[0]
        * groups
        * (inputs * prod(image.shape[2:]) + outputs * prod(result.shape[2:]))
    )
    weights = groups * outputs * inputs * prod(weight.shape[2:])
    return FILLED[image.dtype][0] * (maps + weights) + _ALIGNMENT


def _copies_of_transposed(node: Node) -> int | None:
    """As for others of enough channels; in half precision to few channels the sums are float32."""
    result = node.outputs[0]
    if result.shape[1] >= FEWEST_IN_TENSOR_CORES:
        return _copies(node, "ff")
    if result.dtype == "float32":
        return None
    return _copies(node, "ff") + 4 * prod(result.shape)


def _copies(node: Node, done: str) -> int:
    """Bytes of both maps' copies, of the weights', and of what aligns them."""
    image, weight, *_ = node.inputs
    maps = _copy(image, done[0]) + _copy(node.outputs[0], done[1])
    return maps + _copy_of_weights(weight, done) + _ALIGNMENT if maps else 0


def _copy(maps: TensorInfo, done: str) -> int:
    """Bytes of these maps in NHWC; 0 if they are read where they are."""
    size, multiple = FILLED[maps.dtype]
    batch, channels, *sides = maps.shape
    if done == "-" or channels == 1:
        return 0
    return size * batch * (_filled(channels, multiple) if done == "f" else channels) * prod(sides)


def is_last(maps: TensorInfo) -> bool:
    """Whether they have their channels innermost; of one pixel, only if their strides say so."""
    innermost = maps.shape[1] > 1 and maps.strides[1:2] == (1,)
    return innermost and maps.strides[-1] >= maps.shape[1]


def _made_whole(image: TensorInfo, last: bool) -> int:
    """Bytes of the copy that PyTorch makes of maps that do not lie whole in a layout's order."""
    order = (0, 2, 3, 1) if last else (0, 1, 2, 3)
    expected = 1
    for axis in reversed(order):
        if image.shape[axis] > 1 and image.strides[axis] != expected:
            return image.nbytes
        expected *= image.shape[axis]
    return 0


def _copy_of_weights(weight: TensorInfo, done: str) -> int:
    """Those of 1x1 are the same in both formats."""
    size, multiple = FILLED[weight.dtype]
    outputs, inputs, height, width = weight.shape
    if height == width == 1:
        return 0
    sides = (
        _filled(side, multiple) if letter == "f" and side > 1 else side
        for side, letter in zip((inputs, outputs), done, strict=True)
    )
    return size * prod(sides) * height * width


def _filled(channels: int, multiple: int) -> int:
    return -(-channels // multiple) * multiple
