"""E-RFDN (433K), the baseline of the NTIRE 2022 challenge, and MegSR (290K), pruned from it.

RFDN (Liu et al., ECCVW 2020) with four blocks of 50 channels; MegSR's have 40.

Each block distils: at every step a 1x1 convolution puts some channels aside while a 3x3 one
refines the rest; all are concatenated and fused. `forward` binds each of them to a variable of
its own, as the published code does, and they stay alive until it returns.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .blocks import ESA, FDB, conv1x1, conv3x3, pixel_shuffle_tail

SLOPE = 0.05


class RFDB(nn.Module):
    """Residual feature distillation block: (N, C, H, W) to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        distilled = channels // 2
        self.c1_d = conv1x1(channels, distilled)
        self.c1_r = conv3x3(channels, channels)
        self.c2_d = conv1x1(channels, distilled)
        self.c2_r = conv3x3(channels, channels)
        self.c3_d = conv1x1(channels, distilled)
        self.c3_r = conv3x3(channels, channels)
        self.c4 = conv3x3(channels, distilled)
        self.act = nn.LeakyReLU(SLOPE, inplace=True)
        self.c5 = conv1x1(4 * distilled, channels)
        self.esa = ESA(channels, channels // 4)

    def forward(self, input: Tensor) -> Tensor:
        distilled_c1 = self.act(self.c1_d(input))
        r_c1 = self.c1_r(input)
        r_c1 = self.act(r_c1 + input)

        distilled_c2 = self.act(self.c2_d(r_c1))
        r_c2 = self.c2_r(r_c1)
        r_c2 = self.act(r_c2 + r_c1)

        distilled_c3 = self.act(self.c3_d(r_c2))
        r_c3 = self.c3_r(r_c2)
        r_c3 = self.act(r_c3 + r_c2)

        r_c4 = self.act(self.c4(r_c3))

        out = torch.cat([distilled_c1, distilled_c2, distilled_c3, r_c4], dim=1)
        return self.esa(self.c5(out))  # type: ignore[no-any-return]


class RFDN(nn.Module):
    """Four blocks in a row, all their outputs fused, one global skip.

    Shapes: (N, 3, H, W) to (N, 3, scale*H, scale*W); H and W at least 15 (see `ESA`).

    Args:
        block: makes a block from its number of channels.
    """

    def __init__(self, scale: int, nf: int, block: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.fea_conv = conv3x3(3, nf)
        self.B1 = block(nf)
        self.B2 = block(nf)
        self.B3 = block(nf)
        self.B4 = block(nf)
        self.c = nn.Sequential(conv1x1(4 * nf, nf), nn.LeakyReLU(SLOPE, inplace=True))
        self.LR_conv = conv3x3(nf, nf)
        self.upsampler = pixel_shuffle_tail(nf, scale)

    def forward(self, input: Tensor) -> Tensor:
        out_fea = self.fea_conv(input)
        out_B1 = self.B1(out_fea)
        out_B2 = self.B2(out_B1)
        out_B3 = self.B3(out_B2)
        out_B4 = self.B4(out_B3)

        out_B = self.c(torch.cat([out_B1, out_B2, out_B3, out_B4], dim=1))
        out_lr = self.LR_conv(out_B) + out_fea
        return self.upsampler(out_lr)  # type: ignore[no-any-return]


def e_rfdn(scale: int = 4, nf: int = 50) -> RFDN:
    """E-RFDN (433K at x4)."""
    return RFDN(scale, nf, RFDB)


def megsr(scale: int = 4, nf: int = 40, esa_channels: int = 12) -> RFDN:
    """MegSR (290K at x4): fewer channels, no residual sums, the attention's width unchanged."""
    return RFDN(scale, nf, lambda n: FDB(n, n // 2, ESA(n, esa_channels)))
