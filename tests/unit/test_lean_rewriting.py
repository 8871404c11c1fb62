"""Rewritten graphs against the networks that they came from, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from srprof.leaning.capture import capture
from srprof.leaning.rewriting import fold_batch_norm, fusions, split_fusion

SIZES = [(1, 4, 9, 11), (3, 4, 6, 8)]


class Fused(nn.Module):
    """Three feature maps of different widths, concatenated and fused."""

    def __init__(self, bias: bool = True, readers: int = 1) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Conv2d(4, n, 3, padding=1) for n in (5, 2, 7)])
        self.fuse = nn.ModuleList([nn.Conv2d(14, 6, 1, bias=bias) for _ in range(readers)])

    def forward(self, x: Tensor) -> Any:
        joined = torch.cat([part(x) for part in self.parts], dim=1)
        return [fuse(joined) for fuse in self.fuse]


class Joined(nn.Module):
    """A concatenation and what reads it."""

    def __init__(self, reader: nn.Module, axis: int = 1, again: bool = False) -> None:
        super().__init__()
        self.reader, self.axis, self.again = reader, axis, again

    def forward(self, x: Tensor) -> Any:
        joined = torch.cat([x, x * 2], dim=self.axis)
        return (self.reader(joined), joined) if self.again else self.reader(joined)


class Normed(nn.Module):
    """A convolution and batch norm with statistics that are not 0 and 1."""

    def __init__(self, convolution: nn.Module, affine: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        self.convolution = convolution
        self.norm = nn.BatchNorm2d(6, affine=affine, eps=eps)
        for tensor in (*self.norm.parameters(), self.norm.running_mean, self.norm.running_var):
            tensor.data.uniform_(0.5, 2)

    def forward(self, x: Tensor) -> Any:
        return self.norm(self.convolution(x))


def captured(network: nn.Module, x: Tensor) -> GraphModule:
    """The graph of a call, ready to be changed and run."""
    graph = capture(network, (x,), {}).graph
    return GraphModule(network, graph)


def difference(network: nn.Module, changed: GraphModule, x: Tensor) -> float:
    changed.graph.lint()
    changed.recompile()
    with torch.no_grad():
        before, after = network(x), changed(x)
    pairs = zip(leaves(before), leaves(after), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


def leaves(value: Any) -> list[Tensor]:
    return list(torch.utils._pytree.tree_leaves(value))


def ops(module: GraphModule) -> list[str]:
    return [str(n.target) for n in module.graph.nodes if n.op == "call_function"]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("readers", [1, 3])
@pytest.mark.parametrize("summands", [2, 3])
@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_split_fusion_computes_the_same(bias, readers, summands, shape, layout):
    torch.manual_seed(0)
    network = Fused(bias, readers).double().eval()
    x = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=layout)
    changed = captured(network, x)
    (found,) = fusions(changed.graph)
    assert len(found.convolutions) == readers
    split_fusion(found, summands)
    assert difference(network, changed, x) < 1e-12
    assert ops(changed).count("aten.cat.default") == 3 - summands  # one for all readers
    last = layout is torch.channels_last  # no convolution copies some channels of more
    assert ops(changed).count("aten.conv2d.default") == 3 + readers * (not last)
    first = "aten.baddbmm.default" if bias else "aten.bmm.default"
    assert ops(changed).count(first) == readers * last
    assert ops(changed).count("aten.baddbmm_.default") == readers * (summands - 1)
    for size in ((shape[0], 4, 5, 7), (shape[0], 4, 16, 4)):
        other = torch.randn(size, dtype=torch.float64).contiguous(memory_format=layout)
        assert difference(network, changed, other) < 1e-12


@pytest.mark.parametrize(
    ("parts", "ways"),
    [(2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 4]), (6, [1, 2, 4, 6]), (9, [1, 2, 4, 8, 9])],
)
def test_every_way_to_split_a_fusion_of_many_parts_computes_the_same(parts, ways):
    torch.manual_seed(0)

    class Many(nn.Module):
        def __init__(self):
            super().__init__()
            self.widths = [1 + n % 3 for n in range(parts)]
            self.fuse = nn.Conv2d(sum(self.widths), 5, 1)

        def forward(self, x):
            return self.fuse(torch.cat([x[:, :w] * i for i, w in enumerate(self.widths)], 1))

    network = Many().double().eval()
    x = torch.randn(2, 4, 6, 8, dtype=torch.float64)
    assert fusions(captured(network, x).graph)[0].ways == ways
    for summands in ways[1:]:
        changed = captured(network, x)
        split_fusion(fusions(changed.graph)[0], summands)
        assert difference(network, changed, x) < 1e-12
        assert ops(changed).count("aten.baddbmm_.default") == summands - 1


def test_a_map_that_is_joined_twice_counts_twice():
    torch.manual_seed(0)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fuse = nn.Conv2d(12, 5, 1)

        def forward(self, x):
            y = x * 2
            return self.fuse(torch.cat([y, x, y], 1))

    network = Twice().double().eval()
    x = torch.randn(2, 4, 6, 8, dtype=torch.float64)
    changed = captured(network, x)
    (found,) = fusions(changed.graph)
    split_fusion(found, 3)
    assert difference(network, changed, x) < 1e-12


def test_parts_that_views_give_need_not_be_contiguous():
    torch.manual_seed(0)

    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.fuse = nn.Conv2d(8, 5, 1)

        def forward(self, x):
            first, second = x.chunk(2, dim=1)
            flipped = x.transpose(2, 3)
            return self.fuse(torch.cat([second, flipped, first], 1))

    network = Views().double().eval()
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    changed = captured(network, x)
    (found,) = fusions(changed.graph)
    split_fusion(found, 3)
    assert difference(network, changed, x) < 1e-12


@pytest.mark.parametrize(
    "network",
    [
        Joined(nn.Conv2d(8, 6, 1), again=True),  # a result
        Joined(nn.Sequential(nn.ReLU(), nn.Conv2d(8, 6, 1))),
        Joined(nn.Conv2d(8, 6, 3, padding=1)),
        Joined(nn.Conv2d(8, 6, (1, 3))),
        Joined(nn.Conv2d(8, 6, 1, stride=2)),
        Joined(nn.Conv2d(8, 6, 1, padding=1)),
        Joined(nn.Conv2d(8, 6, 1, groups=2)),
        Joined(nn.Conv2d(4, 6, 1), axis=0),
        Joined(nn.Conv2d(4, 6, 1), axis=2),
        Joined(nn.Conv2d(4, 6, 1), axis=-1),
        Joined(nn.Conv2d(8, 6, 1, padding="same")),
        Joined(nn.ConvTranspose2d(8, 6, 1)),
    ],
)
def test_what_is_no_fusion_stays_whole(network):
    x = torch.randn(2, 4, 6, 8)
    found = fusions(captured(network.eval(), x).graph)
    for fusion in found:  # `padding="same"` of a 1x1 convolution is none: it may be split
        assert network.reader.padding == "same"
        changed = captured(network.double(), x.double())
        split_fusion(fusions(changed.graph)[0], 2)
        assert difference(network, changed, x.double()) < 1e-12
        assert fusion.convolutions


@pytest.mark.parametrize("axis", [1, -3])
def test_channels_are_counted_from_either_end(axis):
    network = Joined(nn.Conv2d(8, 6, 1), axis=axis).double().eval()
    x = torch.randn(2, 4, 6, 8, dtype=torch.float64)
    changed = captured(network, x)
    split_fusion(fusions(changed.graph)[0], 2)
    assert difference(network, changed, x) < 1e-12


def test_an_image_without_batch_stays_whole():
    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.fuse = nn.Conv2d(8, 6, 1)

        def forward(self, x):
            return self.fuse(torch.cat([x, x], 0))

    assert fusions(captured(One().eval(), torch.randn(4, 6, 8)).graph) == []


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"groups": 2, "dilation": 2}])
@pytest.mark.parametrize("shape", SIZES)
def test_a_folded_batch_norm_computes_the_same(bias, affine, options, shape):
    torch.manual_seed(0)
    network = Normed(nn.Conv2d(4, 6, 3, bias=bias, **options), affine, eps=1e-2).double().eval()
    x = torch.randn(shape, dtype=torch.float64)
    changed = captured(network, x)
    assert fold_batch_norm(changed.graph) == 1
    assert "aten.batch_norm.default" not in ops(changed)
    assert difference(network, changed, x) < 1e-12
    state = network.state_dict()
    state["convolution.weight"] += 1  # folded in each call, so that loaded weights count
    assert difference(network, changed, x) < 1e-12


def test_a_batch_norm_stays_where_the_convolution_has_another_reader():
    class Both(Normed):
        def forward(self, x):
            y = self.convolution(x)
            return self.norm(y) + y

    network = Both(nn.Conv2d(4, 6, 3)).eval()
    changed = captured(network, torch.randn(1, 4, 6, 8))
    assert fold_batch_norm(changed.graph) == 0
    assert difference(network, changed, torch.randn(1, 4, 6, 8)) == 0


@pytest.mark.parametrize(
    "network",
    [
        Normed(nn.ConvTranspose2d(4, 6, 3)),
        Normed(nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU())),
    ],
)
def test_a_batch_norm_after_anything_else_stays(network):
    assert fold_batch_norm(captured(network.eval(), torch.randn(1, 4, 6, 8)).graph) == 0


def test_a_batch_norm_of_the_batch_itself_stays():
    """Without running statistics it normalises by the batch, in evaluation too."""
    network = Normed(nn.Conv2d(4, 6, 3))
    network.norm = nn.BatchNorm2d(6, track_running_stats=False)
    x = torch.randn(2, 4, 6, 8)
    changed = captured(network.eval(), x)
    assert fold_batch_norm(changed.graph) == 0
    assert difference(network, changed, x) == 0


def test_a_fold_before_a_fusion():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.normed = Normed(nn.Conv2d(4, 6, 1))
            self.fuse = Normed(nn.Conv2d(12, 6, 1))

        def forward(self, x):
            y = self.normed(x)
            return self.fuse(torch.cat([y, y * 2], 1))

    torch.manual_seed(0)
    network = Both().double().eval()
    x = torch.randn(2, 4, 6, 8, dtype=torch.float64)
    changed = captured(network, x)
    assert fold_batch_norm(changed.graph) == 2
    for fusion in fusions(changed.graph):
        split_fusion(fusion, 2)
    assert difference(network, changed, x) < 1e-12
