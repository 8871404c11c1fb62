"""Networks whose own `train`, `eval`, `to` and `parameters` are not torch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import srprof
from srprof import networks
from tests.cases.inputs import RefusesInTrain

SHAPE = (1, 3, 32, 32)


class Plain(nn.Module):
    """A body of two branches and an activation."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1)
        self.relu, self.dropout = nn.ReLU(), nn.Dropout()

    def forward(self, x):
        return self.dropout(self.relu(self.a(x) + self.b(x)))


class TrainRaises(Plain):
    def train(self, mode: bool = True):
        raise RuntimeError("this network is for inference only")


class TrainTakesNothing(Plain):
    def train(self):
        for module in self.modules():
            module.training = True


class EvalRaises(Plain):
    def eval(self):
        raise AttributeError("no")


class EvalGivesNothing(Plain):
    def eval(self):
        super().eval()


class ToTakesDevices(Plain):
    def to(self, device):
        return super().to(device)


class ToRaises(Plain):
    def to(self, *args, **kwargs):
        raise NotImplementedError("use .place()")


class ToGivesNothing(Plain):
    def to(self, *args, **kwargs):
        super().to(*args, **kwargs)


class ParametersOfGroups(Plain):
    """For an optimizer: with arguments, and groups for a result."""

    def parameters(self, learning_rate):
        return [{"params": list(super().parameters()), "lr": learning_rate}]


class NamedParametersRaise(Plain):
    def named_parameters(self):
        raise RuntimeError("ask the trainer")

    def named_modules(self):
        raise RuntimeError("ask the trainer")

    def modules(self):
        raise RuntimeError("ask the trainer")

    def buffers(self):
        raise RuntimeError("ask the trainer")


class Outer(nn.Module):
    """Has such a network for a part."""

    def __init__(self, part: nn.Module):
        super().__init__()
        self.part = part

    def forward(self, x):
        return self.part(x)


NETWORKS = [
    TrainRaises,
    TrainTakesNothing,
    EvalRaises,
    EvalGivesNothing,
    ToTakesDevices,
    ToRaises,
    ToGivesNothing,
    ParametersOfGroups,
    NamedParametersRaise,
]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("network", NETWORKS)
def test_it_runs_as_with_torchs_methods(network: type[nn.Module], inside: bool, dtype: str):
    expected = srprof.analyze(Plain(), SHAPE, dtype=dtype)
    model = Outer(network()) if inside else network()
    found = srprof.analyze(model, SHAPE, dtype=dtype)
    assert found.memory.eager == expected.memory.eager
    assert found.complexity == expected.complexity
    assert not any(node.op == "native_dropout" for node in found.trace.nodes)


@pytest.mark.filterwarnings("error:.*cannot be lean")
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("network", NETWORKS)
def test_it_is_made_lean(network: type[nn.Module], inside: bool):
    model = Outer(network()) if inside else network()
    lean = srprof.lean(model, SHAPE).eval()
    for _, module in networks.named_modules(model):
        module.training = False
    image = torch.rand(SHAPE)
    with torch.no_grad():
        assert torch.equal(lean(image), model(image))


@pytest.mark.parametrize("network", NETWORKS)
def test_it_is_measured_and_advised(network: type[nn.Module]):
    srprof.advise(network(), SHAPE)
    record = srprof.measure(network(), SHAPE, device="cpu", repeat=1)
    assert [node.op for node in record.nodes][:2] == ["convolution", "convolution"]


FUSED_SHAPE = 3 * 3 * 9 * 32 * 32


@pytest.mark.parametrize("model", [RefusesInTrain, lambda: "tests/cases/inputs.py:RefusesInTrain"])
@pytest.mark.parametrize("trace_on", ["auto", "meta", "cpu"])
def test_branches_that_are_fused_in_evaluation_mode(model, trace_on: str):
    analysis = srprof.analyze(model(), SHAPE, trace_on=trace_on)
    assert analysis.complexity.macs == FUSED_SHAPE
    assert [node.op for node in analysis.trace.nodes] == ["convolution"]


class FusesInEval(Plain):
    def eval(self):
        with torch.no_grad():
            weight = self.a.weight.clone()
            weight[:, :, 1:2, 1:2] += self.b.weight
            if float(weight.abs().sum()) < 0:  # asks for data
                raise RuntimeError
            self.a.weight.copy_(weight)
            self.a.bias.add_(self.b.bias)
        del self.b
        return super().eval()

    def forward(self, x):
        y = self.a(x)
        return self.relu(y if not hasattr(self, "b") else y + self.b(x))


def test_the_fused_form_is_what_is_shown():
    model = FusesInEval()
    analysis = srprof.analyze(model, SHAPE)
    assert [node.op for node in analysis.trace.nodes] == ["convolution", "relu"]
    assert analysis.complexity.parameters == 8 * 3 * 9 + 8
    assert hasattr(model, "b"), "the caller's stays as it is"


@pytest.mark.parametrize("inside", [False, True])
def test_what_is_in_evaluation_mode_is_not_put_there_again(inside: bool):
    """It would scale its weights another time."""
    part = RefusesInTrain()
    model = (Outer(part) if inside else part).eval()
    weight = part.conv.weight.clone()
    lean = srprof.lean(model, SHAPE).eval()
    image = torch.rand(SHAPE)
    with torch.no_grad():
        assert torch.equal(lean(image), model(image))
    assert torch.equal(part.conv.weight, weight)
