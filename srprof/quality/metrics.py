"""PSNR and SSIM of 8-bit images, in the challenge's way and in the papers'.

The challenge (NTIRE, efficient super-resolution) compares R, G and B; the papers compare luma: Y
of YCbCr by BT.601 as MATLAB's `rgb2ycbcr` gives it for 8-bit images, 16 to 235 and rounded. Both
leave out a border of `scale` pixels. SSIM is that of Wang et al. ("Image Quality Assessment: From
Error Visibility to Structural Similarity", 2004): a Gaussian window of 11x11 with sigma 1.5, only
where it fits into the image, the covariance not of a sample; for RGB the mean of the channels.
"""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srprof.errors import InputError
from srprof.loading import needed

Image8 = NDArray[np.uint8]

#: Side of SSIM's window, the smallest image that it can be taken of.
WINDOW = 11


def psnr(first: Image8, second: Image8, border: int = 0) -> float:
    """Peak signal-to-noise ratio in dB, of 255; infinite where the images are the same.

    Args:
        first, second: 8-bit images of one shape, (H, W) or (H, W, C).
        border: pixels to leave out on each side, the scale.

    Raises:
        InputError: other shapes or dtypes, nothing within the border, or no scikit-image.
    """
    one, other = _cropped(first, second, border)
    if np.array_equal(one, other):
        return inf
    return float(load_metrics().peak_signal_noise_ratio(one, other, data_range=255))


def ssim(first: Image8, second: Image8, border: int = 0) -> float:
    """Structural similarity, 1 for images that are the same; of colours the mean.

    Args and errors as for `psnr`; within the border there must be 11x11 pixels.
    """
    one, other = _cropped(first, second, border)
    if min(one.shape[:2]) < WINDOW:
        there = f"there are {one.shape[0]}x{one.shape[1]} within a border of {border}"
        raise InputError(f"SSIM needs {WINDOW}x{WINDOW} pixels, and {there}: give larger images")
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    axis = 2 if one.ndim == 3 else None
    similarity = load_metrics().structural_similarity
    return float(similarity(one, other, data_range=255, channel_axis=axis, **window))


def luma(image: NDArray[Any]) -> NDArray[np.float64]:
    """Y by BT.601, 16 to 235 and not rounded, of RGB from 0 to 255: (H, W, 3) to (H, W)."""
    weights = np.array([65.481, 128.553, 24.966]) / 255
    return 16 + np.asarray(image, np.float64) @ weights


def luma8(image: Image8) -> Image8:
    """Y of an 8-bit image in 8 bits, halves rounded up, as MATLAB's `rgb2ycbcr`."""
    return np.floor(luma(image) + 0.5).astype(np.uint8)


def modcrop(image: NDArray[Any], scale: int) -> NDArray[Any]:
    """The image without the rows below and columns to the right that the scale leaves over."""
    height, width = (side - side % scale for side in image.shape[:2])
    return image[:height, :width]


def _cropped(
    first: Image8, second: Image8, border: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both images in float64 without their border."""
    if first.shape != second.shape or first.ndim not in (2, 3):
        what = f"images of {first.shape} and {second.shape} cannot be compared"
        raise InputError(f"{what}: give two of one shape, (H, W) or (H, W, C)")
    if first.dtype != np.uint8 or second.dtype != np.uint8:
        what = f"images of {first.dtype} and {second.dtype} cannot be compared"
        raise InputError(f"{what}: give 8 bits (uint8)")
    height, width = first.shape[:2]
    if border < 0 or min(height, width) <= 2 * border:
        what = f"an image of {height}x{width}"
        raise InputError(f"{what} has nothing within a border of {border} pixels")
    inside = np.s_[border : height - border, border : width - border]
    return first[inside].astype(np.float64), second[inside].astype(np.float64)


def load_metrics() -> Any:
    """scikit-image's metrics, which are loaded when they are first needed."""
    why = "PSNR and SSIM need the package scikit-image"
    module = needed("skimage.metrics", why, "quality")
    for name in ("peak_signal_noise_ratio", "structural_similarity"):
        getattr(module, name)  # its parts are loaded when they are first looked at
    return module
