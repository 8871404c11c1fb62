"""Scratch that cuDNN takes in a convolution on tensor cores, by a rule. Pure; no torch.

cuDNN's kernels for tensor cores compute in NHWC. Given NCHW, it copies the input, the weights and
the output, with channels filled up to what the tensor cores read at once; the copies are scratch
of the call. This is what an H100 took (torch 2.11, cuDNN 9.19, `benchmarks/records/nvidia-h100`),
to the byte in most convolutions; where a heuristic of cuDNN's picks another algorithm there, the
rule says too much or, for transposed convolutions to one channel, nothing. docs/validation.md has
the peaks. Without tensor cores (a GPU before Volta; float32 without TF32) none of it is taken.
"""

from __future__ import annotations

from math import prod

from srprof.ops import FEWEST_IN_TENSOR_CORES, row, transposed_and_groups
from srprof.records import Node, TensorInfo

#: What a user gives for a table of workspaces to have this rule.
TENSOR_CORES = "tensor-cores"
SOURCE = "cuDNN's copies for tensor cores, by a rule"

#: Bytes of an element, and channels to whose multiple maps are filled up: 16 bytes' worth.
_DTYPES = {"float32": (4, 4), "float16": (2, 8), "bfloat16": (2, 8)}
#: The most by which the three copies are aligned.
_ALIGNMENT = 147
#: Elements above which a 1x1 convolution, else a matrix product in place, is computed by copies.
_MOST_ELEMENTS = 2**31 - 1


def copied_for_tensor_cores(node: Node) -> int | None:
    """Bytes of scratch of a convolution on tensor cores; None where the rule does not know.

    A node that is no convolution is not known either.
    """
    if row(node.op).scratch != "cudnn":
        return None
    image, weight, *_ = node.inputs
    transposed, groups = transposed_and_groups(node)
    if len(image.shape) != 4 or image.dtype not in _DTYPES or groups != 1:
        return None
    if transposed and node.shape[1] < FEWEST_IN_TENSOR_CORES:
        return None
    in_place = prod(weight.shape[2:]) == 1 and prod(image.shape) <= _MOST_ELEMENTS
    if image.shape[1] < FEWEST_IN_TENSOR_CORES or in_place:
        return 0
    maps = _copy(image) + _copy(node.outputs[0])
    return maps + _copy_of_weights(weight) + _ALIGNMENT if maps else 0


def _copy(maps: TensorInfo) -> int:
    """Bytes of these maps in NHWC; 0 if they are just so already."""
    size, multiple = _DTYPES[maps.dtype]
    batch, channels, *sides = maps.shape
    if channels == 1 or (channels % multiple == 0 and maps.strides[1:2] == (1,)):
        return 0
    return size * batch * _filled(channels, multiple) * prod(sides)


def _copy_of_weights(weight: TensorInfo) -> int:
    """Those of 1x1 are the same in both formats."""
    size, multiple = _DTYPES[weight.dtype]
    *channels, height, width = weight.shape
    if height == width == 1:
        return 0
    return size * prod(_filled(side, multiple) for side in channels) * height * width


def _filled(channels: int, multiple: int) -> int:
    """Fewer channels than are read at once stay as they are."""
    return channels if channels < multiple else -(-channels // multiple) * multiple
