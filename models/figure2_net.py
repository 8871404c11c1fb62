"""The two topologies of the FMEN paper's Figure 2, as small as they can be.

Besides the image they need 2 feature maps at every convolution of the plain one; the fusion one
3 at its second convolution, and 2N where N feature maps are concatenated.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from srprof.registry import Network

from .blocks import conv3x3

NETWORKS = (
    Network(
        name="figure2_plain",
        factory="srprof.models.figure2_net:figure2_plain",
        title="Figure 2's plain topology: convolutions in a row",
        width=64,
        row="Figure 2",
        notes="The paper: 2 feature maps at the second convolution.",
    ),
    Network(
        name="figure2_fusion",
        factory="srprof.models.figure2_net:figure2_fusion",
        title="Figure 2's fusion topology: N feature maps concatenated",
        width=64,
        row="Figure 2",
        notes="The paper: 3 feature maps at the second convolution, 2N at the concatenation.",
    ),
)


class Plain(nn.Module):
    """(N, 3, H, W) to (N, C, H, W). Each feature map dies when the next is made."""

    def __init__(self, channels: int, convolutions: int) -> None:
        super().__init__()
        self.head = conv3x3(3, channels)
        self.convs = nn.ModuleList(conv3x3(channels, channels) for _ in range(convolutions))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        for conv in self.convs:
            x = conv(x)
        return x


class Fusion(Plain):
    """(N, 3, H, W) to (N, (convolutions + 1) * C, H, W). Every feature map lives to the end."""

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.head(x)]
        for conv in self.convs:
            maps.append(conv(maps[-1]))
        return torch.cat(maps, dim=1)


def figure2_plain(channels: int = 64, convolutions: int = 3) -> Plain:
    """Figure 2's plain topology."""
    return Plain(channels, convolutions)


def figure2_fusion(channels: int = 64, convolutions: int = 3) -> Fusion:
    """Figure 2's fusion topology; N is `convolutions + 1`."""
    return Fusion(channels, convolutions)
