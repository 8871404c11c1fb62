"""PSNR, SSIM and luma against computations of their own, and what they refuse."""

from __future__ import annotations

import sys
from math import inf, log10

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import convolve2d

from srprof.errors import InputError
from srprof.quality.metrics import luma, luma8, modcrop, psnr, ssim
from tests.made_up_images import photograph


def noisy(image: np.ndarray, spread: float = 9) -> np.ndarray:
    """The image with fixed noise."""
    noise = np.random.default_rng(1).normal(0, spread, image.shape)
    return np.clip(image + noise, 0, 255).round().astype(np.uint8)


def own_psnr(one: np.ndarray, other: np.ndarray, border: int) -> float:
    """The formula, in whole numbers."""
    a, b = (x[border:-border, border:-border].astype(int).ravel().tolist() for x in (one, other))
    squares = sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
    return 10 * log10(255**2 * len(a) / squares)


def own_ssim(one: np.ndarray, other: np.ndarray, border: int) -> float:
    """Wang et al.'s equations with a 2-d window and a `valid` convolution, as their program."""
    a, b = (x[border:-border, border:-border].astype(float) for x in (one, other))
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line)
    window /= window.sum()

    def mean(image):
        return convolve2d(image, window, mode="valid")

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    shown = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    return float(shown.mean())


@pytest.mark.parametrize("border", [1, 2, 3, 4])
def test_psnr_and_ssim_of_rgb(border):
    one = photograph(61, 47)
    other = noisy(one)
    assert psnr(one, other, border) == pytest.approx(own_psnr(one, other, border), abs=1e-6)
    channels = [own_ssim(one[..., c], other[..., c], border) for c in range(3)]
    assert ssim(one, other, border) == pytest.approx(sum(channels) / 3, abs=1e-6)
    assert 0.2 < ssim(one, other, border) < 0.98


@pytest.mark.parametrize("border", [2, 4])
def test_psnr_and_ssim_of_luma(border):
    one, other = luma8(photograph(61, 47)), luma8(noisy(photograph(61, 47)))
    assert psnr(one, other, border) == pytest.approx(own_psnr(one, other, border), abs=1e-6)
    assert ssim(one, other, border) == pytest.approx(own_ssim(one, other, border), abs=1e-6)


def test_luma_is_matlab_s():
    """Corners of the cube as MATLAB's documentation has them: black 16, white 235."""
    colours = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)]
    image = np.array([colours], np.uint8)
    assert luma8(image).tolist() == [[16, 235, 81, 145, 41]]
    assert luma(image) == pytest.approx(np.array([[16, 235, 81.481, 144.553, 40.966]]))


def test_luma_is_scikit_image_s():
    from skimage.color import rgb2ycbcr

    image = photograph()
    assert luma(image) == pytest.approx(rgb2ycbcr(image)[..., 0], abs=1e-10)


def test_the_same_image_is_infinitely_good():
    image = photograph()
    assert psnr(image, image.copy(), 4) == inf
    assert ssim(image, image.copy(), 4) == 1


def test_only_the_border_differs():
    one = photograph()
    other = one.copy()
    other[:4] = other[:, :4] = other[-4:] = other[:, -4:] = 0
    assert psnr(one, other, 4) == inf
    assert psnr(one, other, 3) < 40


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 4))
def test_modcrop_keeps_the_corner(height, width, scale):
    image = np.arange(height * width).reshape(height, width)
    cropped = modcrop(image, scale)
    assert cropped.shape == (height // scale * scale, width // scale * scale)
    assert np.array_equal(cropped, image[: cropped.shape[0], : cropped.shape[1]])


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_what_cannot_be_compared(metric):
    image = photograph()
    with pytest.raises(InputError, match=r"cannot be compared: give two of one shape"):
        metric(image, image[1:], 4)
    with pytest.raises(InputError, match=r"float64 .*cannot be compared: give 8 bits"):
        metric(image, image.astype(float), 4)
    with pytest.raises(InputError, match="has nothing within a border of 24 pixels"):
        metric(image, image, 24)


def test_ssim_of_less_than_its_window():
    with pytest.raises(InputError, match=r"SSIM needs 11x11 pixels, and there are 10x44"):
        ssim(photograph(18, 52), photograph(18, 52), 4)


def test_without_scikit_image(monkeypatch):
    image = photograph()
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(InputError, match=r"need the package scikit-image: pip install 'srprof"):
        psnr(image, noisy(image), 4)
