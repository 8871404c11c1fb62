"""A small super-resolution network, for the commands of the README and the pages in docs/."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Three convolutions whose results are fused by a 1x1 convolution, as in IMDN and RFDN."""

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(nf, nf, 3, padding=1)
        self.second = nn.Conv2d(nf, nf, 3, padding=1)
        self.fuse = nn.Conv2d(3 * nf, nf, 1)
        self.act = nn.LeakyReLU(0.05)

    def forward(self, x: Tensor) -> Tensor:
        one = self.act(self.first(x))
        two = self.act(self.second(one))
        return self.fuse(torch.cat([x, one, two], 1)) + x


class Net(nn.Module):
    """A head, some blocks and a pixel shuffle."""

    def __init__(self, nf: int = 32, blocks: int = 4, scale: int = 4) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, nf, 3, padding=1)
        self.body = nn.Sequential(*(Block(nf) for _ in range(blocks)))
        self.tail = nn.Conv2d(nf, 3 * scale**2, 3, padding=1)
        self.up = nn.PixelShuffle(scale)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.head(x)
        deep = self.body(shallow)
        return self.up(self.tail(deep + shallow))
