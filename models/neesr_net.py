"""NEESR's entry to the NTIRE 2022 challenge (272K): edge-enhanced feature distillation, merged.

Blocks as in RFDN, but without residual sums and with an attention of two branches (Wang, CVPRW
2022). `forward` binds every block's output to a variable of its own, although each is needed once:
the published peak is three times what the network needs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srprof.registry import Network

from .blocks import FDB, check_scale, conv1x1, conv3x3, pixel_shuffle_tail

NETWORKS = (
    Network(
        name="neesr",
        factory="srprof.models.neesr_net:neesr",
        title="NEESR: edge-enhanced feature distillation, merged",
        scale=4,
        scales=(2, 3, 4),
        width=42,
        aliases=("efdn",),
        row="Table 4: NEESR",
        published={
            4: {
                "params_M": 0.272,
                "flops_G": 16.86,
                "activations_M": 79.59,
                "memory_MiB": 575.99,
                "convs": 59,
                "runtime_ms": 29.97,
                "psnr_dB": 29.01,
            }
        },
    ),
)


class PlainConv(nn.Module):
    """What an edge-oriented block is after merging: one 3x3 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv3x3 = conv3x3(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3x3(x)


class TwoBranchESA(nn.Module):
    """ESA without the strided convolution: (N, C, H, W) to the same."""

    def __init__(self, channels: int, mid_channels: int) -> None:
        super().__init__()
        self.conv1 = conv1x1(channels, mid_channels)
        self.conv_f = conv1x1(mid_channels, mid_channels)
        self.conv_2 = conv3x3(mid_channels, mid_channels)
        self.conv_3 = conv3x3(mid_channels, mid_channels)
        self.conv_23 = conv3x3(2 * mid_channels, mid_channels)
        self.conv4 = conv1x1(mid_channels, channels)
        self.sigmoid = nn.Sigmoid()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        c1_ = self.conv1(x)
        v_max = F.max_pool2d(c1_, kernel_size=7, stride=7, padding=1)
        c2 = self.relu(self.conv_2(v_max))
        c3 = self.relu(self.conv_3(v_max))
        v_range = torch.cat([c2, c3], dim=1)
        c3 = self.conv_23(v_range)
        c3 = F.interpolate(c3, x.shape[-2:], mode="bilinear", align_corners=False)
        cf = self.conv_f(c1_)
        c4 = self.conv4(c3 + cf)
        m = self.sigmoid(c4)
        return torch.mul(x, m)


def _block(channels: int) -> FDB:
    """Edge-enhanced feature distillation block, merged: (N, C, H, W) to the same."""
    distilled = channels // 4
    return FDB(channels, distilled, TwoBranchESA(channels, distilled), PlainConv)


class EFDN(nn.Module):
    """The network: (N, 3, H, W) to (N, 3, scale*H, scale*W); H and W at least 5."""

    def __init__(self, scale: int, nf: int) -> None:
        super().__init__()
        check_scale(scale)
        self.fea_conv = conv3x3(3, nf)
        self.B1 = _block(nf)
        self.B2 = _block(nf)
        self.B3 = _block(nf)
        self.B4 = _block(nf)
        self.LR_conv = conv3x3(nf, nf)
        self.upsampler = pixel_shuffle_tail(nf, scale)

    def forward(self, input: Tensor) -> Tensor:
        out_fea = self.fea_conv(input)
        out_B1 = self.B1(out_fea)
        out_B2 = self.B2(out_B1)
        out_B3 = self.B3(out_B2)
        out_B4 = self.B4(out_B3)
        out_lr = self.LR_conv(out_B4) + out_fea
        return self.upsampler(out_lr)


def neesr(scale: int = 4, nf: int = 42) -> EFDN:
    """NEESR's network (272K at x4)."""
    return EFDN(scale, nf)
