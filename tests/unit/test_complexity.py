"""The challenge's counts and the true MACs, layer by layer."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import srprof
from srprof import models


def counts(module: nn.Module, shape=(1, 4, 6, 8)):
    return srprof.analyze(module, shape).complexity


@pytest.mark.parametrize(
    "module, flops, acts, convs, macs",
    [
        (nn.Conv2d(4, 6, 3, padding=1), 9 * 4 * 6 * 48, 6 * 48, 1, 9 * 4 * 6 * 48),
        (nn.Conv2d(4, 8, 3, padding=1, groups=4), 9 * 8 * 48, 8 * 48, 1, 9 * 8 * 48),
        (nn.Conv2d(4, 6, 3, stride=2), 9 * 24 * 6, 6 * 6, 1, 9 * 24 * 6),
        # a transposed convolution is counted at output size: too much by the stride squared
        (nn.ConvTranspose2d(4, 2, 2, stride=2), 4 * 8 * 192, 2 * 192, 1, 4 * 8 * 48),
        (nn.ReLU(), 192, 0, 0, 0),
        (nn.ReLU6(), 192, 0, 0, 0),
        (nn.PReLU(4), 192, 0, 0, 0),
        (nn.ELU(), 192, 0, 0, 0),
        (nn.LeakyReLU(0.1), 192, 0, 0, 0),
        (nn.Sigmoid(), 0, 0, 0, 0),
        (nn.SiLU(), 0, 0, 0, 0),
        (nn.GELU(), 0, 0, 0, 0),
        (nn.BatchNorm2d(4), 384, 0, 0, 0),
        (nn.BatchNorm2d(4, affine=False), 192, 0, 0, 0),
        (nn.AvgPool2d(2), 0, 0, 0, 0),
        (nn.PixelShuffle(2), 0, 0, 0, 0),
        (nn.Linear(8, 5), 40, 0, 0, 24 * 40),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_one_module(module, flops, acts, convs, macs):
    found = counts(module)
    assert (found.flops_ntire, found.activations, found.convolutions, found.macs) == (
        flops,
        acts,
        convs,
        macs,
    )
    assert not found.uncounted


def test_a_module_called_twice_counts_twice():
    conv = nn.Conv2d(4, 4, 1)
    once, twice = counts(nn.Sequential(conv)), counts(nn.Sequential(conv, conv))
    assert twice.convolutions == 2
    assert twice.flops_ntire == 2 * once.flops_ntire
    assert twice.parameters == once.parameters


def test_functional_calls_have_macs_but_not_for_the_challenge():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(4, 4, 3, 3))

        def forward(self, x):
            return F.relu(F.conv2d(x, self.weight, padding=1))

    found = counts(Functional())
    assert (found.flops_ntire, found.convolutions) == (0, 0)
    assert found.macs == 9 * 16 * 48


def test_a_global_activation_is_not_the_networks():
    act = nn.LeakyReLU(0.1)

    class Uses(nn.Module):
        def forward(self, x):
            return act(x)

    assert counts(Uses()).flops_ntire == 0


def test_a_subclass_of_a_convolution_is_one():
    class Special(nn.Conv2d):
        pass

    assert counts(Special(4, 4, 1)).convolutions == 1


def test_attention_and_products():
    class Products(nn.Module):
        def forward(self, q):
            q = F.scaled_dot_product_attention(q, q, q)  # (2, 3, 10, 4)
            return q @ q.transpose(-1, -2)

    found = counts(Products(), (2, 3, 10, 4))
    assert found.macs == 2 * 3 * 10 * 10 * (4 + 4) + 2 * 3 * 10 * 10 * 4
    assert not found.uncounted


def test_an_op_without_a_rule_is_listed():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.fft.rfft2(x).real

    assert "_fft_r2c" in counts(Odd()).uncounted


@pytest.mark.parametrize("name", ["fmen", "fmen_s", "e_rfdn", "imdn"])
def test_fvcore_agrees(name):
    """fvcore runs the real forward; its convolution count is ours."""
    fvcore = pytest.importorskip("fvcore.nn", reason="fvcore is not installed")
    model = getattr(models, name)().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = fvcore.FlopCountAnalysis(model, torch.zeros(1, 3, 32, 32))
        found.unsupported_ops_warnings(False)
        theirs = found.by_operator()["conv"]
    assert srprof.analyze(model, (1, 3, 32, 32)).complexity.macs == theirs
