"""How good a network is on the validation images, and how good bicubic enlargement is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, log10

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srprof.quality.images import to_bits8
from srprof.quality.metrics import psnr
from srprof.quality.resize import bicubic
from srprof.training.data import Pair
from srprof.training.record import Score

Enlarged = NDArray[np.float64]


def to_input(images: NDArray[np.uint8], value_range: float, device: str) -> Tensor:
    """8-bit images (N, 3, H, W) as the network takes them."""
    return torch.from_numpy(images).to(device, torch.float32) * (value_range / 255)


def score_network(
    model: nn.Module, pairs: Sequence[Pair], scale: int, value_range: float, device: str
) -> Score:
    """The network's score in evaluation mode; its mode is left as it was."""

    def enlarge(pair: Pair) -> Enlarged:
        image = np.ascontiguousarray(pair.lr.transpose(2, 0, 1)[None])
        result = model(to_input(image, value_range, device))
        pixels: Enlarged = result[0].permute(1, 2, 0).cpu().double().numpy()
        return pixels * (255 / value_range)

    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return _score(enlarge, pairs, scale)
    finally:
        model.train(training)


def score_bicubic(pairs: Sequence[Pair], scale: int) -> Score:
    """Bicubic enlargement's score, its values cut to the range."""
    return _score(lambda pair: np.clip(bicubic(pair.lr, scale), 0, 255), pairs, scale)


def _score(enlarge: Callable[[Pair], Enlarged], pairs: Sequence[Pair], scale: int) -> Score:
    scores: list[tuple[float, float, float]] = []
    for pair in pairs:
        pixels = enlarge(pair)
        error = pixels - pair.hr
        mse = float((error[scale:-scale, scale:-scale] ** 2).mean())
        unrounded = 10 * log10(255**2 / mse) if mse else inf
        rounded = psnr(to_bits8(pixels), pair.hr, border=scale)
        scores.append((rounded, unrounded, float(np.abs(error).mean()) / 255))
    return Score(*(sum(values) / len(values) for values in zip(*scores, strict=True)))
