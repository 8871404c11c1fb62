"""FLOPs by fvcore's rules, from the trace: against fvcore itself, and against published digits."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import srprof
from srprof.call import Call
from srprof.cost.fvcore import fvcore_flops, fvcore_flops_of_nodes
from srprof.registry import find, networks
from srprof.workload import resolve


class Convolutions(nn.Module):
    """Of all kinds: grouped, depthwise, strided, transposed, of one axis; one that nobody needs."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.depthwise = nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False)
        self.strided = nn.Conv2d(8, 4, 3, stride=2)
        self.up = nn.ConvTranspose2d(4, 6, 3, stride=2)
        self.line = nn.Conv1d(6, 5, 3)
        self.unused = nn.Conv2d(8, 64, 3)

    def forward(self, x):
        x = self.depthwise(self.grouped(self.first(x)))
        self.unused(x)
        return self.line(self.up(self.strided(x)).flatten(2))


class Padded(nn.Module):
    """`same` is an operator to torch.jit that fvcore does not know; `reflect` pads before it."""

    def __init__(self):
        super().__init__()
        self.same = nn.Conv2d(3, 4, 3, padding="same")
        self.reflected = nn.Conv2d(4, 4, 3, padding="same", padding_mode="reflect")
        self.by_number = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return self.by_number(self.reflected(self.same(x)))


class Norms(nn.Module):
    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(
            [
                nn.BatchNorm2d(3),
                nn.BatchNorm2d(3, affine=False),
                nn.GroupNorm(1, 3),
                nn.GroupNorm(3, 3, affine=False),
                nn.InstanceNorm2d(3),
                nn.InstanceNorm2d(3, affine=True),
                nn.LayerNorm(12),
                nn.LayerNorm([12, 12], elementwise_affine=False),
            ]
        )

    def forward(self, x):
        return sum(norm(x) for norm in self.norms)


class Resampling(nn.Module):
    """Bilinear counts four, nearest one, bicubic none; a mean is not a pooling."""

    def forward(self, x):
        big = [F.interpolate(x, scale_factor=2, mode=m) for m in ("nearest", "bilinear", "bicubic")]
        grid = torch.zeros(1, 5, 7, 2)
        pooled = F.adaptive_avg_pool2d(x, 1) + x.mean((2, 3), keepdim=True)
        return (*big, F.grid_sample(x, grid), pooled, F.adaptive_avg_pool2d(x, (2, 3)))


class Products(nn.Module):
    """Linear layers and products, one of which broadcasts: that counts its first operand alone."""

    def __init__(self):
        super().__init__()
        self.linear, self.plain = nn.Linear(12, 5), nn.Linear(5, 7, bias=False)
        self.left = nn.Parameter(torch.rand(4, 12))

    def forward(self, x):
        rows = x.flatten(2).transpose(1, 2)[0]
        wide = x @ x[:, :1].transpose(-1, -2)
        narrow = x[:, :1] @ x.transpose(-1, -2)
        added = torch.baddbmm(torch.zeros(3, 12, 12), x[0], x[0])
        both = torch.bmm(x[0], x[0]), self.left @ x[0]
        return self.plain(self.linear(x)), rows.t() @ rows, wide, narrow, added, *both


class Einsums(nn.Module):
    """numpy prints four digits of a count, but two equations are counted without numpy."""

    def forward(self, x):
        q = x[0]
        windows = x.reshape(1, 3, 2, 6, 12)
        return (
            torch.einsum("bid,bjd->bij", q, q),
            torch.einsum("bdi,bdj->bij", q, q),
            torch.einsum("b i d, b j d -> b j i", q, q),
            torch.einsum("b w h i d, b w h j d -> b w h i j", windows, windows),
            torch.einsum("bij,bi->bij", q, q[:, :, 0]),
        )


class Attention(nn.Module):
    """Asked for in one call, of which fvcore knows nothing, taken apart or not."""

    def forward(self, x):
        rows = x.flatten(2)
        mask = torch.zeros(3, 3)
        apart = F.scaled_dot_product_attention(rows, rows, rows, attn_mask=mask)
        heads = rows.reshape(1, 3, 18, 8).transpose(1, 2)
        return apart, F.scaled_dot_product_attention(heads, heads, heads), rows @ rows.mT


class Scaled(torch.autograd.Function):
    """torch.jit does not look into it; what it is given is needed."""

    @staticmethod
    def forward(ctx, x, weight):
        return F.conv2d(x, weight) * 2


class OwnFunction(nn.Module):
    def __init__(self):
        super().__init__()
        self.before = nn.Conv2d(3, 4, 3)
        self.inside = nn.Parameter(torch.ones(5, 4, 1, 1))
        self.after = nn.Conv2d(5, 2, 3)

    def forward(self, x):
        return self.after(Scaled.apply(self.before(x), self.inside))


def by_fvcore(model: nn.Module, *inputs: torch.Tensor) -> int:
    nn_ = pytest.importorskip("fvcore.nn", reason="fvcore is not installed")
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    with torch.no_grad():
        counted = nn_.FlopCountAnalysis(model.eval(), inputs)
        return int(counted.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total())


@pytest.mark.parametrize(
    "model", [Convolutions, Padded, Norms, Resampling, Products, Einsums, Attention, OwnFunction]
)
@pytest.mark.filterwarnings("ignore")
def test_a_tiny_network_counts_as_fvcore_counts_it(model):
    expected = by_fvcore(model(), torch.rand(1, 3, 12, 12))
    assert expected or model is Attention
    assert fvcore_flops(srprof.trace(model(), (1, 3, 12, 12))) == expected


#: Networks of the zoo that take long to run.
SLOW = {"carn", "drcn", "drrn", "edsr_baseline", "lapsrn", "memnet", "vdsr"}


@pytest.mark.parametrize("name", [n.name for n in networks() if n.name not in SLOW])
@pytest.mark.filterwarnings("ignore")
def test_the_zoo_counts_as_fvcore_counts_it(name):
    shape = (1, find(name).channels, 16, 16)
    model, args, *_ = resolve(Call(name, (shape,))).instance("cpu")
    assert fvcore_flops(srprof.trace(name, shape)) == by_fvcore(model, *args)


def test_published_flops_are_fvcores_since_2024_and_the_hooks_before():
    """RLFN was an entry of 2022 and the baseline of 2024: the same network, counted twice."""
    analysis = srprof.analyze("rlfn", (1, 3, 256, 256))
    assert analysis.complexity.fvcore_flops == 19_674_859_520  # 2024, results.json
    assert analysis.complexity.flops_ntire == 19_695_306_752  # 2022: 19.70 G


def test_counts_of_nodes_sum_to_the_whole():
    trace = srprof.trace("e_rfdn", (1, 3, 32, 32))
    by_node = fvcore_flops_of_nodes(trace)
    assert sum(by_node) == fvcore_flops(trace)
    assert len(by_node) == len(trace.nodes)


@pytest.mark.parametrize(("compiled", "counted"), [(False, 2), (True, 1)])
def test_a_compiled_function_hides_what_its_result_is_not_like(
    compiled: bool, counted: int, tmp_path: Path
):
    """SPANV2's operator of 2026: 1.59 G were published, without the convolutions that it reads."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "from fused import gate\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)\n\n"
        "    def forward(self, x):\n"
        "        return gate([self.two(x)], self.one(x))\n"
    )
    gate = srprof.Rule(
        function="fused.gate", signature="others, x", result="x", macs=0, compiled=compiled
    )
    with srprof.using_ops(gate):
        trace = srprof.trace(f"{tmp_path / 'net.py'}:Net", (1, 3, 8, 8))
    assert fvcore_flops(trace) == counted * 3 * 4 * 64


def test_a_batch_is_counted_whole():
    one, two = (fvcore_flops(srprof.trace(Convolutions(), (n, 3, 12, 12))) for n in (1, 2))
    assert two == 2 * one
