"""MemNet (Tai et al., ICCV 2017): memory blocks that gate everything that came before."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from srprof.registry import Convention, Network

from .blocks import LumaNetwork, PreActivation, check_scale, conv1x1, conv3x3, enlarge

NETWORKS = (
    Network(
        name="memnet",
        factory="srprof.models.memnet_net:memnet",
        title="MemNet M6R6 (Tai et al., ICCV 2017), on the bicubic-enlarged luma",
        scale=4,
        scales=(1, 2, 3, 4),
        width=64,
        channels=1,
        row="Table 3: MemNet",
        published={
            2: {"params_K": 678, "mult_adds_G": 623.9},
            3: {"params_K": 678, "mult_adds_G": 623.9},
            4: {"params_K": 678, "mult_adds_G": 623.9},
        },
        conventions=(
            Convention("params_K", "convolutions only, no batch norm", count="convolutions"),
            Convention(
                "mult_adds_G",
                "each shared weight counted once on 1280x720, though the recursion applies it six "
                "times",
                count="each weight once",
                arguments={"scale": 1},
                size=(720, 1280),
            ),
        ),
        notes="The six units of a block share their weights, as the published parameters assume; "
        "the released deploy file names none shared, memnet(shared=False), 2.9M. Table 1's MemNet "
        "(231.7 ms) cannot be this one, which runs at HR size; its configuration is not given. "
        "scale=1 takes an image that is enlarged already.",
    ),
)


class MemoryBlock(nn.Module):
    """Residual units in a row; a 1x1 gate on their outputs and all earlier memories."""

    def __init__(self, channels: int, memories: int, units: int, shared: bool) -> None:
        super().__init__()
        self.times = units if shared else 1
        self.units = nn.ModuleList(
            nn.Sequential(*(PreActivation(conv3x3(channels, channels)) for _ in range(2)))
            for _ in range(1 if shared else units)
        )
        self.gate = PreActivation(conv1x1((memories + units) * channels, channels))

    def forward(self, memories: list[Tensor]) -> Tensor:
        x = memories[-1]
        outputs = []
        for unit in [*self.units] * self.times:
            x = unit(x) + x
            outputs.append(x)
        return self.gate(torch.cat([*memories, *outputs], dim=1))


class MemNet(LumaNetwork):
    """The network; see `LumaNetwork` for shapes.

    Args:
        shared: the units of a block share their weights.
        ensemble: sum the reconstructions of all memories by learned weights; else the last one's.
    """

    def __init__(
        self, scale: int, channels: int, blocks: int, units: int, shared: bool, ensemble: bool
    ) -> None:
        super().__init__()
        self.scale = check_scale(scale, (1, 2, 3, 4))
        self.extract = PreActivation(conv3x3(1, channels))
        self.blocks = nn.ModuleList(
            MemoryBlock(channels, 1 + index, units, shared) for index in range(blocks)
        )
        self.reconstruct = PreActivation(conv3x3(channels, 1))
        self.weights = nn.Parameter(torch.full((blocks,), 1 / blocks)) if ensemble else None

    def enhance(self, luma: Tensor) -> Tensor:
        image = enlarge(luma, self.scale)
        memories = [self.extract(image)]
        for block in self.blocks:
            memories.append(block(memories))
        if self.weights is None:
            return self.reconstruct(memories[-1]) + image
        total = torch.zeros_like(image)
        for weight, memory in zip(self.weights, memories[1:], strict=True):
            total = total + weight * (self.reconstruct(memory) + image)
        return total


def memnet(
    scale: int = 4,
    channels: int = 64,
    blocks: int = 6,
    units: int = 6,
    shared: bool = True,
    ensemble: bool = True,
) -> MemNet:
    """MemNet (678K in its convolutions)."""
    return MemNet(scale, channels, blocks, units, shared, ensemble)
