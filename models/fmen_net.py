"""FMEN and FMEN-S (Du et al., CVPRW 2022) in inference form.

A head, a warm-up block, pairs of an enhanced residual block (ERB) and a high-frequency attention
block (HFAB), one global skip, a pixel-shuffle tail. Every branch of the training form is merged
into plain 3x3 convolutions, so that few feature maps are alive at once: 4n + 3 planes.

Parameter names are those of the authors' released checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import conv3x3, pixel_shuffle_tail

#: Negative slope of every LeakyReLU. The authors call one global module, which the challenge's
#: counter does not see; a functional call is the same to it.
SLOPE = 0.1


class RepConv(nn.Module):
    """What an RRRB is after merging: one 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rep_conv = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.rep_conv(x)  # type: ignore[no-any-return]


class ERB(nn.Module):
    """Enhanced residual block, merged: convolution, LeakyReLU, convolution; no skip is left."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = RepConv(channels)
        self.conv2 = RepConv(channels)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(x)
        out = F.leaky_relu(out, SLOPE)
        return self.conv2(out)  # type: ignore[no-any-return]


class HFAB(nn.Module):
    """High-frequency attention block, merged: squeeze, ERBs, excite, sigmoid, multiply.

    Args:
        channels: of the feature map that it weighs.
        blocks: number of ERBs between squeeze and excitation.
        mid_channels: width in between.
    """

    def __init__(self, channels: int, blocks: int, mid_channels: int) -> None:
        super().__init__()
        self.squeeze = conv3x3(channels, mid_channels)
        self.convs = nn.Sequential(*(ERB(mid_channels) for _ in range(blocks)))
        self.excitate = conv3x3(mid_channels, channels)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        out = F.leaky_relu(self.squeeze(x), SLOPE)
        out = F.leaky_relu(self.convs(out), SLOPE)
        out = self.excitate(out)
        out = self.sigmoid(out)
        out *= x
        return out  # type: ignore[no-any-return]


class FMEN(nn.Module):
    """The network.

    Shapes: (N, 3, H, W) to (N, 3, scale*H, scale*W).

    Args:
        scale: upscaling factor.
        n_feats: trunk width n.
        mid_feats: width inside the HFABs; the warm-up's is 4 less.
        up_blocks: ERBs in each HFAB, the warm-up's first; one ERB-HFAB pair for each other.
    """

    def __init__(self, scale: int, n_feats: int, mid_feats: int, up_blocks: Sequence[int]) -> None:
        super().__init__()
        warmup_blocks, *pairs = up_blocks
        self.head = conv3x3(3, n_feats)
        self.warmup = nn.Sequential(
            conv3x3(n_feats, n_feats), HFAB(n_feats, warmup_blocks, mid_feats - 4)
        )
        self.ERBs = nn.ModuleList(ERB(n_feats) for _ in pairs)
        self.HFABs = nn.ModuleList(HFAB(n_feats, blocks, mid_feats) for blocks in pairs)
        self.lr_conv = conv3x3(n_feats, n_feats)
        self.tail = pixel_shuffle_tail(n_feats, scale)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        h = self.warmup(x)
        for erb, hfab in zip(self.ERBs, self.HFABs, strict=True):
            h = erb(h)
            h = hfab(h)
        h = self.lr_conv(h)
        h += x
        return self.tail(h)  # type: ignore[no-any-return]


def fmen(
    scale: int = 4,
    n_feats: int = 64,
    mid_feats: int = 32,
    up_blocks: Sequence[int] = (3, 2, 2, 2, 2),
) -> FMEN:
    """FMEN (769K at x4).

    Its hyper-parameters are inferred: the only ones of the released code's form that give the
    published parameters and Mult-Adds at x2, x3 and x4.
    """
    return FMEN(scale, n_feats, mid_feats, up_blocks)


def fmen_s(
    scale: int = 4,
    n_feats: int = 50,
    mid_feats: int = 16,
    up_blocks: Sequence[int] = (2, 1, 1, 1, 1),
) -> FMEN:
    """FMEN-S (341K at x4), the authors' entry to the NTIRE 2022 challenge."""
    return FMEN(scale, n_feats, mid_feats, up_blocks)
