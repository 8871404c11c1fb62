"""Scratch that cuFFT takes in a Fourier transform, by a rule. Pure; no torch.

An H200 (torch 2.11) took none for sides of 128 and 256, and as much as the complex values for
339x510, 510x510: sides that have a prime factor over 7 are transformed by way of others.
"""

from __future__ import annotations

from srprof.ops import row
from srprof.records import Node

#: Factors that cuFFT's kernels have; others go by Bluestein's algorithm.
_FACTORS = (2, 3, 5, 7)
_COMPLEX = "complex"


def transformed(node: Node) -> int | None:
    """Bytes of scratch of a Fourier transform; None for another node."""
    if row(node.op).scratch != "cufft":
        return None
    values = [info for info in (*node.inputs, *node.outputs) if info.dtype.startswith(_COMPLEX)]
    real = [info for info in (*node.inputs, *node.outputs) if info not in values]
    shape = (real or values)[0].shape
    over = node.arguments[0][1]  # aten::_fft_r2c(input, dim, ...) and its like
    kernels = all(_has_kernel(shape[dim]) for dim in over)
    return 0 if kernels else max(info.nbytes for info in values)


def _has_kernel(side: int) -> bool:
    for factor in _FACTORS:
        while side % factor == 0 and side:
            side //= factor
    return side == 1
