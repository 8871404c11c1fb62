"""LapSRN (Lai et al., CVPR 2017): a pyramid that enlarges by two, or by three, at each level."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from srprof.registry import Convention, Network

from .blocks import LumaNetwork, check_choice, check_scale

#: Factors of the levels of the pyramid; kernel sizes and paddings of the transposed convolutions.
_LEVELS = {2: (2,), 3: (3,), 4: (2, 2)}
_KERNELS = {2: (4, 1), 3: (5, 1)}

NETWORKS = (
    Network(
        name="lapsrn",
        factory="srprof.models.lapsrn_net:lapsrn",
        title="LapSRN (Lai et al., CVPR 2017), ten convolutions a level, on luma",
        scale=4,
        scales=(2, 3, 4),
        width=64,
        channels=1,
        row="Table 3: LapSRN",
        published={
            2: {"params_K": 253, "mult_adds_G": 104.9},
            3: {"params_K": 290, "mult_adds_G": 115.0},
            4: {"params_K": 543, "mult_adds_G": 139.3},
        },
        conventions=(
            Convention(
                "params_K",
                "of an RGB network with five convolutions a level, lapsrn(depth=5, channels=3)",
                arguments={"depth": 5, "channels": 3},
                channels=3,
            ),
            Convention(
                "params_K",
                "no variant known: lapsrn(depth=5, channels=3) comes nearest",
                scales=(4,),
                arguments={"depth": 5, "channels": 3},
                channels=3,
                reproducible=False,
            ),
            Convention(
                "mult_adds_G",
                "of lapsrn(depth=5, channels=3), transposed convolutions counted at output size",
                count="output size",
                arguments={"depth": 5, "channels": 3},
                channels=3,
            ),
            Convention(
                "mult_adds_G",
                "no variant known: lapsrn(depth=5, channels=3) with transposed convolutions "
                "counted at output size comes nearest",
                scales=(3, 4),
                count="output size",
                arguments={"depth": 5, "channels": 3},
                channels=3,
                reproducible=False,
            ),
        ),
        notes="The original exists at x2 and x4; at x3 one level enlarges by 5x5 transposed "
        "convolutions of stride 3, which gives the published parameters.",
    ),
)


class Level(nn.Module):
    """One level: features (N, 64, H, W) and image (N, C, H, W), both enlarged by `factor`."""

    def __init__(self, factor: int, depth: int, channels: int) -> None:
        super().__init__()
        kernel, padding = _KERNELS[factor]
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
        up = nn.ConvTranspose2d(64, 64, kernel, stride=factor, padding=padding, bias=False)
        self.embed = nn.Sequential(*layers, up, nn.LeakyReLU(0.2, inplace=True))
        self.residual = nn.Conv2d(64, channels, 3, padding=1, bias=False)
        self.image = nn.ConvTranspose2d(
            channels, channels, kernel, stride=factor, padding=padding, groups=channels, bias=False
        )

    def forward(self, features: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.embed(features)
        return features, self.image(image) + self.residual(features)


class LapSRN(LumaNetwork):
    """The network; see `LumaNetwork` for shapes, with `channels=3` RGB throughout.

    Args:
        depth: convolutions a level.
    """

    def __init__(self, scale: int, depth: int, channels: int) -> None:
        super().__init__()
        check_choice("channels", str(channels), ("1", "3"))
        self.scale = check_scale(scale, tuple(_LEVELS))
        self.channels = channels
        self.input = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        self.levels = nn.ModuleList(Level(factor, depth, channels) for factor in _LEVELS[scale])

    def forward(self, image: Tensor) -> Tensor:
        return self.enhance(image) if self.channels == 3 else super().forward(image)

    def enhance(self, luma: Tensor) -> Tensor:
        features = F.leaky_relu(self.input(luma), 0.2, inplace=True)
        for level in self.levels:
            features, luma = level(features, luma)
        return luma


def lapsrn(scale: int = 4, depth: int = 10, channels: int = 1) -> LapSRN:
    """LapSRN (870K at x4, 435K at x2)."""
    return LapSRN(scale, depth, channels)
