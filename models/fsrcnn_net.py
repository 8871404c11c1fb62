"""FSRCNN (Dong et al., ECCV 2016): convolutions on the small luma, one transposed one at the end.

Parameter names are those of the common PyTorch port (`first_part`, `mid_part`, `last_part`).
"""

from __future__ import annotations

from torch import Tensor, nn

from srprof.registry import Convention, Network

from .blocks import LumaNetwork, check_scale, conv1x1, conv3x3

NETWORKS = (
    Network(
        name="fsrcnn",
        factory="srprof.models.fsrcnn_net:fsrcnn",
        title="FSRCNN(56, 12, 4) (Dong et al., ECCV 2016), on luma",
        scale=4,
        scales=(2, 3, 4),
        width=56,
        channels=1,
        row="Table 3: FSRCNN",
        published={
            2: {"params_K": 13, "mult_adds_G": 6.0},
            3: {"params_K": 13, "mult_adds_G": 5.0},
            4: {"params_K": 13, "mult_adds_G": 4.6},
        },
        conventions=(
            Convention(
                "mult_adds_G",
                "the transposed convolution counted at output size, scale^2 times what it does",
                count="output size",
            ),
        ),
    ),
)


class FSRCNN(LumaNetwork):
    """The network; see `LumaNetwork` for shapes.

    Args:
        d: channels of the features; s: of the shrunk ones; m: number of 3x3 convolutions.
    """

    def __init__(self, scale: int, d: int, s: int, m: int) -> None:
        super().__init__()
        self.scale = check_scale(scale)
        self.first_part = nn.Sequential(nn.Conv2d(1, d, kernel_size=5, padding=2), nn.PReLU(d))
        middle: list[nn.Module] = [conv1x1(d, s), nn.PReLU(s)]
        for _ in range(m):
            middle += [conv3x3(s, s), nn.PReLU(s)]
        self.mid_part = nn.Sequential(*middle, conv1x1(s, d), nn.PReLU(d))
        self.last_part = nn.ConvTranspose2d(
            d, 1, kernel_size=9, stride=scale, padding=4, output_padding=scale - 1
        )

    def enhance(self, luma: Tensor) -> Tensor:
        x = self.first_part(luma)
        x = self.mid_part(x)
        return self.last_part(x)


def fsrcnn(scale: int = 4, d: int = 56, s: int = 12, m: int = 4) -> FSRCNN:
    """FSRCNN (13K)."""
    return FSRCNN(scale, d, s, m)
