"""SRCNN (Dong et al., ECCV 2014): three convolutions on the bicubic-enlarged luma."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from srprof.registry import Convention, Network

from .blocks import LumaNetwork, check_scale, enlarge

NETWORKS = (
    Network(
        name="srcnn",
        factory="srprof.models.srcnn_net:srcnn",
        title="SRCNN (Dong et al., ECCV 2014), 9-1-5, on the bicubic-enlarged luma",
        scale=4,
        scales=(1, 2, 3, 4),
        width=64,
        channels=1,
        row="Table 3: SRCNN",
        published={
            2: {"params_K": 8, "mult_adds_G": 52.7},
            3: {"params_K": 8, "mult_adds_G": 52.7},
            4: {"params_K": 8, "mult_adds_G": 52.7},
        },
        conventions=(
            Convention(
                "mult_adds_G",
                "of the 9-5-5 network, srcnn(kernel=5), on 1280x720: the row mixes its Mult-Adds "
                "with the 9-1-5 network's parameters",
                arguments={"kernel": 5, "scale": 1},
                size=(720, 1280),
            ),
        ),
        notes="scale=1 takes an image that is enlarged already.",
    ),
)


class SRCNN(LumaNetwork):
    """The network; see `LumaNetwork` for shapes. Zero padding keeps the size.

    Args:
        kernel: size of the middle convolution: 1 (9-1-5) or 5 (9-5-5).
    """

    def __init__(self, scale: int, kernel: int) -> None:
        super().__init__()
        self.scale = check_scale(scale, (1, 2, 3, 4))
        self.conv1 = nn.Conv2d(1, 64, kernel_size=9, padding=4)
        self.conv2 = nn.Conv2d(64, 32, kernel_size=kernel, padding=kernel // 2)
        self.conv3 = nn.Conv2d(32, 1, kernel_size=5, padding=2)

    def enhance(self, luma: Tensor) -> Tensor:
        x = enlarge(luma, self.scale)
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        return self.conv3(x)


def srcnn(scale: int = 4, kernel: int = 1) -> SRCNN:
    """SRCNN (8K): 9-1-5, or 9-5-5 (57K) with `kernel=5`."""
    return SRCNN(scale, kernel)
