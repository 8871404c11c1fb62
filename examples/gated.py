"""A network with an operator of a package that is not installed: `fused_ops`, which is made up."""

from fused_ops import gate
from torch import nn


class Gated(nn.Module):
    """Convolutions, each gated by a 1x1 convolution that one kernel computes and multiplies."""

    def __init__(self, nf=32, blocks=4, scale=4):
        super().__init__()
        self.head = nn.Conv2d(3, nf, 3, padding=1)
        self.bodies = nn.ModuleList(nn.Conv2d(nf, nf, 3, padding=1) for _ in range(blocks))
        self.mixes = nn.ModuleList(nn.Conv2d(nf, nf, 1) for _ in range(blocks))
        self.tail = nn.Conv2d(nf, 3 * scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x):
        """LR images (N, 3, H, W) to SR images (N, 3, scale H, scale W)."""
        x = self.head(x)
        for body, mix in zip(self.bodies, self.mixes, strict=True):
            x = gate(body(x), x, mix.weight, mix.bias)
        return self.shuffle(self.tail(x))
