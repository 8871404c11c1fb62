"""Two results compared bit by bit and by size of the difference, and images to compare them on."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

import torch

from srprof.tracing.recorder import tensors_in

Size = tuple[int, int]


@dataclass(frozen=True)
class Comparison:
    """Outputs on one image.

    Attributes:
        image: "random", or "natural": smooth structure and edges, as a photograph has.
        size: height and width of the call's (first) image; None for a call without one.
        identical: every bit is the same.
        error: largest difference relative to the largest output.
    """

    image: str
    size: Size | None
    identical: bool
    error: float


def compare(image: str, size: Size | None, before: Any, after: Any) -> Comparison:
    """The tensors of two results of one call."""
    one, other = [*tensors_in(before)], [*tensors_in(after)]
    if [(t.shape, t.dtype) for t in one] != [(t.shape, t.dtype) for t in other]:
        return Comparison(image, size, identical=False, error=inf)
    pairs = list(zip(one, other, strict=True))
    identical = all(torch.equal(_bits(before), _bits(after)) for before, after in pairs)
    error = max((relative_error(before, after) for before, after in pairs), default=0.0)
    return Comparison(image, size, identical, error)


def _bits(value: torch.Tensor) -> torch.Tensor:
    return value.detach().resolve_conj().resolve_neg().reshape(-1).view(torch.uint8)


def relative_error(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference over the largest value of `one`; NaN and infinities must be equal."""
    wide = torch.complex128 if one.is_complex() else torch.float64
    one, other = one.to(wide), other.to(wide)
    same = (one == other) | (one.isnan() & other.isnan())
    difference = (one - other).abs().masked_fill(same, 0.0).nan_to_num(nan=inf, posinf=inf)
    largest = one[one.isfinite()].abs()
    most = float(difference.max()) if one.numel() else 0.0
    scale = float(largest.max()) if largest.numel() else 0.0
    return most / scale if scale else most


def natural(value: Any) -> Any:
    """An image of this tensor's shape with the spectrum of photographs, in 0 to 1.

    Amplitudes fall with the inverse of frequency, and a step runs through it as at an edge.
    Values that are no images are handed back.
    """
    if not isinstance(value, torch.Tensor) or value.dim() < 2 or not value.is_floating_point():
        return value
    height, width = value.shape[-2:]
    vertical = torch.fft.fftfreq(height)[:, None]
    horizontal = torch.fft.rfftfreq(width)[None, :]
    frequency = (vertical**2 + horizontal**2).sqrt().clamp(min=1 / max(height, width))
    spectrum = torch.fft.rfft2(torch.randn(value.shape)) / frequency
    image = torch.fft.irfft2(spectrum, s=(height, width))
    image = image / image.abs().amax(dim=(-2, -1), keepdim=True).clamp(min=1e-6)
    edge = torch.linspace(-1, 1, width).sign() * 0.25
    return (0.5 + 0.3 * image + edge).clamp(0, 1).to(value.dtype)
