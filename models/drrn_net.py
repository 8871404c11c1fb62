"""DRRN (Tai et al., CVPR 2017): one residual unit applied twenty-five times."""

from __future__ import annotations

from torch import Tensor

from srprof.registry import Convention, Network

from .blocks import LumaNetwork, PreActivation, check_scale, conv3x3, enlarge

NETWORKS = (
    Network(
        name="drrn",
        factory="srprof.models.drrn_net:drrn",
        title="DRRN B1U25 (Tai et al., CVPR 2017), on the bicubic-enlarged luma",
        scale=4,
        scales=(1, 2, 3, 4),
        width=128,
        channels=1,
        row="Table 3: DRRN",
        published={
            2: {"params_K": 298, "mult_adds_G": 6796.9},
            3: {"params_K": 298, "mult_adds_G": 6796.9},
            4: {"params_K": 298, "mult_adds_G": 6796.9},
        },
        conventions=(
            Convention(
                "mult_adds_G", "on 1280x720 itself", arguments={"scale": 1}, size=(720, 1280)
            ),
        ),
        notes="The units share their batch norms as they share their convolutions. scale=1 takes "
        "an image that is enlarged already.",
    ),
)


class DRRN(LumaNetwork):
    """The network; see `LumaNetwork` for shapes. Each unit adds the block's first features."""

    def __init__(self, scale: int, channels: int, units: int) -> None:
        super().__init__()
        self.scale = check_scale(scale, (1, 2, 3, 4))
        self.units = units
        self.input = PreActivation(conv3x3(1, channels))
        self.conv1 = PreActivation(conv3x3(channels, channels))
        self.conv2 = PreActivation(conv3x3(channels, channels))
        self.output = PreActivation(conv3x3(channels, 1))

    def enhance(self, luma: Tensor) -> Tensor:
        image = enlarge(luma, self.scale)
        first = self.input(image)
        out = first
        for _ in range(self.units):
            out = self.conv2(self.conv1(out))
            out = out + first
        return self.output(out) + image


def drrn(scale: int = 4, channels: int = 128, units: int = 25) -> DRRN:
    """DRRN (298K)."""
    return DRRN(scale, channels, units)
