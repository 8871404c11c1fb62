"""What an estimate is, as frozen data. Sizes in bytes, times in milliseconds. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import srprof_estimate
from srprof._version import __version__
from srprof.codec import Key, encode, pick
from srprof.shown import Shown
from srprof.tiling.sizes import SizeRule

Kind = Literal["planned", "eager", "allocated", "reserved"]


@dataclass(frozen=True, slots=True)
class SizedCall:
    """One call of the network and the memory that it takes.

    Attributes:
        shape: (n, c, h, w) of the image. result: shape of what the network gives, () if that is
            no single tensor.
        peaks: bytes by name.
        predicted_ms: latency by the profile; None if it was not asked for.
    """

    shape: tuple[int, ...]
    result: tuple[int, ...]
    peaks: Annotated[Mapping[str, int], Key("peak")]
    predicted_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """A peak by the functions beside that of every trace.

    Attributes:
        sizes: how many traces. equal: how many to the byte.
        least, most: the largest relative error downwards and upwards.
    """

    sizes: int
    equal: int
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Variant:
    """What holds for some batches of a dtype: storages that come and go, sizes as terms.

    Attributes:
        batch: the smallest and the largest; null is no limit.
        granularity: bytes to whose multiple `planned` and `eager` round each storage.
        net: parameters and buffers, rounded so.
        sizes: terms that are bytes of storages; what follows has them by their place here.
        start: allocated and reserved when the network is loaded, and the free blocks then: bytes,
            and whether they are for small requests.
        planned, eager: sums of which the largest is the peak without `net`; each is pairs of a
            size and how often it is there.
        program: what is asked of the allocator, in order: a size that comes; -n, the nth last
            that came goes; null, the cache is given back. What repeats itself is folded.
    """

    batch: Sequence[int | None]
    granularity: int
    net: int
    sizes: Sequence[int]
    start: Sequence[Any]
    planned: Sequence[Sequence[int]]
    eager: Sequence[Sequence[int]]
    program: Sequence[int | None]


@dataclass(frozen=True, slots=True)
class Times:
    """Predicted times of a call.

    Attributes:
        profile: of the device, by its title.
        ms: by dtype, pairs of pixels of all images and milliseconds, ascending; in a line between.
        error: the largest relative error at the other sizes that were traced.
    """

    profile: str
    ms: Mapping[str, Sequence[Sequence[float]]]
    error: float


@dataclass(frozen=True, slots=True)
class RunAs:
    """The program that runs the network.

    Attributes:
        name: as `--as` has it. form: what it does around the call. sources: where that is read.
    """

    name: str
    form: Mapping[str, bool]
    sources: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Estimate(Shown):
    """A network's peaks as functions of height, width, batch and dtype.

    Attributes:
        spec, name, scale: of the network. channels: of its image.
        torch: the version that traced it.
        exact: whether every trace is of one graph and has its `planned` and `eager` to the byte.
        sides: `least` and `step` of those that it holds for (no step: one only); `taken_from`: the
            smallest that the network takes, null where not every such side is taken.
        terms: whole-number functions by index, after batch (0), height (1) and width (2):
            `["*", c, i, j]` is c times terms i and j, `["+", c, i, j]` the sum, `["/", c, i, d]`
            the whole part of (c + term i) / d, `["?", c, i, j, k]` term j if term i is below c,
            else term k.
        result: terms of channels, height and width of what the network gives; null if that is no
            image.
        dtypes: by name, the place in `graphs`, or why there is none.
        graphs: lists of variants, one for some batches each.
        time: None without a profile.
        corrections: what is counted beside storages, and where that is from.
        checked: by peak. traces: how many were made.
        run_as: the program that runs the network; None is the call by itself.
        notes: what a reader of the figures must know, one line each.
    """

    view = "estimate"

    spec: str
    name: str
    scale: int | None
    channels: int
    torch: str
    exact: bool
    sides: Mapping[str, int | None]
    terms: Sequence[Sequence[Any]]
    result: Sequence[int] | None
    dtypes: Mapping[str, int | str]
    graphs: Sequence[Sequence[Variant]]
    time: Times | None
    corrections: tuple[str, ...]
    checked: Mapping[Kind, Checked]
    traces: int
    run_as: Annotated[RunAs | None, Key("as")] = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """What the file has: the JSON object of `srprof estimate`."""
        return dict(self._file)

    @cached_property
    def _file(self) -> dict[str, Any]:
        return {
            "schema": srprof_estimate.SCHEMA,
            "version": srprof_estimate.VERSION,
            "srprof": __version__,
            "torch": self.torch,
            "model": pick(self, "spec name scale channels"),
            "as": encode(self.run_as),
            **pick(self, "exact sides terms result dtypes graphs"),
            "time": encode(self.time),
            "corrections": list(self.corrections),
            "checked": encode(self.checked),
            **pick(self, "traces notes"),
        }

    @property
    def rule(self) -> SizeRule:
        """The sides that it holds for."""
        return SizeRule(self.sides["least"] or 0, self.sides["step"])

    def at_least(self, side: int) -> int:
        """The smallest side that is no smaller, of those that it holds for."""
        return self.rule.at_least(side)

    def ms_of(self, dtype: str, side: int) -> float:
        """Milliseconds of one square image."""
        found: float = srprof_estimate.milliseconds(self._file, side, side, 1, dtype)
        return found

    def to_json(self) -> str:
        """The file: a line for each of its parts, as small as that is."""
        parts = (
            f"{json.dumps(key)}:{json.dumps(value, separators=(',', ':'), allow_nan=False)}"
            for key, value in self.to_dict().items()
        )
        return "{" + ",\n".join(parts) + "}\n"

    def peak_bytes(
        self,
        height: int,
        width: int,
        batch: int = 1,
        dtype: str = "float16",
        kind: Kind = "allocated",
    ) -> int:
        """Bytes at a peak; as `srprof_estimate.peak_bytes`.

        Raises:
            ValueError: it does not hold for that size, batch or dtype.
        """
        found: int = srprof_estimate.peak_bytes(self._file, height, width, batch, dtype, kind)
        return found
