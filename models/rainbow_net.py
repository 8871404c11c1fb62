"""rainbow's entry to the NTIRE 2022 challenge (276K): IMDN+, narrow and with six splits a block.

SiLU is not in place: each activation is a new tensor, and the convolution's output dies with it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from srprof.registry import Network

from .blocks import ShortcutBlock, check_scale, conv1x1, conv3x3, pixel_shuffle_tail

NETWORKS = (
    Network(
        name="rainbow",
        factory="srprof.models.rainbow_net:rainbow",
        title="rainbow: IMDN+, narrow, six splits a block",
        scale=4,
        scales=(2, 3, 4),
        width=36,
        aliases=("imdn_plus",),
        row="Table 4: rainbow",
        published={
            4: {
                "params_M": 0.276,
                "flops_G": 17.98,
                "activations_M": 92.8,
                "memory_MiB": 309.23,
                "convs": 59,
                "runtime_ms": 34.1,
                "psnr_dB": 29.01,
            }
        },
    ),
)


class IMDBPlus(nn.Module):
    """Block with six convolutions, each but the last split: (N, C, H, W) to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        step = self.step = channels // 6
        self.c1 = conv3x3(channels, channels)
        self.c2 = conv3x3(channels - step, channels - step)
        self.c3 = conv3x3(channels - 2 * step, channels - 2 * step)
        self.c4 = conv3x3(channels - 3 * step, channels - 3 * step)
        self.c5 = conv3x3(channels - 4 * step, channels - 4 * step)
        self.c6 = conv3x3(channels - 5 * step, channels - 5 * step)
        self.act = nn.SiLU()
        self.c7 = conv1x1(channels, channels)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        aside, rest = torch.split(x, [self.step, x.shape[1] - self.step], dim=1)
        return aside, rest

    def forward(self, input: Tensor) -> Tensor:
        out_c1 = self.act(self.c1(input))
        distilled_c1, remaining_c1 = self._split(out_c1)
        out_c2 = self.act(self.c2(remaining_c1))
        distilled_c2, remaining_c2 = self._split(out_c2)
        out_c3 = self.act(self.c3(remaining_c2))
        distilled_c3, remaining_c3 = self._split(out_c3)
        out_c4 = self.act(self.c4(remaining_c3))
        distilled_c4, remaining_c4 = self._split(out_c4)
        out_c5 = self.act(self.c5(remaining_c4))
        distilled_c5, remaining_c5 = self._split(out_c5)
        out_c6 = self.act(self.c6(remaining_c5))
        out = torch.cat(
            [distilled_c1, distilled_c2, distilled_c3, distilled_c4, distilled_c5, out_c6], dim=1
        )
        return self.c7(out) + input


class IMDNPlus(nn.Module):
    """The network: (N, 3, H, W) to (N, 3, scale*H, scale*W)."""

    def __init__(self, scale: int, nf: int, num_blocks: int) -> None:
        super().__init__()
        check_scale(scale)
        trunk = nn.Sequential(*(IMDBPlus(nf) for _ in range(num_blocks)), conv3x3(nf, nf))
        self.FEM = nn.Sequential(conv3x3(3, nf), ShortcutBlock(trunk))
        self.RM = pixel_shuffle_tail(nf, scale)

    def forward(self, x: Tensor) -> Tensor:
        x = self.FEM(x)
        return self.RM(x)


def rainbow(scale: int = 4, nf: int = 36, num_blocks: int = 8) -> IMDNPlus:
    """Rainbow's IMDN+ (276K at x4)."""
    return IMDNPlus(scale, nf, num_blocks)
