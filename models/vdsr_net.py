"""VDSR (Kim et al., CVPR 2016): twenty convolutions on the bicubic-enlarged luma, one skip.

Parameter names are those of the common PyTorch port.
"""

from __future__ import annotations

from torch import Tensor, nn

from srprof.registry import Convention, Network

from .blocks import LumaNetwork, check_scale, conv3x3, enlarge

NETWORKS = (
    Network(
        name="vdsr",
        factory="srprof.models.vdsr_net:vdsr",
        title="VDSR (Kim et al., CVPR 2016), on the bicubic-enlarged luma",
        scale=4,
        scales=(1, 2, 3, 4),
        width=64,
        channels=1,
        row="Table 3: VDSR",
        published={
            2: {"params_K": 666, "mult_adds_G": 612.6},
            3: {"params_K": 666, "mult_adds_G": 612.6},
            4: {"params_K": 666, "mult_adds_G": 612.6},
        },
        conventions=(
            Convention(
                "mult_adds_G", "on 1280x720 itself", arguments={"scale": 1}, size=(720, 1280)
            ),
        ),
        notes="scale=1 takes an image that is enlarged already.",
    ),
)


class ConvReLU(nn.Module):
    """3x3 convolution and ReLU: (N, C, H, W) to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv3x3(channels, channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv(x))


class VDSR(LumaNetwork):
    """The network; see `LumaNetwork` for shapes."""

    def __init__(self, scale: int, depth: int, channels: int) -> None:
        super().__init__()
        self.scale = check_scale(scale, (1, 2, 3, 4))
        self.residual_layer = nn.Sequential(*(ConvReLU(channels) for _ in range(depth - 2)))
        self.input = conv3x3(1, channels)
        self.output = conv3x3(channels, 1)
        self.relu = nn.ReLU(inplace=True)

    def enhance(self, luma: Tensor) -> Tensor:
        residual = enlarge(luma, self.scale)
        out = self.relu(self.input(residual))
        out = self.residual_layer(out)
        out = self.output(out)
        return out + residual


def vdsr(scale: int = 4, depth: int = 20, channels: int = 64) -> VDSR:
    """VDSR (666K)."""
    return VDSR(scale, depth, channels)
