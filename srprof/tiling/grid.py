"""How an image is cut into tiles: what each reads, and which part of its result is kept.

All in pixels of the LR image. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from srprof.errors import InputError


@dataclass(frozen=True, slots=True)
class Span:
    """One tile along one axis: it reads [start, stop) and its result is kept on [first, last)."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def length(self) -> int:
        """Pixels read."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Tile:
    """A box of the image that the network is given, and the part of it whose result is kept."""

    rows: Span
    columns: Span

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width that are read, with the halo."""
        return self.rows.length, self.columns.length


def spans(length: int, tile: int, halo: int, multiple: int = 1) -> tuple[Span, ...]:
    """One axis cut into the fewest tiles that read at most `tile` pixels.

    What is kept covers the axis once, in order. A tile reads `halo` pixels beyond what it keeps,
    but none beyond the image: there the network pads as it does for the whole image. Each starts
    at a multiple of `multiple` and reads `tile` pixels; where that would leave the image, a tile
    starts earlier, and only the last, if the length is no multiple, reads fewer.

    Args:
        tile: pixels that a tile reads, with the halo; a multiple of `multiple`.

    Raises:
        InputError: the tile is no more than its two halos.
    """
    if length <= tile:
        return (Span(0, length, 0, length),)
    step = (tile - 2 * halo) // multiple * multiple
    if step < 1 or tile % multiple:
        least = least_tile(halo, multiple)
        raise InputError(
            f"a tile of {tile} pixels is too small or does not start where the network can: the "
            f"halo is {halo} on each side; give at least {least}, in multiples of {multiple}"
        )
    end = -(-(length - tile) // multiple) * multiple
    starts = [*range(0, end, step), end]
    cuts = [0, *(start + tile - halo for start in starts[:-1]), length]
    return tuple(
        Span(start, min(start + tile, length), first, last)
        for start, first, last in zip(starts, cuts, cuts[1:], strict=False)
    )


def least_tile(halo: int, multiple: int = 1) -> int:
    """The fewest pixels that a tile must read so that something of its result is kept."""
    return (-(-2 * halo // multiple) + 1) * multiple


def tile_for(length: int, count: int, halo: int, multiple: int = 1) -> int:
    """The fewest pixels that a tile must read for `count` of them to cover the axis."""
    if count == 1:
        return -(-length // multiple) * multiple
    # count tiles with their halos cover count * tile - (count - 1) * 2 * halo pixels at most
    least = -(-(length + (count - 1) * 2 * halo) // count)
    tile = max(-(-least // multiple) * multiple, least_tile(halo, multiple))
    while len(spans(length, tile, halo, multiple)) > count:  # halos are rounded up to multiples
        tile += multiple
    return tile


def grid(
    height: int, width: int, tile: tuple[int, int], halo: int, multiple: int = 1
) -> tuple[Tile, ...]:
    """The tiles of an image, row by row; what they keep covers it exactly once.

    Args:
        tile: height and width that a tile reads, halo included; it is cut to the image.
        halo, multiple: as `spans`.

    Raises:
        InputError: a side is not positive, or the tile is no more than its two halos.
    """
    if min(height, width, *tile, multiple) < 1 or halo < 0:
        raise InputError(
            f"image {height}x{width}, tile {tile[0]}x{tile[1]}, halo {halo}, multiple {multiple}: "
            "give whole numbers of at least 1, and a halo of at least 0"
        )
    return tuple(
        Tile(rows, columns)
        for rows in spans(height, tile[0], halo, multiple)
        for columns in spans(width, tile[1], halo, multiple)
    )
