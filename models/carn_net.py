"""CARN (Ahn et al., ECCV 2018): residual blocks whose outputs cascade, within and between."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srprof.registry import Network

from .blocks import check_scale, conv1x1, conv3x3, mean_shift, named, step_upsampler

NETWORKS = (
    Network(
        name="carn",
        factory="srprof.models.carn_net:carn",
        title="CARN (Ahn et al., ECCV 2018), one network for all scales",
        scale=4,
        scales=(2, 3, 4),
        width=64,
        row="Table 3: CARN",
        published={
            2: {"params_K": 1592, "mult_adds_G": 222.8},
            3: {"params_K": 1592, "mult_adds_G": 118.9},
            4: {"params_K": 1592, "mult_adds_G": 90.9},
        },
        notes="Its parameters are those of the upsamplers of all three scales; one scale's alone, "
        "carn(multi_scale=False), has 964K, 1,149K and 1,112K. Its Mult-Adds are those of the one "
        "branch that runs.",
    ),
)


def _relu() -> nn.Module:
    return nn.ReLU(inplace=True)


class ResidualBlock(nn.Module):
    """(N, C, H, W) to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv3x3(channels, channels), nn.ReLU(inplace=True), conv3x3(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x)
        return F.relu(out + x)


def _fuse(maps: int, channels: int) -> nn.Sequential:
    """1x1 convolution and ReLU: (N, maps*C, H, W) to (N, C, H, W)."""
    return named(body=nn.Sequential(conv1x1(maps * channels, channels), nn.ReLU(inplace=True)))


class Cascade(nn.Module):
    """Three blocks, each fed with a fusion of all before: (N, C, H, W) to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self._make_blocks(channels)
        self.c1 = _fuse(2, channels)
        self.c2 = _fuse(3, channels)
        self.c3 = _fuse(4, channels)

    def _make_blocks(self, channels: int) -> None:
        self.b1: nn.Module = ResidualBlock(channels)
        self.b2: nn.Module = ResidualBlock(channels)
        self.b3: nn.Module = ResidualBlock(channels)

    def forward(self, x: Tensor) -> Tensor:
        b1 = self.b1(x)
        c1 = torch.cat([x, b1], dim=1)
        o1 = self.c1(c1)
        b2 = self.b2(o1)
        c2 = torch.cat([c1, b2], dim=1)
        o2 = self.c2(c2)
        b3 = self.b3(o2)
        c3 = torch.cat([c2, b3], dim=1)
        return self.c3(c3)


class CARN(Cascade):
    """The network, a cascade of cascades: (N, 3, H, W) to (N, 3, scale*H, scale*W)."""

    def __init__(self, scale: int, channels: int, multi_scale: bool) -> None:
        super().__init__(channels)
        self.scale = check_scale(scale)
        self.sub_mean = named(shifter=mean_shift(-1, 1))
        self.add_mean = named(shifter=mean_shift(1, 1))
        self.entry = conv3x3(3, channels)
        scales = (2, 3, 4) if multi_scale else (scale,)
        self.upsample = nn.ModuleDict(
            {f"up{s}": named(body=step_upsampler(channels, s, _relu)) for s in scales}
        )
        self.exit = conv3x3(channels, 3)

    def _make_blocks(self, channels: int) -> None:
        self.b1, self.b2, self.b3 = (Cascade(channels) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.sub_mean(x)
        x = self.entry(x)
        b1 = self.b1(x)
        c1 = torch.cat([x, b1], dim=1)
        o1 = self.c1(c1)
        b2 = self.b2(o1)
        c2 = torch.cat([c1, b2], dim=1)
        o2 = self.c2(c2)
        b3 = self.b3(o2)
        c3 = torch.cat([c2, b3], dim=1)
        o3 = self.c3(c3)
        out = self.upsample[f"up{self.scale}"](o3)
        out = self.exit(out)
        return self.add_mean(out)


def carn(scale: int = 4, channels: int = 64, multi_scale: bool = True) -> CARN:
    """CARN (1,592K with the upsamplers of all scales)."""
    return CARN(scale, channels, multi_scale)
