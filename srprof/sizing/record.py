"""What `srprof fit` found, as frozen data. Sizes in bytes, times in milliseconds. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from srprof._version import __version__
from srprof.codec import encode, pick
from srprof.estimating.record import SizedCall
from srprof.shown import Shown
from srprof.tiling.sizes import SizeRule

#: Version of the JSON object.
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a network runs over an image in tiles.

    Attributes:
        tile: LR height and width that a tile reads, halo included.
        halo: LR pixels around what is kept; multiple: tiles start at multiples of it.
        rows, columns: of tiles.
        recomputed: pixels that are read more than once, as a share of the image's.
        difference: the largest between tiles and whole in the proof, as a share of the result's
            largest value; bit_equal: none at all.
        call: the whole image's run in tiles.
    """

    tile: tuple[int, int]
    halo: int
    multiple: int
    rows: int
    columns: int
    recomputed: float
    difference: float
    bit_equal: bool
    call: SizedCall

    @property
    def count(self) -> int:
        """Number of tiles."""
        return self.rows * self.columns

    def to_dict(self) -> dict[str, object]:
        call = encode(self.call)
        return {
            **pick(self, "tile halo multiple rows columns"),
            "tiles": self.count,
            "recomputed": self.recomputed,
            "max_relative_difference": self.difference,
            "bit_equal": self.bit_equal,
            "peak": call["peak"],
            "predicted_ms": call["predicted_ms"],
        }


@dataclass(frozen=True, slots=True)
class Image:
    """One image, whole and in tiles.

    Attributes:
        whole: the call with the whole image; whole_fits: whether it is within the budget.
        tiled: None if that is not needed, or not possible: `reason` says why, in one line.
    """

    whole: SizedCall
    whole_fits: bool
    tiled: Tiling | None = None
    reason: str = ""

    @property
    def fits(self) -> bool:
        """Whether it can be run within the budget, whole or in tiles."""
        return self.whole_fits or self.tiled is not None

    def to_dict(self) -> dict[str, object]:
        return {
            "whole": {**encode(self.whole), "fits": self.whole_fits},
            "tiled": None if self.tiled is None else self.tiled.to_dict(),
            "reason": self.reason or None,
        }


@dataclass(frozen=True, repr=False)
class Fit(Shown):
    """The largest input, or batch, within a budget.

    Attributes:
        spec, name, scale, dtype: of the network.
        memory: which of the four peaks is held against the budget, in bytes.
        grows: "size", "batch" or "frames".
        largest: the largest call that fits; following: the next larger one, which does not (None
            if there is none: a fixed input size, or a batch that the network does not take).
        rule: the sides that the network takes; None where the batch grows.
        aspect: width : height.
        image: an image that was asked about, whole and in tiles.
        profile: title of that of the predicted times, "" if there is none.
        traces: how many calls were traced for it.
        notes: what a reader of the figures must know, one line each.
    """

    view = "sizing"

    spec: str
    name: str
    scale: int | None
    dtype: str
    budget: int
    memory: str
    grows: str
    largest: SizedCall
    following: SizedCall | None
    rule: SizeRule | None
    aspect: tuple[int, int]
    image: Image | None = None
    profile: str = ""
    traces: int = 0
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (n, c, h, w) of the largest input."""
        return self.largest.shape

    def to_dict(self) -> dict[str, object]:
        """The JSON object of `srprof fit --format json`."""
        return {
            "schema": SCHEMA,
            "srprof": __version__,
            "model": pick(self, "spec name scale"),
            **pick(self, "dtype budget memory grows aspect"),
            "sides": None if self.rule is None else pick(self.rule, "least step"),
            "largest": encode(self.largest),
            "next": encode(self.following),
            "image": None if self.image is None else self.image.to_dict(),
            "device": self.profile or None,
            **pick(self, "traces notes"),
        }
