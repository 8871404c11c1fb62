"""A network that is a function, for tests of what becomes of its calls."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """A network of one function, with a 1x1 convolution, a parameter and a buffer to use."""

    def __init__(self, code: Callable[..., object]) -> None:
        super().__init__()
        self.code = code
        self.conv = nn.Conv2d(4, 4, 1)
        self.weight = nn.Parameter(torch.linspace(-1, 1, 4 * 6 * 6).reshape(1, 4, 6, 6))
        self.register_buffer("table", torch.linspace(-1, 1, 4 * 6 * 6).reshape(1, 4, 6, 6))

    def forward(self, x: Tensor) -> object:
        return self.code(self, x)
