"""E-RFDN (433K), the baseline of the NTIRE 2022 challenge: RFDN with 4 blocks of 50 channels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from srprof.registry import Network

from .rfdn_net import RFDB, RFDN

NETWORKS = (
    Network(
        name="e_rfdn",
        factory="srprof.models.e_rfdn_net:e_rfdn",
        title="E-RFDN (433K), baseline of the challenge: RFDN with 4 blocks of 50 channels",
        scale=4,
        scales=(2, 3, 4),
        width=50,
        aliases=("rfdn_baseline",),
        row="Table 4: E-RFDN",
        published={
            4: {
                "params_M": 0.433,
                "flops_G": 27.10,
                "activations_M": 112.03,
                "memory_MiB": 788.13,
                "convs": 64,
                "runtime_ms": 41.97,
                "psnr_dB": 29.04,
            }
        },
    ),
)


class ERFDN(RFDN):
    """RFDN with four blocks, its `forward` with the variables of the challenge's file."""

    B1: nn.Module
    B2: nn.Module
    B3: nn.Module
    B4: nn.Module

    def __init__(self, scale: int, nf: int, block: Callable[[int], nn.Module]) -> None:
        super().__init__(scale, nf, 4, block)

    def forward(self, input: Tensor) -> Tensor:
        out_fea = self.fea_conv(input)
        out_B1 = self.B1(out_fea)
        out_B2 = self.B2(out_B1)
        out_B3 = self.B3(out_B2)
        out_B4 = self.B4(out_B3)

        out_B = self.c(torch.cat([out_B1, out_B2, out_B3, out_B4], dim=1))
        out_lr = self.LR_conv(out_B) + out_fea
        return self.upsampler(out_lr)


def e_rfdn(scale: int = 4, nf: int = 50) -> ERFDN:
    """E-RFDN (433K at x4)."""
    return ERFDN(scale, nf, RFDB)
