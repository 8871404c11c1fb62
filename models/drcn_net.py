"""DRCN (Kim et al., CVPR 2016): one convolution applied sixteen times."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srprof.registry import Convention, Network

from .blocks import LumaNetwork, check_scale, conv3x3, enlarge

NETWORKS = (
    Network(
        name="drcn",
        factory="srprof.models.drcn_net:drcn",
        title="DRCN (Kim et al., CVPR 2016), on the bicubic-enlarged luma",
        scale=4,
        scales=(1, 2, 3, 4),
        width=256,
        channels=1,
        row="Table 3: DRCN",
        published={
            2: {"params_K": 1774, "mult_adds_G": 9788.7},
            3: {"params_K": 1774, "mult_adds_G": 9788.7},
            4: {"params_K": 1774, "mult_adds_G": 9788.7},
        },
        conventions=(
            Convention("params_K", "weights of the convolutions, no biases", count="weights"),
            Convention(
                "mult_adds_G",
                "of one reconstruction, drcn(ensemble=False), on 1280x720; the network's sixteen "
                "reconstructions make it 17974.3",
                arguments={"ensemble": False, "scale": 1},
                size=(720, 1280),
            ),
        ),
        notes="scale=1 takes an image that is enlarged already.",
    ),
)


class DRCN(LumaNetwork):
    """The network; see `LumaNetwork` for shapes.

    Args:
        recursions: how often the shared convolution is applied.
        ensemble: sum the reconstructions of all states by learned weights; else the last one's.
    """

    def __init__(self, scale: int, channels: int, recursions: int, ensemble: bool) -> None:
        super().__init__()
        self.scale = check_scale(scale, (1, 2, 3, 4))
        self.recursions = recursions
        self.ensemble = ensemble
        self.embed1 = conv3x3(1, channels)
        self.embed2 = conv3x3(channels, channels)
        self.recursion = conv3x3(channels, channels)
        self.reconstruct1 = conv3x3(channels, channels)
        self.reconstruct2 = conv3x3(channels, 1)
        self.weights = nn.Parameter(torch.full((recursions,), 1 / recursions))

    def enhance(self, luma: Tensor) -> Tensor:
        image = enlarge(luma, self.scale)
        state = F.relu(self.embed1(image))
        state = F.relu(self.embed2(state))
        total = torch.zeros_like(image)
        for step in range(self.recursions):
            state = F.relu(self.recursion(state))
            if self.ensemble:
                total = total + self.weights[step] * self._reconstruct(state, image)
        return total if self.ensemble else self._reconstruct(state, image)

    def _reconstruct(self, state: Tensor, image: Tensor) -> Tensor:
        out = F.relu(self.reconstruct1(state))
        return self.reconstruct2(out) + image


def drcn(scale: int = 4, channels: int = 256, recursions: int = 16, ensemble: bool = True) -> DRCN:
    """DRCN (1,775K; 1,774K of them weights)."""
    return DRCN(scale, channels, recursions, ensemble)
