"""A network that runs tile by tile: less memory, the same result where the network is local."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import astuple
from typing import Any

import torch
from torch import Tensor, nn

from srprof.errors import InputError
from srprof.tiling.grid import Span, Tile, grid
from srprof.words import shape_text

#: Called with the number of tiles that are done and the number of all.
TileProgress = Callable[[int, int], None]


class Tiled(nn.Module):
    """A network of one image to one image, run on tiles whose results are put together.

    Shapes: (N, C, H, W) to (N, C', sH, sW), where s, a whole number, is found from the first
    tile. Each tile is a copy, so a network may change its input in place; beside the image and the
    result only one tile's tensors are alive. The state dict is the network's, with its keys.

    Args:
        module: the network.
        tile: LR height and width that it is given at a time, halo included; one number is both.
        halo: LR pixels around what is kept of a tile; None finds and proves the network's own. One
            that is given is taken as it is: of a network that is not local it approximates.
        multiple: tiles start at multiples of it; None is what was found with the halo, else 1.
        progress: called after each tile; it is left out when the module is pickled.

    Raises:
        InputError: the network is not local (and why), or the tile is smaller than its halo.
    """

    def __init__(
        self,
        module: nn.Module,
        tile: int | tuple[int, int],
        halo: int | None = None,
        multiple: int | None = None,
        progress: TileProgress | None = None,
    ) -> None:
        super().__init__()
        if halo is None:
            from srprof.tiling.locality import locality

            known = locality(module, multiple=multiple)
            if not known.local:
                raise InputError(
                    f"{type(module).__name__} cannot run in tiles with the same result: "
                    f"{known.reason}; give a halo to run it in tiles nevertheless"
                )
            halo, multiple = known.halo, known.multiple
        self.module = module
        self.tile = (tile, tile) if isinstance(tile, int) else tile
        self.halo = halo
        self.multiple = multiple or 1
        self.progress = progress
        self.train(module.training)
        larger = 2 * max(self.tile) + self.multiple
        grid(larger, larger, self.tile, halo, self.multiple)  # refuses what cannot be cut

    def tiles(self, height: int, width: int) -> tuple[Tile, ...]:
        """The tiles of an image of this LR height and width."""
        return grid(height, width, self.tile, self.halo, self.multiple)

    def forward(self, image: Tensor) -> Tensor:
        if image.dim() != 4:
            raise InputError(
                f"a tiled network takes one image NxCxHxW, not a tensor of {image.dim()} dimensions"
            )
        tiles = self.tiles(image.shape[-2], image.shape[-1])
        if len(tiles) == 1:
            result: Tensor = self.module(image)
            self._tell(1, 1)
            return result
        whole = image  # until the first tile says what the result is like
        for done, tile in enumerate(tiles, 1):
            part = self.module(_cut(image, tile))
            scale = _scale(part, tile)
            if done == 1:
                size = (*part.shape[:2], *(scale * side for side in image.shape[-2:]))
                whole = torch.empty(
                    size, dtype=part.dtype, device=part.device, memory_format=_memory_format(part)
                )
            _paste(whole, part, tile, scale)
            del part
            self._tell(done, len(tiles))
        return whole

    def _tell(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(done, total)

    def extra_repr(self) -> str:
        height, width = self.tile
        return f"tile={height}x{width}, halo={self.halo}, multiple={self.multiple}"

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.module.state_dict(*args, **kwargs)

    def load_state_dict(
        self, state_dict: Mapping[str, object], strict: bool = True, assign: bool = False
    ) -> Any:
        return self.module.load_state_dict(state_dict, strict=strict, assign=assign)

    def _load_from_state_dict(
        self, state_dict: dict[str, object], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """As a part of a larger module: hand the network's keys on to it."""
        for key in [key for key in state_dict if key.startswith(prefix)]:
            state_dict[f"{prefix}module.{key[len(prefix) :]}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def __getstate__(self) -> dict[str, object]:
        """What is pickled: all but the progress callback, which may hold a terminal."""
        return {**super().__getstate__(), "progress": None}  # type: ignore[no-untyped-call]  # torch does not type it


def _cut(image: Tensor, tile: Tile) -> Tensor:
    """A copy of the tile's box, in the image's memory format."""
    rows, columns = tile.rows, tile.columns
    box = image[..., rows.start : rows.stop, columns.start : columns.stop]
    return box.clone(memory_format=_memory_format(image))


def _memory_format(image: Tensor) -> torch.memory_format:
    channels_last = image.is_contiguous(memory_format=torch.channels_last)
    if channels_last and not image.is_contiguous():
        return torch.channels_last
    return torch.contiguous_format


def _scale(part: Tensor, tile: Tile) -> int:
    """How many times as large as the tile its result is.

    Raises:
        InputError: the network gives no image, or not a whole multiple of its input.
    """
    height, width = tile.shape
    shape = tuple(part.shape) if isinstance(part, Tensor) else ()
    scale = shape[2] // height if len(shape) == 4 else 0
    if scale >= 1 and shape[2:] == (scale * height, scale * width):
        return scale
    what = shape_text(shape) if shape else type(part).__name__
    raise InputError(
        f"the network gives {what} for a tile of {height}x{width}; in tiles runs only what gives "
        "one image, a whole number of times as high and wide as its input"
    )


def _paste(whole: Tensor, part: Tensor, tile: Tile, scale: int) -> None:
    """Write what is kept of a tile's result into its place."""
    spans = (tile.rows, tile.columns)
    rows, columns = (Span(*(scale * side for side in astuple(span))) for span in spans)
    whole[..., rows.first : rows.last, columns.first : columns.last] = part[
        ...,
        rows.first - rows.start : rows.last - rows.start,
        columns.first - columns.start : columns.last - columns.start,
    ]
