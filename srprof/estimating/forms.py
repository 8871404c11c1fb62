"""Whole-number functions of height and width, found from their values at a few sizes.

A side of a feature map is a * floor((x + s) / p) + b of one side x of the image: what strides,
paddings to a multiple, windows and upscaling make of it. A size is a product of such sides, or
such a function of a product, as where all pixels are cut into groups. What fits all values in the
fewest words is taken, and what else fits them says which size to look at next. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, product
from math import gcd
from typing import Any, NamedTuple

import numpy as np

#: Indices of the terms that are given.
BATCH, HEIGHT, WIDTH = 0, 1, 2

#: Multiples that a network's windows and strides may have.
_PERIODS = (*range(1, 65), *range(72, 257, 8))
#: And those of groups of pixels.
_GROUPS = (*range(2, 9), *(2**i for i in range(4, 13)))

Values = tuple[int, ...]


@dataclass
class Terms:
    """Expressions by index, each of those before it; as `srprof_estimate._values` computes them."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    _known: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def add(self, op: str, constant: int, *parts: int) -> int:
        """Index of a term, which is added if it is new."""
        if op == "?" and parts[1] == parts[2]:
            return parts[1]
        if (op, constant) in (("*", 1), ("+", 0)) and len(parts) == 1:
            return parts[0]
        key = (op, constant, *(sorted(parts) if op in "*+" else parts))
        if key not in self._known:
            self._known[key] = len(self.rows) + 3
            self.rows.append(key)
        return self._known[key]

    def values(self, sizes: Sequence[tuple[int, int, int]]) -> list[np.ndarray]:
        """Each term at sizes (batch, height, width)."""
        columns = np.array(sizes, dtype=object).T
        found = list(columns)
        for op, constant, *parts in self.rows:
            if op == "/":
                found.append((constant + found[parts[0]]) // parts[1])
            elif op == "*":
                value = constant * np.ones(len(sizes), dtype=object)
                for part in parts:
                    value = value * found[part]
                found.append(value)
            elif op == "?":
                below = (found[parts[0]] < constant).astype(bool)
                found.append(np.where(below, found[parts[1]], found[parts[2]]))
            else:
                found.append(constant + sum(found[part] for part in parts))
        return found


class Floor(NamedTuple):
    """slope * floor((x + shift) / period) + base."""

    slope: int
    shift: int
    period: int
    base: int

    def at(self, x: Any) -> Any:
        """Its value."""
        return self.slope * ((x + self.shift) // self.period) + self.base


def floors(
    xs: Sequence[int], ys: Sequence[int], periods: Iterable[int] = _PERIODS
) -> Iterator[list[Floor]]:
    """The functions that give these values, by their period, the smallest first."""
    x, y = np.array(xs, dtype=np.int64), np.array(ys, dtype=np.int64)
    low, high = int(x.argmin()), int(x.argmax())
    rise, run = int(y[high] - y[low]), int(x[high] - x[low])
    if not run or not rise:
        return
    for period in periods:
        shifts = np.arange(period)
        steps = (x[None, :] + shifts[:, None]) // period
        climbed = steps[:, high] - steps[:, low]
        good = (climbed > 0) & (rise % np.maximum(climbed, 1) == 0)
        slope = rise // np.maximum(climbed, 1)
        base = y[low] - slope * steps[:, low]
        fits = good & (slope[:, None] * steps + base[:, None] == y[None, :]).all(axis=1)
        found = [Floor(int(slope[i]), int(i), period, int(base[i])) for i in np.flatnonzero(fits)]
        if found:
            yield found


class Form(NamedTuple):
    """coefficient * the product of terms + base."""

    coefficient: int
    parts: tuple[int, ...]
    base: int = 0

    def times(self, other: Form) -> Form | None:
        """The product; None if one of them is no product."""
        if (self.base and self.parts) or (other.base and other.parts):
            return None
        a, b = (f.coefficient if f.parts else f.base for f in (self, other))
        parts = (*self.parts, *other.parts)
        return Form(a * b, parts) if parts else Form(0, (), a * b)

    def at(self, values: Sequence[Any]) -> Any:
        """Its value from those of the terms."""
        found = self.coefficient
        for part in self.parts:
            found = found * values[part]
        return found + self.base if self.parts else self.base + 0 * values[0]

    def halved(self, terms: Terms) -> Form:
        """Half of it."""
        if self.parts and not self.coefficient % 2 and not self.base % 2:
            return Form(self.coefficient // 2, self.parts, self.base // 2)
        if not self.parts:
            return Form(0, (), self.base // 2)
        whole = terms.add("+", self.base, terms.add("*", self.coefficient, *self.parts))
        return Form(1, (terms.add("/", 0, whole, 2),))

    def term(self, terms: Terms, factor: int, power: int = 0) -> int:
        """The index of its term, times a factor and a power of the batch."""
        batch = (BATCH,) * power
        if not self.parts:
            return terms.add("*", self.base * factor, *batch)
        if not self.base:
            return terms.add("*", self.coefficient * factor, *self.parts, *batch)
        inner = terms.add("+", self.base, terms.add("*", self.coefficient, *self.parts))
        return terms.add("*", factor, inner, *batch)


@dataclass
class Fitter:
    """Finds terms for values at sizes (height, width) of one batch.

    Attributes:
        doubtful: functions that fit the values as well as those that were taken, by their side.
        unknown: values for which nothing was found.
    """

    sizes: Sequence[tuple[int, int]]
    terms: Terms = field(default_factory=Terms)
    doubtful: dict[tuple[int, Values], list[list[Floor]]] = field(default_factory=dict)
    unknown: list[Values] = field(default_factory=list)
    _sides: dict[Values, Form | None] = field(default_factory=dict)
    _atoms: tuple[dict[int, Values], dict[int, Values]] = field(default_factory=lambda: ({}, {}))

    @cached_property
    def _axes(self) -> tuple[Values, Values]:
        heights, widths = zip(*self.sizes, strict=True)
        return tuple(heights), tuple(widths)

    def learn(self, sides: Iterable[Values]) -> None:
        """Look at sides of tensors, from which sizes are then made."""
        for values in sides:
            if values not in self._sides:
                self._sides[values] = self._side(values)

    def sides(self) -> list[Form]:
        """All forms that sides have."""
        return [form for form in self._sides.values() if form is not None]

    def side(self, values: Values) -> Form | None:
        """A side of a tensor, or the whole of it where its sides are flattened."""
        return self._sides.get(values) or self._side(values) or self._of_both(values)

    def _side(self, values: Values) -> Form | None:
        """A constant, or a function of one side of the image; None if it is neither."""
        if len(set(values)) == 1:
            return Form(0, (), values[0])
        for axis, xs in enumerate(self._axes):
            if _decided(xs, values):
                found = [*islice(floors(xs, values), 3)]
                if found:
                    self.doubtful[axis, values] = found
                    return self._form(axis, found[0][len(found[0]) // 2])
        return None

    def _form(self, axis: int, floor: Floor) -> Form:
        """A function of one side as a product of one term."""
        variable = (HEIGHT, WIDTH)[axis]
        slope, shift, period, base = floor
        if period == 1:
            base += slope * shift
            unit = variable
        else:
            unit = self.terms.add("/", shift, variable, period)
        common = gcd(slope, base) if base else slope
        common = abs(common) if slope > 0 else -abs(common)
        scaled = self.terms.add("*", slope // common, unit)
        atom = self.terms.add("+", base // common, scaled)
        steps = Floor(slope, shift if period > 1 else 0, period, base).at(
            np.array(self._axes[axis], dtype=object)
        )
        self._atoms[axis].setdefault(atom, tuple(int(s) // common for s in steps))
        bare = tuple((x + (shift if period > 1 else 0)) // period for x in self._axes[axis])
        self._atoms[axis].setdefault(unit, bare)
        return Form(common, (atom,))

    def size(self, values: Values, shape: Sequence[Values]) -> Form | None:
        """A number of elements: of a tensor with sides of these values, () if that is not known."""
        if len(set(values)) == 1:
            return Form(0, (), values[0])
        form: Form | None = Form(0, (), 1)
        for side in shape:
            known = self.side(side)
            form = None if form is None or known is None else form.times(known)
        if form is None or not shape:
            form = self._side(values) or self._of_both(values)
        if form is None:
            self.unknown.append(values)
        return form

    def _of_both(self, values: Values) -> Form | None:
        """C * U * V + d of atoms of both sides; or a function of U * V."""
        if values in self._sides and self._sides[values] is not None:
            return self._sides[values]
        for axis, variable in enumerate((HEIGHT, WIDTH)):
            self._atoms[axis].setdefault(variable, self._axes[axis])
        pairs: list[tuple[tuple[int, ...], Values]] = [
            ((u, v), tuple(a * b for a, b in zip(us, vs, strict=True)))
            for (u, us), (v, vs) in product(self._atoms[0].items(), self._atoms[1].items())
        ]
        pairs += [((*both, *both), tuple(a * a for a in x)) for both, x in pairs]
        best: Form | None = None
        for parts, xs in pairs:
            form = _line(xs, values)
            if form is not None:
                found = Form(form[0], parts, form[1])
                if not found.base:
                    self._sides[values] = found
                    return found
                best = best or found
        if best is None:
            best = self._sum(values) or self._grouped(pairs, values)
        self._sides[values] = best
        return best

    def _sum(self, values: Values) -> Form | None:
        """A U + b V + c of atoms of each side."""
        for (u, us), (v, vs) in product(self._atoms[0].items(), self._atoms[1].items()):
            matrix = np.array([us, vs, [1] * len(us)], dtype=float).T
            found = np.linalg.lstsq(matrix, np.array(values, dtype=float), rcond=None)[0]
            a, b, c = (round(x) for x in found)
            if all(a * x + b * y + c == z for x, y, z in zip(us, vs, values, strict=True)):
                term = self.terms.add("+", c, self.terms.add("*", a, u), self.terms.add("*", b, v))
                return Form(1, (term,))
        return None

    def _grouped(self, pairs: list[tuple[tuple[int, ...], Values]], values: Values) -> Form | None:
        """A function of all pixels by their groups."""
        for parts, xs in pairs:
            if len(parts) == 2:
                for found in floors(xs, values, _GROUPS):
                    floor = found[len(found) // 2]
                    unit = self.terms.add(
                        "/", floor.shift, self.terms.add("*", 1, *parts), floor.period
                    )
                    return Form(floor.slope, (unit,), floor.base)
        return None

    def votes(self, axis: int, pool: Sequence[int]) -> np.ndarray:
        """At each side, how often functions that fit as well would give something else."""
        sides = np.array(pool, dtype=np.int64)
        votes = np.zeros(len(pool), dtype=np.int64)
        for (of, _), periods in self.doubtful.items():
            if of == axis:
                given = np.array([f.at(sides) for floors_ in periods for f in floors_])
                given.sort(axis=0)
                votes += (np.diff(given, axis=0) != 0).sum(axis=0)
        return votes


def _decided(xs: Values, ys: Values) -> bool:
    """Whether what is equal in x is equal in y."""
    known: dict[int, int] = {}
    return all(known.setdefault(x, y) == y for x, y in zip(xs, ys, strict=True))


def _line(xs: Values, ys: Values) -> tuple[int, int] | None:
    """Slope and base of the whole-number line through all points; None if there is none."""
    low, high = min(range(len(xs)), key=xs.__getitem__), max(range(len(xs)), key=xs.__getitem__)
    run, rise = xs[high] - xs[low], ys[high] - ys[low]
    if not run or not rise or rise % run:
        return None
    slope = rise // run
    base = ys[low] - slope * xs[low]
    if all(slope * x + base == y for x, y in zip(xs, ys, strict=True)):
        return slope, base
    return None
