"""Weights to begin with."""

from __future__ import annotations

import torch
from torch import nn

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def he_(model: nn.Module, gain: float = 1.0) -> None:
    """Draw the weights of convolutions and linear layers by He et al. (ICCV 2015, equation 10).

    Normal, with the variance 2 / fan-in, times the gain; biases 0. What is frozen stays.
    """
    with torch.no_grad():
        for module in model.modules():
            if not isinstance(module, (*_CONVOLUTIONS, nn.Linear)):
                continue
            if module.weight.requires_grad:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                module.weight.mul_(gain)
            if module.bias is not None and module.bias.requires_grad:
                module.bias.zero_()
