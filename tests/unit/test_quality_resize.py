"""MATLAB's bicubic: the stored reference by the definition, torch inside, laws that it obeys."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from srprof.errors import InputError
from srprof.quality.images import to_bits8
from srprof.quality.metrics import luma8, psnr
from srprof.quality.resize import bicubic, contributions
from tests.made_up_images import photograph

STORED = json.loads((Path(__file__).parents[1] / "golden" / "bicubic_x4.json").read_text())


def test_the_stored_reference():
    """By `tests/golden/make_bicubic.py`, in exact fractions."""
    hr, lr, sr = (np.array(STORED[name], np.uint8) for name in ("hr", "lr", "sr"))
    assert np.array_equal(hr, photograph())
    made = to_bits8(bicubic(hr, Fraction(1, 4)))
    assert np.array_equal(made, lr)
    enlarged = to_bits8(bicubic(made, 4))
    assert np.array_equal(enlarged, sr)
    assert psnr(enlarged, hr, 4) == pytest.approx(STORED["psnr_rgb_dB"], abs=0.01)
    assert psnr(luma8(enlarged), luma8(hr), 4) == pytest.approx(STORED["psnr_y_dB"], abs=0.01)


@pytest.mark.parametrize("scale", [Fraction(1, 4), Fraction(1, 3), Fraction(1, 2), 2, 3, 4])
def test_inside_it_is_torch_s(scale):
    image = np.random.default_rng(0).random((48, 60, 3))
    ours = bicubic(image, scale)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    theirs = F.interpolate(tensor, size=ours.shape[:2], mode="bicubic", antialias=True)
    difference = abs(ours - theirs[0].permute(1, 2, 0).numpy())
    edge = max(3, int(3 * scale))
    assert difference[edge:-edge, edge:-edge].max() < 1e-12
    assert difference.max() > 1e-3  # at the border torch cuts the kernel off


@pytest.mark.parametrize("scale, size", [(0.25, (3, 4)), (Fraction(1, 3), (4, 5)), (3, (33, 39))])
def test_sizes_are_rounded_up(scale, size):
    assert bicubic(np.zeros((11, 13)), scale).shape == size


@settings(max_examples=40)
@given(
    st.integers(1, 40),
    st.sampled_from([Fraction(1, 4), Fraction(1, 3), Fraction(1, 2), Fraction(1), 2, 3, 4]),
)
def test_weights_sum_to_one_and_stay_inside(length, scale):
    indices, weights = contributions(length, Fraction(scale))
    assert weights.sum(axis=1) == pytest.approx(np.ones(len(weights)))
    assert indices.min() >= 0
    assert indices.max() < length


@settings(max_examples=20)
@given(st.sampled_from([Fraction(1, 3), Fraction(1, 4), 2, 3]), st.integers(0, 2**20))
def test_mirroring_commutes(scale, seed):
    image = np.random.default_rng(seed).random((12, 24))
    turned = bicubic(image[::-1, ::-1], scale)[::-1, ::-1]
    assert bicubic(image, scale) == pytest.approx(turned, abs=1e-12)


def test_a_ramp_stays_a_ramp_inside():
    """Keys' kernel with a = -0.5 is exact for straight lines."""
    ramp = np.arange(40.0)[None].repeat(3, axis=0)
    assert bicubic(ramp, 4)[0, 8:-8] == pytest.approx((np.arange(160) + 0.5)[8:-8] / 4 - 0.5)


def test_scale_1_changes_nothing():
    assert np.array_equal(bicubic(photograph(), 1), photograph())


@pytest.mark.parametrize("image, scale", [(np.zeros((4, 4)), 0), (np.zeros((0, 4)), 2)])
def test_what_cannot_be_resized(image, scale):
    with pytest.raises(InputError, match="cannot be resized"):
        bicubic(image, scale)
