"""Copies that PyTorch's own CUDA kernels make of maps in another layout. Pure; no torch."""

from __future__ import annotations

from srprof.memory.cudnn import is_last
from srprof.ops import FEWEST_AT_ONCE, row
from srprof.records import Node


def copied_by_aten(node: Node) -> int:
    """Bytes of scratch of a kernel that computes maps with channels innermost in the other layout.

    `upsample_nearest2d` (aten/src/ATen/native/cuda/UpSampleNearest2d.cu) has a kernel for channels
    innermost that takes 4 of them at once; for fewer it copies the image and the result. On an RTX
    4090 that was 59.8 MiB of an image of 3x480x640 to four times its size, as it is here.
    """
    if row(node.op).scratch != "aten" or not node.inputs:
        return 0
    image, result = node.inputs[0], node.outputs[0]
    if len(image.shape) != 4 or not is_last(image) or image.shape[1] >= FEWEST_AT_ONCE:
        return 0
    return image.nbytes + result.nbytes
