"""Convolutions whose weights are normalised, by hooks and by parametrizations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize


def old_weight_norm(conv: nn.Module) -> nn.Module:
    return torch.nn.utils.weight_norm(conv)


class Doubled(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * 2


NORMS: dict[str, Callable[[nn.Module], Any]] = {
    "weight_norm (hook)": old_weight_norm,
    "weight_norm (parametrization)": parametrizations.weight_norm,
    "spectral_norm (hook)": torch.nn.utils.spectral_norm,
    "spectral_norm (parametrization)": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "own": lambda conv: parametrize.register_parametrization(conv, "weight", Doubled()),
}
