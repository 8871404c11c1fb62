"""Chains of any steps within a region of CUDA's autocast, for Hypothesis."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

SHAPE = (1, 4, 8, 8)

STEPS = (
    "self.conv(x)",
    "self.conv2(torch.relu(x))",
    "self.linear(x.contiguous())",
    "self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)",
    "self.group(x)",
    "self.prelu(x)",
    "F.silu(x)",
    "x.softmax(1)",
    "F.normalize(x)",
    "F.interpolate(x, scale_factor=2, mode='bilinear').narrow(2, 0, 8).narrow(3, 0, 8)",
    "F.pixel_shuffle(F.pixel_unshuffle(x, 2), 2)",
    "x * torch.sigmoid(y)",
    "x + y",
    "torch.cat([x, y], 1).narrow(1, 2, 4)",
    "torch.addcmul(x, x, y)",
    "x * x.mean((2, 3), keepdim=True)",
    "x - x.sum(1, keepdim=True)",
    "(x @ y.transpose(2, 3))",
    "torch.einsum('bchw,bdhw->bdhw', x, y)",
    "x.exp().clamp(max=9).sqrt()",
    "x.float()",
    "x.double().float()",
    "self.off(x)",
    "self.again(x)",
)


class Chain(nn.Module):
    def __init__(self, steps: list[str], lower: torch.dtype, cached: bool) -> None:
        super().__init__()
        self.conv, self.conv2 = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
        self.linear, self.norm = nn.Linear(8, 8), nn.LayerNorm(4)
        self.group, self.prelu = nn.GroupNorm(2, 4), nn.PReLU(4)
        self.steps = [compile(step, "<step>", "eval") for step in steps]
        self.lower = lower
        self.requires_grad_(cached)

    def off(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cuda", enabled=False):
            return self.conv(x.float())

    def again(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cuda", dtype=self.lower, cache_enabled=False):
            return self.conv2(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        with torch.autocast("cuda", dtype=self.lower):
            for step in self.steps:
                x, y = eval(step, {"self": self, "F": F, "torch": torch, "x": x, "y": y}), x
        return x + self.conv(y.float())
