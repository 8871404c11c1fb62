"""IDN (Hui et al., CVPR 2018): distillation blocks, a wide transposed convolution at the end."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from srprof.registry import Convention, Network

from .blocks import (
    LumaNetwork,
    check_choice,
    check_scale,
    conv1x1,
    conv3x3,
    enlarge,
    pixel_shuffle_tail,
)

NETWORKS = (
    Network(
        name="idn",
        factory="srprof.models.idn_net:idn",
        title="IDN (Hui et al., CVPR 2018), on luma",
        scale=4,
        scales=(2, 3, 4),
        width=64,
        channels=1,
        row="Table 3: IDN",
        published={
            2: {"params_K": 579, "mult_adds_G": 133.0},
            3: {"params_K": 588, "mult_adds_G": 60.1},
            4: {"params_K": 600, "mult_adds_G": 34.5},
        },
        conventions=(
            Convention(
                "params_K",
                "of the RGB network with a pixel-shuffle tail, idn(tail='pixelshuffle')",
                arguments={"tail": "pixelshuffle"},
                channels=3,
            ),
            Convention(
                "mult_adds_G",
                "of the RGB network with a pixel-shuffle tail, idn(tail='pixelshuffle')",
                arguments={"tail": "pixelshuffle"},
                channels=3,
            ),
        ),
        notes="The official network has 552,769 parameters at every scale; the published figures "
        "are an RGB variant's, whose skip is not known and placed here as IMDN has it.",
    ),
)


def _conv_act(in_channels: int, out_channels: int, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, groups=groups)
    return [convolution, nn.LeakyReLU(0.05, inplace=True)]


class DBlock(nn.Module):
    """Enhancement and compression: (N, 64, H, W) to the same."""

    def __init__(self) -> None:
        super().__init__()
        self.upper = nn.Sequential(
            *_conv_act(64, 48), *_conv_act(48, 32, groups=4), *_conv_act(32, 64)
        )
        self.lower = nn.Sequential(
            *_conv_act(48, 64), *_conv_act(64, 48, groups=4), *_conv_act(48, 80)
        )
        self.compress = nn.Sequential(conv1x1(80, 64), nn.LeakyReLU(0.05, inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        long, short = self.upper(x).split([48, 16], dim=1)
        return self.compress(self.lower(long) + torch.cat([short, x], dim=1))


class IDN(LumaNetwork):
    """The network; see `LumaNetwork` for shapes, with the pixel-shuffle tail RGB throughout."""

    def __init__(self, scale: int, tail: str) -> None:
        super().__init__()
        check_choice("tail", tail, ("deconvolution", "pixelshuffle"))
        self.scale = check_scale(scale)
        self.rgb = tail == "pixelshuffle"
        self.features = nn.Sequential(*_conv_act(3 if self.rgb else 1, 64), *_conv_act(64, 64))
        self.blocks = nn.Sequential(*(DBlock() for _ in range(4)))
        if self.rgb:
            self.LR_conv = conv3x3(64, 64)
            self.upsampler: nn.Module = pixel_shuffle_tail(64, scale)
        else:
            self.upsampler = nn.ConvTranspose2d(
                64, 1, kernel_size=17, stride=scale, padding=8, output_padding=scale - 1
            )

    def forward(self, image: Tensor) -> Tensor:
        if not self.rgb:
            return super().forward(image)
        features = self.features(image)
        return self.upsampler(self.LR_conv(self.blocks(features)) + features)

    def enhance(self, luma: Tensor) -> Tensor:
        x = self.blocks(self.features(luma))
        return self.upsampler(x) + enlarge(luma, self.scale)


def idn(scale: int = 4, tail: str = "deconvolution") -> IDN:
    """IDN (553K); with `tail="pixelshuffle"` the RGB variant of the tables (600K at x4)."""
    return IDN(scale, tail)
