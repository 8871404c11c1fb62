"""A small network with all that an analysis tells of: dead variables, a bicubic skip, an op in
place, a second input, a buffer and a module that is called twice."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Kept(nn.Module):
    def __init__(self, features: int = 6) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, features, 3, padding=1)
        self.body = nn.Conv2d(features, features, 3, padding=1)
        self.norm = nn.BatchNorm2d(features)
        self.tail = nn.Conv2d(features, 12, 3, padding=1)
        self.cache = None

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        shallow = alias = self.head(image)
        features = [torch.relu(self.body(shallow))]
        features.append(self.norm(self.body(features[0])) + alias)
        deep = torch.cat(features, dim=1)[:, :6]
        deep.mul_(mask)
        order = deep.mean((2, 3)).argsort(1)
        deep = torch.cumsum(deep, 1) * order[:, :, None, None].to(deep.dtype)
        skip = F.interpolate(image, scale_factor=2, mode="bicubic", align_corners=False)
        return F.pixel_shuffle(self.tail(deep), 2) + skip
