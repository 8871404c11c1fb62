"""The network under test: a copy of its own, and the images that it takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from srprof.analysis import trace
from srprof.blame import first_line
from srprof.errors import InputError, user_raised
from srprof.networks import named_modules, parameters
from srprof.placing import copy_model
from srprof.records import Trace
from srprof.tiling.sizes import SizeRule, size_rule


@dataclass(frozen=True)
class Subject:
    """The network under test: a copy on the CPU in float32, and the sizes that it takes."""

    model: nn.Module
    channels: int
    rule: SizeRule

    def image(self, height: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """The same random image each time, by size."""
        generator = torch.Generator().manual_seed(0)
        shape = (1, self.channels, height, width)
        return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)

    def trace(self, side: int) -> Trace:
        """The record of a run on a square image."""
        return trace(self.model, (1, self.channels, side, side))


def find_subject(model: nn.Module, channels: int | None) -> Subject:
    """The network with what it takes, found on the meta device where that can run it."""
    first = next((m.in_channels for _, m in named_modules(model) if isinstance(m, nn.Conv2d)), 3)
    tried = [channels] if channels is not None else list(dict.fromkeys((3, 1, first)))
    error: BaseException | None = None
    for run in (copy_model(model, "meta"), model):
        for count in tried:
            takes = _Takes(run, count)
            rule = size_rule(takes)
            if rule is not None:
                return Subject(model, count, rule)
            error = error or takes.error
    raise InputError(
        f"{type(model).__name__} takes no image of {' or '.join(map(str, tried))} channels "
        f"({first_line(error) if error else 'it gives none'}), so where its result depends on "
        "what cannot be found out; give a halo"
    )


@dataclass
class _Takes:
    """Whether a network takes a square image, and gives one that is larger by whole numbers."""

    model: nn.Module
    channels: int
    error: BaseException | None = None

    def __call__(self, side: int) -> bool:
        device = next((p.device.type for p in parameters(self.model)), "cpu")
        try:
            result = self.model(torch.zeros(1, self.channels, side, side, device=device))
        except user_raised() as error:
            self.error = self.error or error
            return False
        if not isinstance(result, Tensor) or result.dim() != 4:
            return False
        height, width = result.shape[-2:]
        return height == width and height >= side and height % side == 0
