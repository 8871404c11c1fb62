"""One image within a budget: whole, or in the tiles that compute the least twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

from torch import nn

from srprof.codec import made_of
from srprof.estimating.probe import Probe
from srprof.estimating.record import SizedCall
from srprof.inputs import ITEMSIZE
from srprof.memory.budget import largest_growing
from srprof.memory.model import rounded
from srprof.sizing.record import Image, Tiling
from srprof.tiling.grid import Tile, grid, least_tile, spans, tile_for
from srprof.tiling.locality import Locality
from srprof.tiling.sizes import SizeRule
from srprof.tiling.tiled import Tiled
from srprof.words import least_size

#: Tiles of one shape that are traced; the others repeat them.
_REPEATED = 3
#: Where no tiling of nearly the largest tiles fits, smaller ones are tried, by this share.
_SMALLER = 0.95


class Cut(NamedTuple):
    """A way to cut an image: a tile's height and width, how many, and pixels read in all."""

    tile: tuple[int, int]
    rows: int
    columns: int
    pixels: int


@dataclass(frozen=True)
class Planner:
    """Finds the tiles of one image for a network whose locality is known.

    Attributes:
        whole: the call with all of the image.
    """

    probe: Probe
    rule: SizeRule
    locality: Locality
    budget: int
    whole: SizedCall

    @property
    def size(self) -> tuple[int, int]:
        """LR height and width of the image."""
        return self.whole.shape[2], self.whole.shape[3]

    def plan(self) -> Image:
        """The image in tiles, or why not."""
        whole, found = self.whole, self.locality
        if not found.local:
            return Image(whole, False, reason=f"it cannot run in tiles: {found.reason}")
        area = self._largest_area()
        while area is not None and area >= self._least**2:
            for cut in self._cuts(area):
                call = self._run(cut)
                if call.peaks[self.probe.peak.name] <= self.budget:
                    return Image(whole, False, self._tiling(cut, call))
            area = int(_SMALLER * area)
        return Image(whole, False, reason=self._too_little())

    @property
    def _least(self) -> int:
        """The smallest side of a tile that keeps something, and whose last the network takes."""
        multiple = self.locality.multiple
        last = self.rule.least + multiple - (self.rule.step or multiple)  # the last reads less
        return max(least_tile(self.locality.halo, multiple), -(-last // multiple) * multiple)

    @property
    def _beside(self) -> int:
        """Bytes of the whole image and result, which are there beside a tile."""
        itemsize = ITEMSIZE[self.probe.workload.image_dtype]
        shapes = (self.whole.shape, self.whole.result)
        return sum(rounded(prod(shape) * itemsize) for shape in shapes)

    def _largest_area(self) -> int | None:
        """Pixels of the largest square tile that may fit; None if none does."""
        least, multiple = self._least, self.locality.multiple

        def needs(index: int) -> float:
            side = least + index * multiple
            return self.probe.requests((*self.whole.shape[:2], side, side))

        def pixels(index: int) -> float:
            return float((least + index * multiple) ** 2)

        end = max(self.size) // multiple + 1
        index = largest_growing(needs, self.budget - self._beside, pixels, end)
        return None if index is None else int(pixels(index + 1)) - 1

    def _cuts(self, area: int) -> list[Cut]:
        """Cuts into tiles of at most so many pixels, those that read the least first.

        For each number of rows the fewest columns, with the smallest tiles for both.
        """
        halo, multiple, least = self.locality.halo, self.locality.multiple, self._least
        height, width = self.size
        cuts = set()
        for count in range(1, height + 1):
            high = max(tile_for(height, count, halo, multiple), least)
            wide = area // min(high, height) // multiple * multiple
            if wide >= least:  # else with more rows they may be wider
                rows = spans(height, high, halo, multiple)
                columns = len(spans(width, wide, halo, multiple))
                wide = max(tile_for(width, columns, halo, multiple), least)
                spanned = spans(width, wide, halo, multiple)
                pixels = sum(s.length for s in rows) * sum(s.length for s in spanned)
                cuts.add(Cut((high, wide), len(rows), len(spanned), pixels))
            if high == least:  # more rows make no tile smaller
                break
        return sorted(cuts, key=lambda cut: (cut.pixels, *cut[1:3]))

    def _run(self, cut: Cut) -> SizedCall:
        """The image's run in these tiles: peaks of the first, latency for all of them."""
        halo, multiple = self.locality.halo, self.locality.multiple
        tiles = grid(*self.size, cut.tile, halo, multiple)
        sample = _sample(tiles)

        def tiled(device: str) -> nn.Module:
            network = _Sampled(self.probe.workload.build(device), cut.tile, halo, multiple)
            network.sample = sample
            return network

        record = self.probe.record(self.whole.shape, tiled)
        if record.predicted_ms is None:
            return record
        return replace(record, predicted_ms=record.predicted_ms * len(tiles) / len(sample))

    def _tiling(self, cut: Cut, call: SizedCall) -> Tiling:
        height, width = self.size
        return made_of(
            Tiling,
            self.locality,
            cut,
            tile=(min(cut.tile[0], height), min(cut.tile[1], width)),
            recomputed=cut.pixels / (height * width) - 1,
            call=call,
        )

    def _too_little(self) -> str:
        shape = (*self.whole.shape[:2], *(min(self._least, side) for side in self.size))
        needed = self._beside + self.probe.needs(shape)
        return (
            f"not even tiles of {shape[2]}x{shape[3]} with a halo of {self.locality.halo} fit: "
            f"they need about {least_size(needed)}, image and result included"
        )


def _sample(tiles: tuple[Tile, ...]) -> tuple[Tile, ...]:
    """The first few tiles of each shape: the rest of them repeats what these do."""
    seen: Counter[tuple[int, int]] = Counter()
    chosen = []
    for tile in tiles:
        seen[tile.shape] += 1
        if seen[tile.shape] <= _REPEATED:
            chosen.append(tile)
    return tuple(chosen)


class _Sampled(Tiled):
    """A tiled network that runs some of its tiles only."""

    sample: tuple[Tile, ...] = ()

    def tiles(self, height: int, width: int) -> tuple[Tile, ...]:
        return self.sample
