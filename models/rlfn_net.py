"""RLFN as ByteESR entered it (317K), the fastest of the NTIRE 2022 challenge.

Residual local feature network (Kong et al., CVPRW 2022): no distillation and no concatenation,
three convolutions in a row, one skip, a light attention. Each `out` is bound to the same name, so
that few tensors live.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srprof.registry import Network

from .blocks import check_scale, conv1x1, conv3x3, pixel_shuffle_tail

NETWORKS = (
    Network(
        name="rlfn",
        factory="srprof.models.rlfn_net:rlfn",
        title="RLFN as ByteESR entered it: residual local features, no distillation",
        scale=4,
        scales=(2, 3, 4),
        width=46,
        aliases=("byteesr",),
        row="Table 4: ByteESR",
        published={
            4: {
                "params_M": 0.317,
                "flops_G": 19.7,
                "activations_M": 80.05,
                "memory_MiB": 377.91,
                "convs": 39,
                "runtime_ms": 27.11,
                "psnr_dB": 29.00,
            }
        },
    ),
)


class LightESA(nn.Module):
    """ESA with one convolution on the pooled map: (N, C, H, W) to the same."""

    def __init__(self, channels: int, mid_channels: int) -> None:
        super().__init__()
        self.conv1 = conv1x1(channels, mid_channels)
        self.conv_f = conv1x1(mid_channels, mid_channels)
        self.conv2 = nn.Conv2d(mid_channels, mid_channels, kernel_size=3, stride=2)
        self.conv3 = conv3x3(mid_channels, mid_channels)
        self.conv4 = conv1x1(mid_channels, channels)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        c1_ = self.conv1(x)
        c1 = self.conv2(c1_)
        v_max = F.max_pool2d(c1, kernel_size=7, stride=3)
        c3 = self.conv3(v_max)
        c3 = F.interpolate(c3, x.shape[-2:], mode="bilinear", align_corners=False)
        cf = self.conv_f(c1_)
        c4 = self.conv4(c3 + cf)
        m = self.sigmoid(c4)
        return torch.mul(x, m)


class RLFB(nn.Module):
    """Residual local feature block: (N, C, H, W) to the same."""

    def __init__(self, channels: int, mid_channels: int, esa_channels: int) -> None:
        super().__init__()
        self.c1_r = conv3x3(channels, mid_channels)
        self.c2_r = conv3x3(mid_channels, mid_channels)
        self.c3_r = conv3x3(mid_channels, channels)
        self.c5 = conv1x1(channels, channels)
        self.esa = LightESA(channels, esa_channels)
        self.act = nn.LeakyReLU(0.05, inplace=True)

    def forward(self, input: Tensor) -> Tensor:
        out = self.c1_r(input)
        out = self.act(out)
        out = self.c2_r(out)
        out = self.act(out)
        out = self.c3_r(out)
        out = self.act(out)
        out = out + input
        return self.esa(self.c5(out))


class RLFN(nn.Module):
    """The network: (N, 3, H, W) to (N, 3, scale*H, scale*W); H and W at least 15."""

    def __init__(self, scale: int, nf: int, mf: int, esa_channels: int) -> None:
        super().__init__()
        check_scale(scale)
        self.fea_conv = conv3x3(3, nf)
        self.B1 = RLFB(nf, mf, esa_channels)
        self.B2 = RLFB(nf, mf, esa_channels)
        self.B3 = RLFB(nf, mf, esa_channels)
        self.B4 = RLFB(nf, mf, esa_channels)
        self.LR_conv = conv3x3(nf, nf)
        self.upsampler = pixel_shuffle_tail(nf, scale)

    def forward(self, input: Tensor) -> Tensor:
        out_fea = self.fea_conv(input)
        out_B = self.B1(out_fea)
        out_B = self.B2(out_B)
        out_B = self.B3(out_B)
        out_B = self.B4(out_B)
        out_lr = self.LR_conv(out_B) + out_fea
        return self.upsampler(out_lr)


def rlfn(scale: int = 4, nf: int = 46, mf: int = 48, esa_channels: int = 16) -> RLFN:
    """ByteESR's RLFN (317K at x4)."""
    return RLFN(scale, nf, mf, esa_channels)
