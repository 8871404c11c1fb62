"""Weights that are computed when asked for: parametrizations, blocks that fuse branches."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize


class Symmetric(nn.Module):
    def forward(self, w):
        flat = w.flatten(1)
        return flat.mm(flat.t()).mm(flat).view_as(w)


class Parametrized(nn.Module):
    def __init__(self, c: int = 256):
        super().__init__()
        self.head = nn.Conv2d(3, c, 1)
        self.body = parametrize.register_parametrization(
            nn.Conv2d(c, c, 3, 1, 1), "weight", Symmetric()
        )
        self.tail = nn.Conv2d(c, 3, 1)

    def forward(self, x):
        return self.tail(self.body(self.head(x)))


class FusedBlock(nn.Module):
    """One kernel out of two branches, put together anew whenever it is read."""

    def __init__(self, i: int = 64, o: int = 64, mid: int = 1024):
        super().__init__()
        self.a, self.b = (
            nn.Parameter(torch.randn(mid, i, 1, 1)),
            nn.Parameter(torch.randn(o, mid, 3, 3)),
        )

    @property
    def weight(self):
        return F.conv2d(self.b, self.a.transpose(0, 1))

    def forward(self, x):
        return F.conv2d(x, self.weight, padding=1)


class Fused(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.body = nn.Conv2d(3, 64, 3, 1, 1), FusedBlock()

    def forward(self, x):
        return self.body(self.head(x))
