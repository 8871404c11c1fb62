"""Bicubic resizing as MATLAB's `imresize` does it, by which the field's LR images are made.

The kernel is Keys' with a = -0.5 (Keys, "Cubic Convolution Interpolation for Digital Image
Processing", 1981). When an image shrinks, the kernel is stretched by the factor, so that it also
filters (antialiasing). Beyond the border the image is its own mirror image, the border pixel
twice. No library here does all three: `torch.nn.functional.interpolate(antialias=True)` and
Pillow have the same kernel, and cut it off at the border instead; inside they are equal.

MATLAB rounds an 8-bit image after each of the two directions, this rounds nothing: it gives what
MATLAB gives for an image of doubles.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srprof.errors import InputError

Array = NDArray[np.float64]

#: Width of the kernel, in pixels of the coarser image.
_WIDTH = 4


def bicubic(image: NDArray[Any], scale: float | Fraction) -> Array:
    """An image (H, W) or (H, W, C) as (ceil(scale*H), ceil(scale*W)), in float64, not clipped.

    Args:
        image: of any real dtype and range, which the result keeps.
        scale: of each side: 4 enlarges, `Fraction(1, 4)` or 0.25 shrinks.

    Raises:
        InputError: the scale is not positive, or there is no pixel.
    """
    factor = Fraction(scale).limit_denominator(10_000)
    if factor <= 0 or image.ndim not in (2, 3) or 0 in image.shape:
        mend = "give an image (H, W) or (H, W, C) and a positive scale"
        raise InputError(f"an image of shape {image.shape} cannot be resized by {scale}: {mend}")
    rows = _along(np.asarray(image, np.float64), factor)
    return np.ascontiguousarray(_along(rows.swapaxes(0, 1), factor).swapaxes(0, 1))


def _along(image: Array, factor: Fraction) -> Array:
    """The image resized along its first axis."""
    indices, weights = contributions(image.shape[0], factor)
    result = np.zeros((len(indices), *image.shape[1:]))
    shape = (-1, *[1] * (image.ndim - 1))
    for tap in range(indices.shape[1]):
        result += weights[:, tap].reshape(shape) * image[indices[:, tap]]
    return result


def contributions(length: int, factor: Fraction) -> tuple[NDArray[np.intp], Array]:
    """Which pixels of a line of this length make each pixel of the resized line, and how much.

    Gives indices and weights, each (pixels of the result, taps); a pixel's weights sum to 1.
    """
    stretch = max(1.0, float(1 / factor))
    reach = _WIDTH * stretch / 2
    # pixels are squares: the centre of pixel i of the result lies here in the source
    centres = (np.arange(ceil(factor * length)) + 0.5) / float(factor) - 0.5
    first = np.floor(centres - reach).astype(np.intp)
    taps = first[:, None] + np.arange(ceil(2 * reach) + 2)
    weights = _kernel((centres[:, None] - taps) / stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    folded = taps % (2 * length)
    return np.where(folded < length, folded, 2 * length - 1 - folded), weights


def _kernel(distance: Array) -> Array:
    x = np.abs(distance)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
