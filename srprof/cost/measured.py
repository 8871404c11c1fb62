"""Times of single operations that were measured on a device, and how a node is looked up in them.

What decides the kernel names a group of rows: operation, mode of arithmetic and layout. In it a row
has a place, by channels on both sides and their alignment, kernel size, pixels or bytes. The
physical model says how much longer a node takes than a row; the table says how far off the model
is there. So a node's time is the model's, times the ratio of measured to modelled at its place.
That is interpolated from the nearest rows (simple kriging: Matheron, "Principles of geostatistics",
Economic Geology 1963), is exact at a row, and far from all falls back to the median of the group,
or to the model where the group is small.

Few convolutions are measured in channels-last maps. Those of plain maps tell of them too, without
the copies around the kernel: as *hints* they stand a little apart from the rows, by as much as they
are off where both were measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import exp, hypot, log, log2, sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt

from srprof.cost.classes import NodeCost
from srprof.cost.profiles import TENSOR_MODES
from srprof.inputs import ITEMSIZE
from srprof.ops import CONVOLUTIONS, FEWEST_AT_ONCE, FEWEST_IN_TENSOR_CORES, VECTOR

Vector = npt.NDArray[np.float64]
Group = tuple[str, ...]
Place = tuple[float, ...]

#: Families of which any operation's rows tell something of another.
_ALIKE = frozenset({"elementwise", "reduction", "movement"})
#: Rows that a node's ratio is taken from, at most.
_NEAREST = 20
#: How far a place may be from every row so that its time still counts as measured.
NEAR = 0.5
#: Standard deviations of a normal distribution within which 90 % lie.
NINETY = 1.645
#: No doubts.
_NONE: Mapping[str, float] = {}
#: Relative standard deviation of a kernel's time about that of the same one at another moment.
REPEATED = 0.03
#: Distance of an octave of what a time follows, and of two alignments, unless said below.
_OCTAVE, _ALIGNMENT = 1 / 3, 0.35
#: Of convolutions, the distance of an octave of each figure that the time follows, and of each yes
#: from no that chooses the kernel. Found by leaving each width and each size out of an H200's rows.
_DENSE = {
    "inner": 0.17,
    "outer": 0.08,
    "tiles of 32": 0.25,
    "tiles of 64": 0.125,
    "taps": 0.34,
    "stride": 1.3,
    "dilation": 0.04,
    "groups": 0.33,
    "pixels": 0.17,
    "filled, not aligned": 0.7,
    "odd inner": 0.05,
    "part of a vector, outer": 0.05,
    "narrow": 0.5,
}
#: Maps with channels innermost are filled up by kernels of their own, some not below whole fours.
_INNERMOST = _DENSE | {
    "part of a vector": 0.35,
    "part of a vector, outer": 0.35,
    "no fours": 0.35,
    "no fours, outer": 0.35,
}
#: Outside tensor cores, where nothing was found: a quarter of a width is itself.
_OUTSIDE = {
    "inner": 0.083,
    "outer": 0.083,
    "filled": 0.25,
    "filled, outer": 0.25,
    "taps": 0.67,
    "stride": 0.67,
    "dilation": 0.67,
    "groups": 0.33,
    "pixels": 0.33,
    "filled, not aligned": 0.35,
    "filled, not aligned, outer": 0.35,
    "part of a vector": 0.35,
    "part of a vector, outer": 0.35,
}
_TILED = frozenset({"conv", "grouped"})
_OF_FAMILY: Mapping[str, Mapping[str, float]] = {
    "conv": _DENSE,
    "grouped": _DENSE,
    "conv1x1": {
        "inner": 0.05,
        "outer": 0.35,
        "tiles of 64": 0.25,
        "stride": 0.67,
        "pixels": 0.2,
        "bytes": 0.2,
        "not aligned": 0.35,
        "part of a vector": 0.7,
        "odd row": 2.0,
    },
    "depthwise": {
        "inner": 0.17,
        "taps": 1.33,
        "stride": 0.67,
        "dilation": 0.67,
        "pixels": 0.08,
        "not aligned": 0.18,
        "in the cache": 0.4,
    },
}
#: A multiple of bytes of a pixel's channels that cuDNN's fastest kernels take, and of a word.
_WHOLE, _WORD = 32, 8
#: Rows that tell as much of what is far from them as the model does.
_FEW = 20
#: Rows of a group that are left out in turn to see how far intervals hold.
_TRIED = 150
#: Pairs of a row and a hint of the same place that tell how far apart they stand, or else how far.
_PAIRS, _APART = 8, 0.35
#: The least that is left of a correlation.
_LEAST = 0.1
#: Variance of a row about what its neighbours say of it, of the variance between far rows.
_NUGGET = 2e-4


@dataclass(frozen=True, slots=True)
class Row:
    """A measured operation.

    Attributes:
        cost: what it asks of the device, without a bias. mode: of arithmetic that was allowed.
        kernels: that it launched. seconds: that they took together.
        uncopied: of those of a convolution of plain maps in tensor cores, what one of channels-last
            maps needs too; 0 if that is not known.
    """

    cost: NodeCost
    mode: str
    kernels: int
    seconds: float
    uncopied: float = 0.0


@dataclass(frozen=True, slots=True)
class Match:
    """What a table says of a node.

    Attributes:
        ratio: of its time to what the physical model says. kernels: that it launches.
        distance: of its place to the nearest row; 0 at a row.
        spread: relative standard deviation of its time about what the rows say.
        place: that nodes with the same rows share, so that they are off together.
    """

    ratio: float
    kernels: int
    distance: float
    spread: float
    place: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class _Hint:
    """What a row of plain maps says of channels-last ones: the ratio of their time to the model."""

    cost: NodeCost
    kernels: int
    ratio: float


class _Group:
    """A group's rows, then its hints, as arrays.

    Places (n, k), the last coordinate of which tells hints from rows, and log ratios (n,). `place`
    says where a node stands, in units of distance.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        model: Callable[[NodeCost, str], float],
        place: Callable[[NodeCost], Place],
        hints: Sequence[_Hint] = (),
    ) -> None:
        self.rows = len(rows)
        self.place = place
        self.costs = [*(row.cost for row in rows), *(hint.cost for hint in hints)]
        self.kernels = [*(row.kernels for row in rows), *(hint.kernels for hint in hints)]
        measured = [row.seconds / model(row.cost, row.mode) for row in rows]
        self.ratios = np.log([*measured, *(hint.ratio for hint in hints)])
        # what is far from every row is as the model says, as far as the rows are few
        whole = len(self.ratios)
        self.far = float(np.median(self.ratios)) * whole / (whole + _FEW)
        self.spread = float(np.sqrt(np.mean((self.ratios - self.far) ** 2)))
        places = [*map(place, self.costs)]
        apart = np.zeros((whole, 1))
        apart[self.rows :] = self._apart(places)
        self.places = np.hstack([np.array(places), apart])

    def _apart(self, places: Sequence[Place]) -> float:
        """The distance of hints from rows: that at which rows differ as much from each other."""
        hinted = dict(zip(places[self.rows :], self.ratios[self.rows :], strict=True))
        pairs = zip(places[: self.rows], self.ratios, strict=False)
        off = [ratio - hinted[place] for place, ratio in pairs if place in hinted]
        if len(off) < _PAIRS or not self.spread:
            return _APART
        correlated = 1.0 - float(np.mean(np.square(off))) / (2 * self.spread**2)
        return -log(max(correlated, _LEAST))

    def match(self, place: Place, left_out: Vector | None = None) -> Match:
        """What the rows say of a place; without those where `left_out` (n,) is true."""
        far = np.abs(self.places - (*place, 0.0)).sum(-1)
        if left_out is not None:
            far = np.where(left_out, np.inf, far)
        nearest = np.argsort(far, kind="stable")[:_NEAREST]
        nearest = nearest[np.isfinite(far[nearest])]
        first = int(nearest[0])
        # a hint's kernels are those of plain maps
        kernels = self.kernels[next((int(n) for n in nearest if n < self.rows), first)]
        if far[first] == 0:
            return Match(exp(self.ratios[first]), kernels, 0.0, REPEATED)
        places = self.places[nearest]
        between = np.abs(places[:, None] - places[None]).sum(-1)
        covariance = np.exp(-between) + _NUGGET * np.eye(len(nearest))
        near = np.exp(-far[nearest])
        weights = np.linalg.solve(covariance, near)
        unknown = max(0.0, 1.0 - float(weights @ near))
        spread = hypot(REPEATED, self.spread * sqrt(unknown))
        ratio = self.far + float(weights @ (self.ratios[nearest] - self.far))
        return Match(exp(ratio), kernels, float(far[first]), spread)


class Table:
    """A device's measured operations, and its physical model: seconds of a cost in a mode.

    `cache` are the bytes of its last-level cache; `doubts`, by group, how much more its rows are
    off what their neighbours say than these do (see `doubts`).
    """

    def __init__(
        self,
        rows: Iterable[Row],
        model: Callable[[NodeCost, str], float],
        cache: float = 0.0,
        doubts: Mapping[str, float] = _NONE,
    ) -> None:
        self.rows = tuple(rows)
        self.model = model
        self.cache = cache
        self.doubts = doubts
        self._made: dict[Group, _Group] = {}
        self._found: dict[tuple[object, ...], Match] = {}

    def match(self, cost: NodeCost, mode: str) -> Match | None:
        """What the rows say of a node that may compute in this mode; None if there are none."""
        for name, as_there in _groups(cost, mode):
            if name in self._by_group or name in self._hints:
                group = self.group(name)
                place = group.place(as_there)
                key = name, place
                if key not in self._found:
                    found = group.match(place)
                    doubt = self.doubts.get(name_of(name), 1.0) if found.distance else 1.0
                    self._found[key] = replace(found, place=key, spread=doubt * found.spread)
                return self._found[key]
        return None

    def group(self, name: Group) -> _Group:
        """The rows of a group, as arrays."""
        if name not in self._made:
            rows, of_hints = self._by_group.get(name, ()), self._hints.get(name, ())
            mode = next(row.mode for row in (*rows, *of_hints))
            place = partial(_place_of, mode=mode, cache=self.cache)
            hints = [self._hint(row) for row in of_hints]
            self._made[name] = _Group(rows, self.model, place, hints)
        return self._made[name]

    def _hint(self, row: Row) -> _Hint:
        """What a row of plain maps says of channels-last ones; 1x1 convolutions copy neither."""
        cost = replace(row.cost, channels_last=True)
        if cost.family == "conv1x1":
            ratio = row.seconds / self.model(row.cost, row.mode)
        else:
            ratio = row.uncopied / self.model(cost, row.mode)
        return _Hint(cost, row.kernels, ratio)

    @cached_property
    def _hints(self) -> Mapping[Group, list[Row]]:
        """By the group of channels-last maps, the rows of plain ones that tell of it."""
        hints: dict[Group, list[Row]] = {}
        for row in self.rows:
            cost = row.cost
            copies_none = cost.family == "conv1x1" and row.mode in TENSOR_MODES
            if not cost.channels_last and (row.uncopied or copies_none):
                name = group_of(replace(cost, channels_last=True), row.mode)
                hints.setdefault(name, []).append(row)
        return hints

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups' names, without those of families."""
        return tuple({group_of(row.cost, row.mode): None for row in self.rows})

    def rows_of(self, name: Group) -> Sequence[Row]:
        """The rows of a group."""
        return self._by_group[name]

    @cached_property
    def _by_group(self) -> Mapping[Group, list[Row]]:
        by_group: dict[Group, list[Row]] = {}
        for row in self.rows:
            by_group.setdefault(group_of(row.cost, row.mode), []).append(row)
            if row.cost.family in _ALIKE and row.cost.op != "bias":
                by_group.setdefault((row.cost.family, row.mode), []).append(row)
        return by_group


def name_of(group: Group) -> str:
    """A group in words."""
    return " ".join(filter(None, group))


def group_of(cost: NodeCost, mode: str) -> Group:
    """What decides the kernel: operation, mode, and a convolution's layout."""
    if cost.family in CONVOLUTIONS:
        kind = "transposed" if cost.transposed else cost.family
        return kind, cost.variant, mode, "channels last" if cost.channels_last else ""
    if cost.family == "matmul" and "attention" not in cost.op:
        return "product", mode
    return cost.op.removesuffix("_"), cost.variant, mode


def _groups(cost: NodeCost, mode: str) -> Iterator[tuple[Group, NodeCost]]:
    """The groups that a node may be looked up in, and as what, the likest first."""
    for one in {"bfloat16": ("bfloat16", "float16")}.get(mode, (mode,)):
        own = group_of(cost, one)
        yield own, cost
        if cost.channels_last:
            yield (*own[:-1], ""), replace(cost, channels_last=False)
        if cost.family in _ALIKE:
            yield (cost.family, one), cost


def _place_of(cost: NodeCost, mode: str, cache: float) -> Place:
    """Octaves of what a node's time follows, and its alignments, in units of distance."""
    size = ITEMSIZE.get(cost.dtype, 4)
    if cost.family in CONVOLUTIONS:
        told = _of_convolution(cost, size, cache)
        weights = _OF_FAMILY[cost.family]
        if cost.family in _TILED and mode not in TENSOR_MODES:
            weights = _OUTSIDE
        elif cost.family in _TILED and cost.channels_last:
            weights = _INNERMOST
        return tuple(weight * told[name] for name, weight in weights.items())
    if cost.product is not None:
        octaves = [_OCTAVE * log2(max(n, 1)) for n in cost.product]
        ends = cost.product.columns * size, cost.product.depth * size
        return (*octaves, *(mark for end in ends for mark in _alignment(end)))
    read, written = max(cost.read, 1), max(cost.written, 1)
    gathered = 0.5 * log2(max(cost.gathered, 1) / written)
    single = 4.0 * cost.single + 8.0 * (cost.strided > 0)
    ratio = 4 * log2(read / written)
    octaves = [log2(read + written), ratio, single, log2(max(cost.row, 1)), gathered]
    return tuple(_OCTAVE * n for n in octaves)


def _of_convolution(cost: NodeCost, size: int, cache: float) -> Mapping[str, float]:
    """What a convolution's time follows, in octaves, and whether what chooses its kernel is so."""
    inner, outer = cost.channels
    if cost.family == "grouped":  # which kernel there is for a group, depends on its channels
        inner, outer = inner // cost.groups, outer // cost.groups
    # cuDNN fills channels up to whole vectors
    filled = [-(-n * size // VECTOR) * VECTOR for n in (inner, outer)]
    moved = cost.read + cost.written
    return {
        "inner": log2(inner),
        "outer": log2(outer),
        "tiles of 32": log2(-(-outer // 32)),
        "tiles of 64": log2(-(-outer // 64)),
        "taps": log2(cost.taps),
        "stride": log2(cost.stride),
        "dilation": log2(cost.dilation),
        "groups": log2(cost.groups),
        "pixels": log2(cost.pixels),
        "bytes": log2(moved),
        "filled": log2(filled[0]),
        "filled, outer": log2(filled[1]),
        "filled, not aligned": filled[0] % _WHOLE > 0,
        "filled, not aligned, outer": filled[1] % _WHOLE > 0,
        "not aligned": inner * size % _WHOLE > 0,
        "part of a vector": inner * size % VECTOR > 0,
        "part of a vector, outer": outer * size % VECTOR > 0,
        "no fours": inner % FEWEST_AT_ONCE > 0,
        "no fours, outer": outer % FEWEST_AT_ONCE > 0,
        "odd inner": inner * size % _WORD > 0,
        "narrow": inner < FEWEST_IN_TENSOR_CORES,
        "odd row": not cost.channels_last and cost.pixels * size % VECTOR > 0,
        "in the cache": moved <= cache,
    }


def _alignment(nbytes: int) -> Place:
    """A coordinate for 32 bytes, 16 and 8, so that any two alignments are as far apart."""
    aligned = next((place for place, step in enumerate((32, 16, 8)) if nbytes % step == 0), 3)
    return tuple(0.5 * _ALIGNMENT * (aligned == place) for place in range(4))


# -- how far off a table is ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Rows of one class that were predicted from the others.

    Attributes:
        name: of the class. rows: of it. median, ninth_decile: of |predicted / measured - 1|.
    """

    name: str
    rows: int
    median: float
    ninth_decile: float


def held_out(table: Table, by: Literal["width", "size"]) -> tuple[HeldOut, ...]:
    """Errors by class, the last of all rows: of each width or size as if nobody had measured it.

    A width is left out with every row that has it on either side.
    """
    errors: dict[str, list[float]] = {}
    for name in table.groups:
        group = table.group(name)
        marks = np.array([_marks(cost, by) for cost in group.costs])
        found = errors.setdefault(name_of(name), [])
        for mark in np.unique(marks[: group.rows]):
            out = (marks == mark).any(1)
            for index in np.flatnonzero(out[: group.rows]) if not out.all() else ():
                match = group.match(group.place(group.costs[index]), out)
                found.append(abs(match.ratio / exp(group.ratios[index]) - 1))
    errors["all"] = [error for of_class in errors.values() for error in of_class]
    return tuple(
        HeldOut(name, len(found), float(np.median(found)), float(np.quantile(found, 0.9)))
        for name, found in errors.items()
        if found
    )


def doubts(table: Table) -> dict[str, float]:
    """By group, what makes nine of ten intervals hold a row that is left out: a factor of spreads.

    (Split conformal prediction: Papadopoulos et al., "Inductive confidence machines for
    regression", ECML 2002, by class and of a normal distribution.) Of groups of some rows alone.
    """
    found = {}
    for name in table.groups:
        group = table.group(name)
        off = []
        for index in range(0, group.rows, max(1, group.rows // _TRIED)):
            match = group.match(
                group.place(group.costs[index]), np.arange(len(group.costs)) == index
            )
            if match.distance:
                off.append(abs(log(match.ratio) - group.ratios[index]) / match.spread)
        if len(off) >= _FEW:
            found[name_of(name)] = round(float(np.quantile(off, 0.9)) / NINETY, 2)
    return found


def _marks(cost: NodeCost, by: str) -> tuple[int, ...]:
    """What is left out with a row: its widths, or its size."""
    if cost.family in CONVOLUTIONS:
        return cost.channels if by == "width" else (cost.pixels,)
    return (cost.written,)
