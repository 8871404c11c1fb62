"""IMDN (715K) of the original paper (Hui et al., ACM MM 2019).

Contrast-aware attention in each block, and all blocks' outputs fused. The challenge's IMDN (894K)
is another network, in `imdn_net.py`.

Parameter names are those of the public checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from srprof.registry import Network

from .blocks import CCA, check_scale, conv1x1, conv3x3, pixel_shuffle_tail

SLOPE = 0.05

NETWORKS = (
    Network(
        name="imdn_715k",
        factory="srprof.models.imdn_acm_net:imdn_715k",
        title="IMDN (Hui et al., ACM MM 2019): 6 blocks of 64 channels with attention",
        scale=4,
        scales=(2, 3, 4),
        width=64,
        aliases=("imdn_acm",),
        row="Table 3: IMDN",
        published={
            2: {"params_K": 694, "mult_adds_G": 158.8},
            3: {"params_K": 703, "mult_adds_G": 71.5},
            4: {"params_K": 715, "mult_adds_G": 40.9},
        },
    ),
)


class IMDModule(nn.Module):
    """Information multi-distillation module: (N, C, H, W) to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.distilled_channels = channels // 4
        self.remaining_channels = channels - self.distilled_channels
        self.c1 = conv3x3(channels, channels)
        self.c2 = conv3x3(self.remaining_channels, channels)
        self.c3 = conv3x3(self.remaining_channels, channels)
        self.c4 = conv3x3(self.remaining_channels, self.distilled_channels)
        self.act = nn.LeakyReLU(SLOPE, inplace=True)
        self.c5 = conv1x1(4 * self.distilled_channels, channels)
        self.cca = CCA(channels, channels // 16)

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.split(x, [self.distilled_channels, self.remaining_channels], dim=1)

    def forward(self, input: Tensor) -> Tensor:
        out_c1 = self.act(self.c1(input))
        distilled_c1, remaining_c1 = self._split(out_c1)
        out_c2 = self.act(self.c2(remaining_c1))
        distilled_c2, remaining_c2 = self._split(out_c2)
        out_c3 = self.act(self.c3(remaining_c2))
        distilled_c3, remaining_c3 = self._split(out_c3)
        out_c4 = self.c4(remaining_c3)
        out = torch.cat([distilled_c1, distilled_c2, distilled_c3, out_c4], dim=1)
        return self.c5(self.cca(out)) + input


class IMDN(nn.Module):
    """The network: (N, 3, H, W) to (N, 3, scale*H, scale*W)."""

    def __init__(self, scale: int, nf: int) -> None:
        super().__init__()
        check_scale(scale)
        self.fea_conv = conv3x3(3, nf)
        self.IMDB1 = IMDModule(nf)
        self.IMDB2 = IMDModule(nf)
        self.IMDB3 = IMDModule(nf)
        self.IMDB4 = IMDModule(nf)
        self.IMDB5 = IMDModule(nf)
        self.IMDB6 = IMDModule(nf)
        self.c = nn.Sequential(conv1x1(6 * nf, nf), nn.LeakyReLU(SLOPE, inplace=True))
        self.LR_conv = conv3x3(nf, nf)
        self.upsampler = pixel_shuffle_tail(nf, scale)

    def forward(self, input: Tensor) -> Tensor:
        out_fea = self.fea_conv(input)
        out_B1 = self.IMDB1(out_fea)
        out_B2 = self.IMDB2(out_B1)
        out_B3 = self.IMDB3(out_B2)
        out_B4 = self.IMDB4(out_B3)
        out_B5 = self.IMDB5(out_B4)
        out_B6 = self.IMDB6(out_B5)
        out_B = self.c(torch.cat([out_B1, out_B2, out_B3, out_B4, out_B5, out_B6], dim=1))
        out_lr = self.LR_conv(out_B) + out_fea
        return self.upsampler(out_lr)


def imdn_715k(scale: int = 4, nf: int = 64) -> IMDN:
    """IMDN of Table 3 (715K at x4); `imdn` is the challenge's, of Table 4."""
    return IMDN(scale, nf)
