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
        # in.shape[0] * in.shape[1] * out.shape[1], however many axes there are
        (nn.Linear(8, 5), 1 * 4 * 4, 0, 0, 24 * 40),
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


@pytest.mark.parametrize(
    "shape, flops", [((8,), 8 * 5), ((6, 8), 6 * 8 * 5), ((2, 6, 8), 2 * 6 * 6)]
)
def test_the_challenge_counts_a_linear_layer_by_its_first_two_axes(shape, flops):
    assert counts(nn.Linear(8, 5), shape).flops_ntire == flops


def test_a_linear_layer_counts_each_image_of_a_batch_once():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 5)

        def forward(self, x):
            return self.linear(x.flatten(2).transpose(1, 2))

    assert counts(Tokens(), (3, 4, 6, 8)).flops_ntire == counts(Tokens()).flops_ntire == 48 * 48


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


class Conv2d(nn.Module):
    """Named as torch's class, as wrappers of it are."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return self.conv(x)


class ReLU(nn.Module):
    def forward(self, x):
        return x.relu()


def test_a_name_is_not_a_class():
    found = counts(nn.Sequential(Conv2d(), ReLU()))
    assert (found.flops_ntire, found.convolutions) == (16 * 48, 1)


def test_a_subclass_of_two_of_torchs_classes_is_what_the_challenge_asks_for():
    class Act(nn.Sequential, nn.LeakyReLU):
        def __init__(self):
            nn.LeakyReLU.__init__(self, 0.1)

        def forward(self, x):
            return nn.LeakyReLU.forward(self, x)

    assert counts(Act()).flops_ntire == 192


def test_a_subclass_in_torch_counts_as_the_class():
    linear = nn.modules.linear.NonDynamicallyQuantizableLinear(8, 5)
    assert counts(linear, (6, 8)).flops_ntire == 6 * 8 * 5


@pytest.mark.filterwarnings("ignore:.*quantized")
def test_quantised_modules_are_not_the_challenges():
    """They are named Conv2d and Linear, and are no subclasses of torch's."""
    quantised = torch.ao.nn.quantized
    layers = quantised.Quantize(1.0, 0, torch.quint8), quantised.Conv2d(4, 6, 1)
    dynamic = quantised.dynamic.Linear(8, 5)
    network = nn.Sequential(*layers, quantised.DeQuantize(), dynamic)
    found = srprof.analyze(network, (1, 4, 6, 8), trace_on="cpu").complexity
    assert (found.flops_ntire, found.activations, found.convolutions) == (0, 0, 0)


def test_modules_for_training_with_quantisation_are_convolutions():
    aware = torch.ao.nn.qat.Conv2d(4, 6, 1, qconfig=torch.ao.quantization.default_qat_qconfig)
    assert counts(nn.Sequential(aware)).convolutions == 1


FREE = {
    "max pool": lambda x: F.max_pool3d(x, 2),
    "average pool": lambda x: F.avg_pool3d(x, 2),
    "adaptive average pool": lambda x: F.adaptive_avg_pool3d(x, 2),
    "area": lambda x: F.interpolate(x, size=(3, 4, 4), mode="area"),
    "adaptive maximum pool": lambda x: F.adaptive_max_pool3d(x, 2),
    "trilinear": lambda x: F.interpolate(x, scale_factor=2, mode="trilinear"),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "exact nearest": lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact"),
    "reflection": lambda x: F.pad(x, (1,) * 6, mode="reflect"),
    "replication": lambda x: F.pad(x, (1,) * 6, mode="replicate"),
    "local response": lambda x: F.local_response_norm(x[:, :, 0], 2),
    "transpose": lambda x: x.clone().transpose_(1, 2),
    "swapaxes": lambda x: x.clone().swapaxes_(1, 2),
    "t": lambda x: x[0, 0, 0].clone().t_(),
    "squeeze": lambda x: x.clone().squeeze_(0),
    "unsqueeze": lambda x: x.clone().unsqueeze_(0),
    "as_strided": lambda x: x.clone().as_strided_((2, 2), (2, 1)),
    "weight norm": lambda x: torch._weight_norm(x, x.flatten(1).norm(dim=1).view(-1, 1, 1, 1, 1)),
}  # fmt: skip


@pytest.mark.parametrize("trace_on", ["meta", "cpu"])
@pytest.mark.parametrize("what", FREE)
def test_calls_without_multiply_accumulates(what: str, trace_on: str):
    class Net(nn.Module):
        def forward(self, x):
            return FREE[what](x)

    found = srprof.analyze(Net(), (1, 4, 6, 8, 8), trace_on=trace_on).complexity
    assert (found.macs, dict(found.uncounted)) == (0, {})


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
