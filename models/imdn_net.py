"""IMDN (894K), the baseline of the AIM 2020 and NTIRE 2022 challenges.

Eight information multi-distillation blocks of 64 channels (after Hui et al., ACM MM 2019).

After each convolution a quarter of the channels is split off and set aside. A split is a view:
the whole convolution output stays alive as long as either part is referenced.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from srprof.registry import Network

from .blocks import ShortcutBlock, check_scale, conv1x1, conv3x3, pixel_shuffle_tail

SLOPE = 0.05

NETWORKS = (
    Network(
        name="imdn",
        factory="srprof.models.imdn_net:imdn",
        title="IMDN (894K), baseline of AIM 2020 and NTIRE 2022: 8 blocks of 64 channels",
        scale=4,
        scales=(2, 3, 4),
        width=64,
        aliases=("imdn_baseline",),
        row="Table 4: IMDN",
        published={
            4: {
                "params_M": 0.894,
                "flops_G": 58.53,
                "activations_M": 154.14,
                "memory_MiB": 471.76,
                "convs": 43,
                "runtime_ms": 50.86,
                "psnr_dB": 29.13,
            }
        },
        notes="Not the 715K IMDN of ACM MM 2019, which adds CCA and concatenates all blocks.",
    ),
)


def _conv_act(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(conv3x3(in_channels, out_channels), nn.LeakyReLU(SLOPE, inplace=True))


class IMDBlock(nn.Module):
    """Information multi-distillation block: (N, C, H, W) to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.d_nc = channels // 4
        self.r_nc = channels - self.d_nc
        self.conv1 = _conv_act(channels, channels)
        self.conv2 = _conv_act(self.r_nc, channels)
        self.conv3 = _conv_act(self.r_nc, channels)
        self.conv4 = conv3x3(self.r_nc, self.d_nc)
        self.conv1x1 = conv1x1(4 * self.d_nc, channels)

    def forward(self, x: Tensor) -> Tensor:
        d1, r1 = torch.split(self.conv1(x), [self.d_nc, self.r_nc], dim=1)
        d2, r2 = torch.split(self.conv2(r1), [self.d_nc, self.r_nc], dim=1)
        d3, r3 = torch.split(self.conv3(r2), [self.d_nc, self.r_nc], dim=1)
        d4 = self.conv4(r3)
        res = self.conv1x1(torch.cat((d1, d2, d3, d4), dim=1))
        return x + res


class IMDN(nn.Module):
    """The network: (N, 3, H, W) to (N, 3, scale*H, scale*W)."""

    def __init__(self, scale: int, nf: int, num_blocks: int) -> None:
        super().__init__()
        check_scale(scale)
        trunk = nn.Sequential(*(IMDBlock(nf) for _ in range(num_blocks)), conv3x3(nf, nf))
        self.model = nn.Sequential(
            conv3x3(3, nf), ShortcutBlock(trunk), *pixel_shuffle_tail(nf, scale)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def imdn(scale: int = 4, nf: int = 64, num_blocks: int = 8) -> IMDN:
    """IMDN of Table 4 (894K at x4); not the 715K network of the original paper."""
    return IMDN(scale, nf, num_blocks)
