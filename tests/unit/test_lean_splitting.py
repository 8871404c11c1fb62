"""Which fusions of a network are split, each by itself or all that are at the peak together."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srprof.leaning import passes
from srprof.leaning.levels import LEVELS
from srprof.leaning.passes import Arranged, Rewrites, arrange
from srprof.leaning.plan import capture_call, liveness


class Block(nn.Module):
    """Distilled maps of different widths, fused."""

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Conv2d(4, 4 + n, 1) for n in range(parts)])
        self.fuse = nn.Conv2d(sum(4 + n for n in range(parts)), 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fuse(torch.cat([part(x) for part in self.parts], 1))) + x


class Deep(nn.Module):
    """Blocks of so many parts, those after the first two on an image of half the size."""

    def __init__(self, *parts: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(map(Block, parts))

    def forward(self, x: Tensor) -> Tensor:
        for number, block in enumerate(self.blocks):
            x = block(F.avg_pool2d(x, 2) if number == 2 else x)
        return x


def arranged(network: nn.Module) -> Arranged:
    """The network's graph after all passes of level `equivalent`."""
    x = torch.rand(1, 4, 16, 16)
    network = network.eval()
    captured = capture_call(network, (x,), {})
    rewrites = Rewrites(captured.graph, lambda graph: liveness(graph, network.get_parameter, [x]))
    return arrange(rewrites, LEVELS["equivalent"])


def sums(found: Arranged) -> list[str]:
    """The modules whose convolutions are sums, once for each further summand."""
    added = [n for n in found.liveness.nodes if str(n.target) == "aten.baddbmm_.default"]
    return [[*node.meta["nn_module_stack"].values()][-1][0] for node in added]


@pytest.mark.parametrize("parts", [(3,), (3, 2, 4, 3), (2, 5, 3)])
def test_together_they_are_split_as_one_by_one(parts, monkeypatch):
    one_by_one = arranged(Deep(*parts))
    monkeypatch.setattr(passes, "_TRIALS", 0)
    together = arranged(Deep(*parts))
    assert together.peak == one_by_one.peak
    assert sums(together) == sums(one_by_one)


def test_of_many_those_away_from_the_peak_stay_whole(monkeypatch):
    monkeypatch.setattr(passes, "_TRIALS", 0)
    names = sums(arranged(Deep(3, 3, 4, 4)))
    assert {name.split(".")[-2] for name in names} == {"0", "1"}
