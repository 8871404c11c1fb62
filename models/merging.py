"""Re-parameterisation: from the training form to the inference form (paper, Section 3.3).

Both folds are linear algebra on the weights, done in float64, and exact up to its rounding, at
the image's border too.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from .blocks import RRRB, RepConv
from .hfab import HFAB, TrainingHFAB, of_zero


def merge(model: nn.Module) -> nn.Module:
    """The model's inference form: a copy in evaluation mode; the model is left as it is.

    Each RRRB becomes one 3x3 convolution, and each HFAB's batch norms go into its convolutions.
    What is merged already stays. It computes what `model.eval()` does up to rounding.
    """
    with torch.no_grad():
        return _merged(copy.deepcopy(model)).eval()


def _merged(module: nn.Module) -> nn.Module:
    for name, child in list(module.named_children()):
        setattr(module, name, _merged(child))
    if isinstance(module, RRRB):
        return _merge_rrrb(module)
    if isinstance(module, TrainingHFAB):
        return _merge_hfab(module)
    return module


def _merge_rrrb(block: RRRB) -> RepConv:
    """1x1, 3x3 with a skip around it, 1x1, a skip around all: one 3x3 convolution."""
    (k1, b1), (k2, b2), (k3, b3) = map(
        _weights, (block.expand_conv, block.fea_conv, block.reduce_conv)
    )
    k2[:, :, 1, 1] += torch.eye(len(k2), dtype=k2.dtype, device=k2.device)
    kernel = torch.einsum("oa,abhw,bi->oihw", k3[:, :, 0, 0], k2, k1[:, :, 0, 0])
    bias = k3[:, :, 0, 0] @ (k2.sum((2, 3)) @ b1 + b2) + b3
    kernel[:, :, 1, 1] += torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
    merged = RepConv(len(bias)).to(block.fea_conv.weight)
    _set_weights(merged.rep_conv, kernel, bias)
    return merged


def _merge_hfab(block: TrainingHFAB) -> HFAB:
    """bn1 goes into the squeeze behind it; bn2 and bn3 into the excitation between them."""
    merged = HFAB(block.squeeze.in_channels, 0, block.squeeze.out_channels)
    merged = merged.to(block.squeeze.weight)
    merged.convs = block.convs  # merged before, as all children
    _set_weights(merged.squeeze, *_after(block.bn1, *_weights(block.squeeze)))
    kernel, bias = _after(block.bn2, *_weights(block.excitate))
    scale = _scale(block.bn3)
    shift = of_zero(block.bn3.double())
    _set_weights(merged.excitate, kernel * scale.view(-1, 1, 1, 1), bias * scale + shift)
    return merged


def _after(norm: nn.BatchNorm2d, kernel: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the convolution with the batch norm before it folded in."""
    shift = of_zero(norm.double())
    return kernel * _scale(norm).view(1, -1, 1, 1), bias + kernel.sum((2, 3)) @ shift


def _scale(norm: nn.BatchNorm2d) -> Tensor:
    assert norm.running_var is not None
    return norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)


def _weights(convolution: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """A convolution's weight and bias in float64; copies."""
    assert convolution.bias is not None
    weight, bias = convolution.weight.detach(), convolution.bias.detach()
    return weight.to(torch.float64, copy=True), bias.to(torch.float64, copy=True)


def _set_weights(convolution: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    assert convolution.bias is not None
    convolution.weight.copy_(weight)
    convolution.bias.copy_(bias)
