"""Bicubic interpolation, the baseline of every super-resolution table."""

from __future__ import annotations

from torch import Tensor, nn

from srprof.registry import Network

from .blocks import check_scale, enlarge

NETWORKS = (
    Network(
        name="bicubic",
        factory="srprof.models.bicubic_net:bicubic",
        title="Bicubic interpolation",
        scale=4,
        scales=(2, 3, 4),
        row="Table 3: Bicubic",
        notes="No parameters and no multiply-accumulates of a network; Table 3 prints none. "
        "torch's kernel (a = -0.75); the tables' PSNR is of MATLAB's (a = -0.5), as is the column "
        "bicubic of srprof evaluate.",
    ),
)


class Bicubic(nn.Module):
    """(N, C, H, W) to (N, C, scale*H, scale*W)."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = check_scale(scale)

    def forward(self, x: Tensor) -> Tensor:
        return enlarge(x, self.scale)


def bicubic(scale: int = 4) -> Bicubic:
    """Bicubic interpolation."""
    return Bicubic(scale)
