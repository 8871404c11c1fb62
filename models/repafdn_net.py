"""The Super team's entry to the NTIRE 2022 challenge (326K): RePAFDN.

Feature distillation as in RFDN without residual sums: three short blocks, one long one, their
outputs fused, pixel attention before the global skip.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from srprof.registry import Network

from .blocks import ESA, FDB, check_scale, conv1x1, conv3x3, pixel_shuffle_tail

SLOPE = 0.05

NETWORKS = (
    Network(
        name="repafdn",
        factory="srprof.models.repafdn_net:repafdn",
        title="RePAFDN of the Super team: feature distillation with pixel attention",
        scale=4,
        scales=(2, 3, 4),
        width=48,
        aliases=("super",),
        row="Table 4: Super",
        published={
            4: {
                "params_M": 0.326,
                "flops_G": 20.06,
                "activations_M": 93.82,
                "memory_MiB": 663.07,
                "convs": 59,
                "runtime_ms": 32.09,
                "psnr_dB": 29.00,
            }
        },
    ),
)


class ShortFDB(nn.Module):
    """Distillation in two steps: (N, C, H, W) to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        distilled = channels // 2
        self.c1_d = conv1x1(channels, distilled)
        self.c1_r = conv3x3(channels, channels)
        self.c2_d = conv1x1(channels, distilled)
        self.c2_r = conv3x3(channels, channels)
        self.c4 = conv3x3(channels, distilled)
        self.act = nn.LeakyReLU(SLOPE, inplace=True)
        self.c5 = conv1x1(3 * distilled, channels)
        self.esa = ESA(channels, channels // 4)

    def forward(self, input: Tensor) -> Tensor:
        distilled_c1 = self.act(self.c1_d(input))
        r_c1 = self.act(self.c1_r(input))

        distilled_c2 = self.act(self.c2_d(r_c1))
        r_c2 = self.act(self.c2_r(r_c1))

        r_c4 = self.act(self.c4(r_c2))

        out = torch.cat([distilled_c1, distilled_c2, r_c4], dim=1)
        return self.esa(self.c5(out))


class PA(nn.Module):
    """Pixel attention: every element weighed by a 1x1 convolution and a sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv1x1(channels, channels)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        y = self.sigmoid(self.conv(x))
        return torch.mul(x, y)


class RePAFDN(nn.Module):
    """The network: (N, 3, H, W) to (N, 3, scale*H, scale*W); H and W at least 15 (see `ESA`)."""

    def __init__(self, scale: int, nf: int) -> None:
        super().__init__()
        check_scale(scale)
        self.fea_conv = conv3x3(3, nf)
        self.B1 = ShortFDB(nf)
        self.B2 = ShortFDB(nf)
        self.B3 = ShortFDB(nf)
        self.B4 = FDB(nf, nf // 4, ESA(nf, nf // 4))
        self.c = nn.Sequential(conv1x1(4 * nf, nf), nn.LeakyReLU(SLOPE, inplace=True))
        self.LR_conv = conv3x3(nf, nf)
        self.pa = PA(nf)
        self.upsampler = pixel_shuffle_tail(nf, scale)

    def forward(self, input: Tensor) -> Tensor:
        out_fea = self.fea_conv(input)
        out_B1 = self.B1(out_fea)
        out_B2 = self.B2(out_B1)
        out_B3 = self.B3(out_B2)
        out_B4 = self.B4(out_B3)

        out_B = self.c(torch.cat([out_B1, out_B2, out_B3, out_B4], dim=1))
        out_lr = self.pa(self.LR_conv(out_B)) + out_fea
        return self.upsampler(out_lr)


def repafdn(scale: int = 4, nf: int = 48) -> RePAFDN:
    """The Super team's RePAFDN (326K at x4)."""
    return RePAFDN(scale, nf)
