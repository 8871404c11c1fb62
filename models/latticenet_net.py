"""LatticeNet (Luo et al., ECCV 2020): butterfly structures with attention, fused backwards.

Parameter names are those of the public code.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from srprof.registry import Network

from .blocks import (
    channel_weights,
    check_scale,
    conv1x1,
    conv3x3,
    mean_shift,
    pixel_shuffle_tail,
)

NETWORKS = (
    Network(
        name="latticenet",
        factory="srprof.models.latticenet_net:latticenet",
        title="LatticeNet (Luo et al., ECCV 2020)",
        scale=4,
        scales=(2, 3, 4),
        width=64,
        row="Table 3: LatticeNet",
        published={
            2: {"params_K": 756, "mult_adds_G": 169.5},
            3: {"params_K": 765, "mult_adds_G": 76.3},
            4: {"params_K": 777, "mult_adds_G": 43.6, "memory_256_M": 225, "time_ms": 68},
        },
    ),
)


class Combination(nn.Module):
    """Combination coefficients from mean and deviation: (N, C, H, W) to (N, C, 1, 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.conv_mean = channel_weights(channels, channels // 16)
        self.conv_std = channel_weights(channels, channels // 16)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.conv_mean(self.avg_pool(x))
        batch, channels = x.shape[:2]
        deviation = torch.std(x.view(batch, channels, -1), dim=2, keepdim=True)
        deviation = self.conv_std(deviation.view(batch, channels, 1, 1))
        return (mean + deviation) / 2.0


class LatticeBlock(nn.Module):
    """(N, C, H, W) to the same."""

    def __init__(self, channels: int, mid_channels: int) -> None:
        super().__init__()
        self.conv_block0 = _three_convs(channels, mid_channels)
        self.fea_ca1 = Combination(channels)
        self.x_ca1 = Combination(channels)
        self.conv_block1 = _three_convs(channels, mid_channels)
        self.fea_ca2 = Combination(channels)
        self.x_ca2 = Combination(channels)
        self.compress = conv1x1(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        f0 = self.conv_block0(x)
        fea_ca1 = self.fea_ca1(f0)
        x_ca1 = self.x_ca1(x)
        p1 = x + fea_ca1 * f0
        q1 = f0 + x_ca1 * x
        f1 = self.conv_block1(p1)
        fea_ca2 = self.fea_ca2(q1)
        p3 = f1 + fea_ca2 * q1
        x_ca2 = self.x_ca2(f1)
        q3 = q1 + x_ca2 * f1
        out = torch.cat((p3, q3), dim=1)
        return self.compress(out)


def _three_convs(channels: int, mid_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    widths = (channels, mid_channels, mid_channels, channels)
    for before, after in pairwise(widths):
        layers += [conv3x3(before, after), nn.LeakyReLU(0.05)]
    return nn.Sequential(*layers)


class LatticeNet(nn.Module):
    """The network: (N, 3, H, W) to (N, 3, scale*H, scale*W)."""

    def __init__(self, scale: int, nf: int, mf: int) -> None:
        super().__init__()
        check_scale(scale)
        self.sub_mean = mean_shift(-1, 255, frozen=False)
        self.conv1 = conv3x3(3, nf)
        self.conv2 = conv3x3(nf, nf)
        blocks = (LatticeBlock(nf, mf) for _ in range(4))
        self.body_unit1, self.body_unit2, self.body_unit3, self.body_unit4 = blocks
        halves = (nn.Sequential(conv1x1(nf, nf // 2), nn.ReLU()) for _ in range(6))
        self.T_tdm1, self.L_tdm1, self.T_tdm2, self.L_tdm2, self.T_tdm3, self.L_tdm3 = halves
        self.tail = nn.Sequential(conv3x3(nf, nf), *pixel_shuffle_tail(nf, scale))
        self.add_mean = mean_shift(1, 255, frozen=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.sub_mean(x)
        x = self.conv1(x)
        x = self.conv2(x)
        res1 = self.body_unit1(x)
        res2 = self.body_unit2(res1)
        res3 = self.body_unit3(res2)
        res4 = self.body_unit4(res3)
        T_tdm1 = self.T_tdm1(res4)
        L_tdm1 = self.L_tdm1(res3)
        out_TDM1 = torch.cat((T_tdm1, L_tdm1), dim=1)
        T_tdm2 = self.T_tdm2(out_TDM1)
        L_tdm2 = self.L_tdm2(res2)
        out_TDM2 = torch.cat((T_tdm2, L_tdm2), dim=1)
        T_tdm3 = self.T_tdm3(out_TDM2)
        L_tdm3 = self.L_tdm3(res1)
        out_TDM3 = torch.cat((T_tdm3, L_tdm3), dim=1)
        res = out_TDM3 + x
        out = self.tail(res)
        return self.add_mean(out)


def latticenet(scale: int = 4, nf: int = 64, mf: int = 48) -> LatticeNet:
    """LatticeNet (777K at x4). Input in 0..255, as its mean shifts have it."""
    return LatticeNet(scale, nf, mf)
