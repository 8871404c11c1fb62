"""RFDN (Liu et al., ECCVW 2020).

Each block distils: at every step a 1x1 convolution puts some channels aside while a 3x3 one
refines the rest; all are concatenated and fused. `forward` binds each of them to a variable of
its own, as the published code does, and they stay alive until it returns.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from srprof.registry import Convention, Network

from .blocks import ESA, check_scale, conv1x1, conv3x3, pixel_shuffle_tail

SLOPE = 0.05

NETWORKS = (
    Network(
        name="rfdn",
        factory="srprof.models.rfdn_net:rfdn",
        title="RFDN (Liu et al., ECCVW 2020): 6 blocks of 48 channels",
        scale=4,
        scales=(2, 3, 4),
        width=48,
        row="Table 3: RFDN",
        published={
            2: {"params_K": 534, "mult_adds_G": 123.0},
            3: {"params_K": 541, "mult_adds_G": 55.4},
            4: {"params_K": 550, "mult_adds_G": 31.6},
        },
        conventions=(
            Convention(
                "params_K",
                "the six-block network was never released; the figure leaves 1,206 to 1,372 "
                "parameters a block for an attention, and the public one has 6,600",
                reproducible=False,
            ),
            Convention(
                "mult_adds_G",
                "the six-block network was never released; this is the public block, six times",
                reproducible=False,
            ),
        ),
    ),
)


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
        return self.esa(self.c5(out))


class RFDN(nn.Module):
    """Blocks in a row, all their outputs fused, one global skip.

    Shapes: (N, 3, H, W) to (N, 3, scale*H, scale*W); H and W at least 15 (see `ESA`).

    Args:
        block: makes a block from its number of channels.
    """

    def __init__(
        self, scale: int, nf: int, num_blocks: int, block: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        check_scale(scale)
        self.num_blocks = num_blocks
        self.fea_conv = conv3x3(3, nf)
        for index in range(1, num_blocks + 1):
            self.add_module(f"B{index}", block(nf))
        self.c = nn.Sequential(conv1x1(num_blocks * nf, nf), nn.LeakyReLU(SLOPE, inplace=True))
        self.LR_conv = conv3x3(nf, nf)
        self.upsampler = pixel_shuffle_tail(nf, scale)

    def forward(self, input: Tensor) -> Tensor:
        out_fea = self.fea_conv(input)
        out_blocks = [out_fea]
        for index in range(1, self.num_blocks + 1):
            out_blocks.append(self.get_submodule(f"B{index}")(out_blocks[-1]))
        out_lr = self.LR_conv(self.c(torch.cat(out_blocks[1:], dim=1))) + out_fea
        return self.upsampler(out_lr)


def rfdn(scale: int = 4, nf: int = 48, num_blocks: int = 6) -> RFDN:
    """RFDN of Table 3 (582K at x4; 550K published), from the public block."""
    return RFDN(scale, nf, num_blocks, RFDB)
