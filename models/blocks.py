"""Blocks that several networks of the zoo share.

The networks' eager peak memory depends on which local variables their `forward` keeps, so each
`forward` here binds the variables that the published code binds, and no others.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """3x3 convolution with bias that keeps the image's size."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)


def conv1x1(in_channels: int, out_channels: int) -> nn.Conv2d:
    """1x1 convolution with bias."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=1)


def pixel_shuffle_tail(channels: int, scale: int, out_channels: int = 3) -> nn.Sequential:
    """Upsampling in one step: 3x3 convolution to `out_channels * scale**2`, then pixel shuffle.

    Shapes: (N, channels, H, W) to (N, out_channels, scale*H, scale*W).
    """
    return nn.Sequential(conv3x3(channels, out_channels * scale**2), nn.PixelShuffle(scale))


class ESA(nn.Module):
    """Enhanced spatial attention of RFDN (Liu et al., ECCVW 2020): one weight per position.

    Shapes: (N, C, H, W) to the same; H and W at least 15, for the strided convolution and the
    7x7 pooling behind it.
    """

    def __init__(self, channels: int, mid_channels: int) -> None:
        super().__init__()
        self.conv1 = conv1x1(channels, mid_channels)
        self.conv_f = conv1x1(mid_channels, mid_channels)
        self.conv_max = conv3x3(mid_channels, mid_channels)
        self.conv2 = nn.Conv2d(mid_channels, mid_channels, kernel_size=3, stride=2)
        self.conv3 = conv3x3(mid_channels, mid_channels)
        self.conv3_ = conv3x3(mid_channels, mid_channels)
        self.conv4 = conv1x1(mid_channels, channels)
        self.sigmoid = nn.Sigmoid()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        c1_ = self.conv1(x)
        c1 = self.conv2(c1_)
        v_max = F.max_pool2d(c1, kernel_size=7, stride=3)
        v_range = self.relu(self.conv_max(v_max))
        c3 = self.relu(self.conv3(v_range))
        c3 = self.conv3_(c3)
        c3 = F.interpolate(c3, x.shape[-2:], mode="bilinear", align_corners=False)
        cf = self.conv_f(c1_)
        c4 = self.conv4(c3 + cf)
        m = self.sigmoid(c4)
        return torch.mul(x, m)


class FDB(nn.Module):
    """Feature distillation in three steps, as in RFDN but without residual sums.

    Shapes: (N, channels, H, W) to the same.

    Args:
        distilled: channels put aside at each step.
        esa: the attention at the end, which keeps the shape.
        conv: makes a 3x3 convolution from its numbers of channels.
    """

    def __init__(
        self,
        channels: int,
        distilled: int,
        esa: nn.Module,
        conv: Callable[[int, int], nn.Module] = conv3x3,
    ) -> None:
        super().__init__()
        self.c1_d = conv1x1(channels, distilled)
        self.c1_r = conv(channels, channels)
        self.c2_d = conv1x1(channels, distilled)
        self.c2_r = conv(channels, channels)
        self.c3_d = conv1x1(channels, distilled)
        self.c3_r = conv(channels, channels)
        self.c4 = conv(channels, distilled)
        self.act = nn.LeakyReLU(0.05, inplace=True)
        self.c5 = conv1x1(4 * distilled, channels)
        self.esa = esa

    def forward(self, input: Tensor) -> Tensor:
        distilled_c1 = self.act(self.c1_d(input))
        r_c1 = self.act(self.c1_r(input))

        distilled_c2 = self.act(self.c2_d(r_c1))
        r_c2 = self.act(self.c2_r(r_c1))

        distilled_c3 = self.act(self.c3_d(r_c2))
        r_c3 = self.act(self.c3_r(r_c2))

        r_c4 = self.act(self.c4(r_c3))

        out = torch.cat([distilled_c1, distilled_c2, distilled_c3, r_c4], dim=1)
        return self.esa(self.c5(out))  # type: ignore[no-any-return]


class ShortcutBlock(nn.Module):
    """`x + sub(x)`."""

    def __init__(self, sub: nn.Module) -> None:
        super().__init__()
        self.sub = sub

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sub(x)  # type: ignore[no-any-return]
