"""The high-frequency attention block of FMEN (paper, Section 3.4), in both forms."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from srprof.errors import InputError

from .blocks import TRAINING_FORM, BlockName, conv3x3, leaky_relu, make_block, pad_by_one


class HFAB(nn.Module):
    """Merged: squeeze, blocks, excite, sigmoid, multiply. (N, C, H, W) to the same.

    Args:
        channels: of the feature map that it weighs.
        blocks: number of blocks between squeeze and excitation.
        mid_channels: width in between.
    """

    def __init__(
        self, channels: int, blocks: int, mid_channels: int, block: BlockName = "erb"
    ) -> None:
        super().__init__()
        self.squeeze = conv3x3(channels, mid_channels)
        self.convs = nn.Sequential(*(make_block(block, mid_channels) for _ in range(blocks)))
        self.excitate = conv3x3(mid_channels, channels)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        out = leaky_relu(self.squeeze(x))
        out = leaky_relu(self.convs(out))
        out = self.excitate(out)
        out = self.sigmoid(out)
        out *= x
        return out

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if prefix + "bn1.weight" in state_dict:
            raise InputError(TRAINING_FORM)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class TrainingHFAB(nn.Module):
    """In training: a batch norm before each convolution and one behind the excitation.

    Shapes: (N, C, H, W) to the same. Both convolutions pad with what the batch norm before them
    makes of zeros, from its running statistics in training too (as the authors' code does); so
    merged convolutions, which pad with zeros, are the same at the border.
    """

    def __init__(
        self, channels: int, blocks: int, mid_channels: int, block: BlockName = "erb"
    ) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.bn2 = nn.BatchNorm2d(mid_channels)
        self.bn3 = nn.BatchNorm2d(channels)
        self.squeeze = nn.Conv2d(channels, mid_channels, kernel_size=3)
        self.convs = nn.Sequential(
            *(make_block(block, mid_channels, "train") for _ in range(blocks))
        )
        self.excitate = nn.Conv2d(mid_channels, channels, kernel_size=3)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn1(x)
        out = pad_by_one(out, of_zero(self.bn1))
        out = leaky_relu(self.squeeze(out))
        out = leaky_relu(self.convs(out))
        out = self.bn2(out)
        out = pad_by_one(out, of_zero(self.bn2))
        out = self.excitate(out)
        out = self.sigmoid(self.bn3(out))
        return out * x


def of_zero(norm: nn.BatchNorm2d) -> Tensor:
    """What a batch norm makes of zero by its running statistics, per channel: (C,)."""
    assert norm.running_mean is not None and norm.running_var is not None
    deviation = torch.sqrt(norm.running_var + norm.eps)
    return norm.bias - norm.running_mean * norm.weight / deviation
