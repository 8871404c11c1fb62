"""Power spectra and densities of known signals; hooks that come and go."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from srprof import models
from srprof.errors import InputError, ModelError
from srprof.quality.spectrum import HIGH, ModuleSpectra, Spectrum, chosen_modules, recording_maps


def wave(height: int, width: int, rows: int, columns: int, phase: float = 0.3) -> np.ndarray:
    """So many waves from top to bottom and from left to right."""
    y, x = np.mgrid[:height, :width]
    return np.cos(2 * np.pi * (rows * y / height + columns * x / width) + phase)


@pytest.mark.parametrize("side", [64, 63])
@pytest.mark.parametrize("rows, columns, ring", [(0, 7, 7), (19, 0, 19), (3, 4, 5), (30, 30, 42)])
def test_a_single_frequency_lands_in_its_ring(side, rows, columns, ring):
    density = Spectrum(1, wave(side, side, rows, columns)).density
    assert density[ring] == pytest.approx(1, abs=1e-12)
    assert np.delete(density, ring) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("rows, columns, ring", [(0, 30, 10), (10, 0, 10), (6, 24, 10)])
def test_rings_are_of_frequencies_and_not_of_pixels(rows, columns, ring):
    """30 waves over 96 pixels are as fast as 10 over 32."""
    spectrum = Spectrum(1, wave(32, 96, rows, columns))
    assert spectrum.density[ring] == pytest.approx(1, abs=1e-12)
    assert spectrum.radius[ring] == ring / 32


def test_two_frequencies_and_a_mean():
    """Power goes with the square of the amplitude; a cosine has half of its square."""
    spectrum = Spectrum(1, 1 + wave(64, 64, 0, 5) + 3 * wave(64, 64, 20, 0))
    assert spectrum.density[[0, 5, 20]] == pytest.approx(np.array([1, 0.5, 4.5]) / 6)
    assert spectrum.constant == pytest.approx(1 / 6)
    assert spectrum.high == pytest.approx(0.9)  # 20/64 is above a quarter, 5/64 below
    assert spectrum.high_of_all == pytest.approx(4.5 / 6)
    assert spectrum.rest[[4, 19]] == pytest.approx(np.array([0.1, 0.9]))
    assert 5 / 64 < HIGH < 20 / 64


def test_the_spectrum_is_centred():
    for height, width in ((8, 8), (9, 7), (6, 11)):
        power = Spectrum(1, np.ones((height, width))).power
        assert np.argwhere(power > 1e-9).tolist() == [[height // 2, width // 2]]
        assert power.max() == pytest.approx((height * width) ** 2)


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**20), st.floats(0.001, 1e6))
def test_densities_sum_to_one(height, width, seed, size):
    image = size * np.random.default_rng(seed).normal(1, 1, (height, width))
    spectrum = Spectrum(3, image)
    assert spectrum.density.sum() == pytest.approx(1)
    assert spectrum.density.min() >= 0
    assert len(spectrum.radius) == len(spectrum.density)
    assert spectrum.power.sum() == pytest.approx(height * width * (image**2).sum())  # Parseval
    assert 0 <= spectrum.high <= 1
    assert spectrum.high_of_all == pytest.approx(spectrum.high * (1 - spectrum.constant))
    assert spectrum.rest.sum() == pytest.approx(1) or len(spectrum.density) == 1


def test_a_map_of_zeros_has_no_density():
    spectrum = Spectrum(1, np.zeros((8, 8)))
    assert not spectrum.density.any()
    assert (spectrum.constant, spectrum.high, spectrum.high_of_all) == (0, 0, 0)
    assert not spectrum.rest.any()


def test_what_a_module_moves():
    """With the constant all that it loses; without it only what changed between the others."""
    before = Spectrum(1, 2 + wave(64, 64, 0, 5) + wave(64, 64, 20, 0))  # 4 + 0.5 + 0.5
    after = Spectrum(1, 1 + wave(64, 64, 0, 5) + wave(64, 64, 20, 0))  # 1 + 0.5 + 0.5
    other = Spectrum(1, 1 + wave(64, 64, 0, 5) + 2 * wave(64, 64, 20, 0))  # 1 + 0.5 + 2

    def moved(one: Spectrum, two: Spectrum) -> tuple[float | None, float | None]:
        item = ModuleSpectra("m", "M", 1, one, two)
        return item.moved, item.moved_of_rest

    assert moved(before, before) == (0, 0)
    assert moved(before, after) == pytest.approx((0.8 - 0.5, 0))
    assert moved(after, other) == pytest.approx((2 / 3.5 - 0.25, 0.8 - 0.5))
    assert moved(before, Spectrum(1, wave(32, 32, 1, 1))) == (None, None)


# -- modules --------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 4, 3, padding=1)
        self.body = nn.ModuleList(nn.ReLU(inplace=True) for _ in range(2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flat = nn.Flatten()

    def forward(self, x: torch.Tensor, fail: bool = False) -> torch.Tensor:
        x = self.head(x)
        x = self.body[1](self.body[0](x) - 1)
        if fail:
            raise ValueError("no luck")
        self.flat(x)
        return self.body[1](x - 2)


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_maps_before_and_after():
    torch.manual_seed(0)
    model, image = Net().eval(), torch.rand(1, 3, 8, 9)
    with recording_maps(model, ["body.1", "head", "body.0", "flat"]) as found, torch.no_grad():
        model(image)
    assert [(item.module, item.call) for item in found] == [
        ("head", 1),
        ("body.0", 1),
        ("body.1", 1),
        ("body.1", 2),
    ]  # Flatten gives no feature map
    head, first, second, third = found
    assert np.array_equal(head.before.mean, image[0].double().mean(0).numpy())
    assert (head.before.channels, head.after.channels, head.kind) == (3, 4, "Conv2d")
    assert np.array_equal(head.after.mean, first.before.mean)  # although it changed in place
    assert first.after.mean.min() >= 0 > first.before.mean.min()
    assert second.before.mean == pytest.approx(first.after.mean - 1, abs=1e-6)
    assert not third.after.mean.any()
    assert hooks(model) == 0


def test_hooks_are_gone_if_the_model_raises():
    model = Net()
    with pytest.raises(ValueError, match="no luck"), recording_maps(model, ["head", "body.1"]):
        assert hooks(model) == 4
        model(torch.rand(1, 3, 8, 8), fail=True)
    assert hooks(model) == 0


def test_hooks_are_gone_if_there_is_no_such_module():
    model = Net()
    with pytest.raises(AttributeError), recording_maps(model, ["head", "nothing"]):
        pass
    assert hooks(model) == 0


def test_keyword_arguments_and_results_that_are_no_maps():
    class Part(nn.Module):
        def forward(self, *, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = Part()
            self.relu = nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.relu(input=self.part(x=x)[0])

    model = Whole()
    with recording_maps(model, ["part", "relu"]) as found:
        model(torch.rand(1, 2, 5, 5))
    assert [item.module for item in found] == ["relu"]


def test_a_map_with_nan():
    with pytest.raises(ModelError, match="a feature map of 0 has NaN or infinity"):
        model = nn.Sequential(nn.ReLU())
        with recording_maps(model, ["0"]):
            model(torch.full((1, 1, 4, 4), torch.nan))


# -- choosing -------------------------------------------------------------------------------------


def test_by_default_every_hfab():
    names = ["warmup.1", *(f"HFABs.{i}" for i in range(4))]
    assert chosen_modules(models.fmen_s(), []) == names
    assert chosen_modules(models.fmen_s(form="train"), []) == names


def test_names_and_patterns():
    model = models.fmen_s()
    assert chosen_modules(model, ["head", "HFABs.?", "HFABs.1"]) == [
        "head",
        *(f"HFABs.{i}" for i in range(4)),
    ]


@pytest.mark.parametrize(
    "name, hint",
    [
        ("HFAB.0", r"did you mean HFABs\.0 or"),
        ("hfabs.0.squeeze", r"did you mean HFABs\.0\.squeeze or"),
        ("zzz", r"it has head, warmup, warmup\.0, .* and \d+ more"),
    ],
)
def test_an_unknown_module(name, hint):
    with pytest.raises(InputError, match=rf"FMEN has none, {hint}"):
        chosen_modules(models.fmen_s(), ["head", name])


def test_no_hfab():
    with pytest.raises(InputError, match=r"Sequential has no HFAB: name modules with --module; "):
        chosen_modules(nn.Sequential(nn.ReLU()), [])
    with pytest.raises(InputError, match="it has no modules at all"):
        chosen_modules(nn.ReLU(), [])
