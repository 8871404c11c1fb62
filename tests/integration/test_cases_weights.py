"""Weights that are computed when they are asked for: nobody but the network may ask."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import srprof
from tests.cases.weights import Fused, Parametrized

SHAPE = (1, 3, 16, 16)


class _Calls(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.ops: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.ops.append(func._schema.name.removeprefix("aten::"))
        return func(*args, **(kwargs or {}))


def real_calls(network: nn.Module) -> tuple[list[str], int]:
    """Calls and multiply-accumulates of a real run."""
    image = torch.zeros(SHAPE)
    network.eval()
    with torch.no_grad(), _Calls() as calls:
        network(image)
    with torch.no_grad(), FlopCounterMode(display=False) as flops:  # it takes more calls apart
        network(image)
    return calls.ops, flops.get_total_flops() // 2


class Raises(nn.Conv2d):
    """Its weight is not to be had from outside."""

    @property
    def weight(self):
        raise RuntimeError("fuse it first")

    def forward(self, x):
        return F.conv2d(x, self.kernel, self.bias, padding=self.padding)


def raising() -> nn.Module:
    conv = nn.Conv2d(3, 8, 3, padding=1)
    conv.kernel = conv._parameters.pop("weight")
    conv.__class__ = Raises
    return conv


NOT_COUNTED_BY_TORCH = {"mv", "vdot"}
NETWORKS = {
    "parametrized": Parametrized,
    "fused": Fused,
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Conv2d(3, 8, 3, padding=1)),
    "weight norm": lambda: parametrizations.weight_norm(nn.Conv2d(3, 8, 3, padding=1)),
    "orthogonal": lambda: nn.Sequential(
        nn.Flatten(2), parametrizations.orthogonal(nn.Linear(256, 8), use_trivialization=False)
    ),
    "old weight norm": lambda: nn.utils.weight_norm(nn.Conv2d(3, 8, 3, padding=1)),
    "raises": raising,
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.filterwarnings("ignore:.*weight_norm")
def test_weights_are_computed_as_often_as_the_network_does(network):
    calls, macs = real_calls(network())
    analysis = srprof.analyze(network(), SHAPE, granularity=1, trace_on="cpu")
    assert [node.op for node in analysis.trace.nodes] == calls
    counts = zip(calls, analysis.complexity.node_macs, strict=True)
    assert sum(count or 0 for op, count in counts if op not in NOT_COUNTED_BY_TORCH) == macs


@pytest.mark.parametrize(
    "network, live, macs", [(Parametrized, 5_254_156, 453_378_048), (Fused, 2_910_208, 47_628_288)]
)
def test_memory_and_work(network, live: int, macs: int):
    analysis = srprof.analyze(network(), SHAPE, granularity=1)
    assert analysis.memory.eager.nbytes == live
    assert analysis.complexity.macs == macs


def test_the_challenge_counts_them_by_what_they_were_made_with():
    plain = nn.Conv2d(3, 8, 3, padding=1)
    for network in (NETWORKS["spectral norm"](), raising()):
        found = srprof.analyze(network, SHAPE).complexity
        expected = srprof.analyze(plain, SHAPE).complexity
        assert found.flops_ntire == expected.flops_ntire
        assert found.activations == expected.activations
