"""An estimate from traces at a few sizes, which are chosen as they are needed. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from random import Random
from typing import Any

import numpy as np

import srprof_estimate
from srprof.errors import InputError, ModelError
from srprof.estimating.folding import Program, folded, trimmed
from srprof.estimating.forms import BATCH, HEIGHT, WIDTH, Fitter, Form, Terms, Values
from srprof.estimating.pieces import ever_most, pieces
from srprof.estimating.scratch import Scratch, Sides
from srprof.estimating.script import Block, Script
from srprof.memory.model import GRANULARITY
from srprof.memory.workspace import WorkspaceTable
from srprof.ops import row
from srprof.tiling.sizes import SizeRule

#: First sizes, before they are brought to what the network takes; two were tried for that.
_FIRST = ((256, 256), (257, 257), (97, 130), (97, 203), (162, 130), (141, 181))
#: Sides at which functions are asked whether they differ.
_POOL = range(64, 330)
#: Of one graph, traces at most, and sizes at which it is seen whether the functions hold.
_MOST_TRACES, _CHECKS = 30, 3
#: Other batches and dtypes are looked at here, by the places of these sizes.
_ELSEWHERE = 2
#: At so many sizes of image it is looked at which sums are the most, up to this side.
_LOOKS, _MOST_SIDE = 6000, 4096
#: Sizes at which programs are compared.
_REPLAYS = 240
#: A share of the image's pixels is a whole number of these.
_SHARE = 2**16

Size = tuple[int, int, int]
HeightWidth = tuple[int, int]
#: What is allocated and reserved when the network is loaded, and the free blocks then, each with
#: whether it is for small requests.
Start = tuple[int, int, tuple[tuple[int, bool], ...]]


@dataclass(frozen=True)
class Sample:
    """What one trace says.

    Attributes:
        size: batch, height, width. sides: shapes of all tensors, in order.
        peaks: bytes by name. net: the network's own, rounded.
        result: shape of what the network gives, () if that is no single tensor.
        ms: predicted, None without a profile. torch: the version that traced. notes: of the trace.
    """

    size: Size
    script: Script
    sides: tuple[tuple[int, ...], ...]
    peaks: Mapping[str, int]
    net: int
    start: Start
    result: tuple[int, ...]
    ms: float | None
    torch: str
    notes: tuple[str, ...]
    dtype: str


#: A trace of (dtype, batch, height, width).
Trial = Callable[[str, int, int, int], Sample]


@dataclass(frozen=True)
class Fitted:
    """The functions of one graph.

    Attributes:
        sample: one of its traces. forms: of each block's elements, of one image.
        powers: of each block, of the batch.
        result: channels, height and width of what the network gives; None where that is not known.
        any_batch: whether they hold for several images too.
    """

    sample: Sample
    forms: tuple[Form, ...]
    powers: tuple[int, ...]
    result: tuple[Form, ...] | None = None
    any_batch: bool = False

    @property
    def script(self) -> Script:
        """A script of the graph."""
        return self.sample.script


@dataclass
class Builder:
    """Makes the functions of a network.

    Attributes:
        at_least: the smallest side that is no smaller, of those that the network takes.
        samples: every trace that was made. library, sides: forms of blocks and of sides, by which
            other dtypes and batches are read.
        unknown: blocks for which no function was found.
    """

    trial: Trial
    workspaces: WorkspaceTable
    at_least: Callable[[int], int]
    terms: Terms = field(default_factory=Terms)
    samples: dict[tuple[str, Size], Sample] = field(default_factory=dict)
    library: dict[Form, None] = field(default_factory=dict)
    unknown: int = 0
    sides: dict[Form, None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    random: Random = field(default_factory=lambda: Random(20240))

    def __post_init__(self) -> None:
        self.scratch = Scratch(self.workspaces, self.terms)

    def sample(self, dtype: str, *size: int) -> Sample:
        """The trace at (batch, height, width)."""
        batch, height, width = size
        key = dtype, (batch, height, width)
        if key not in self.samples:
            self.samples[key] = self.trial(dtype, batch, height, width)
        return self.samples[key]

    def some_side(self, least: int, most: int) -> int:
        """A side that the network takes, at random and as often small as large."""
        return self.at_least(round(least * (most / least) ** self.random.random()))

    # -- one graph -----------------------------------------------------------------------------

    def full(self, dtype: str, batch: int = 1) -> Fitted:
        """The functions of the graph that most sizes have, from as many traces as it takes.

        Raises:
            ModelError: the network raises at most sizes.
        """
        tried: dict[HeightWidth, Sample | None] = {}
        size: HeightWidth | None = None
        checks = 0
        for each in _FIRST:
            self._try(dtype, batch, (self.at_least(each[0]), self.at_least(each[1])), tried)
        while checks < _CHECKS:
            same = _most_common(sample for sample in tried.values() if sample is not None)
            fitter = Fitter([s.size[1:] for s in same], self.terms)
            fitter.learn(_sides(same))
            if len(tried) < _MOST_TRACES:
                size = self._telling(fitter, tried)
                if size is not None:
                    self._try(dtype, batch, size, tried)
                    continue
            forms = self._forms(fitter, same)
            checks = self._checks(dtype, batch, forms, same[0], tried)
        self._note(dtype, tried)
        return Fitted(same[0], forms, (0,) * len(forms), self._result(fitter, same))

    def _try(
        self, dtype: str, batch: int, size: HeightWidth, tried: dict[HeightWidth, Sample | None]
    ) -> Sample | None:
        """The trace of a size, None where the network raises at it; raises if it does at most."""
        try:
            tried[size] = self.sample(dtype, batch, *size)
        except ModelError:
            tried[size] = None
            if 2 * sum(sample is None for sample in tried.values()) > len(_FIRST):
                raise
        return tried[size]

    def _checks(
        self,
        dtype: str,
        batch: int,
        forms: Sequence[Form],
        one: Sample,
        tried: dict[HeightWidth, Sample | None],
    ) -> int:
        """At how many fresh sizes the forms hold, up to the first at which they do not."""
        for count in range(_CHECKS):
            size = self.some_side(48, 400), self.some_side(48, 400)
            if size in tried or len(tried) >= _MOST_TRACES:
                continue
            sample = self._try(dtype, batch, size, tried)
            if sample is None or sample.script.graph != one.script.graph:
                continue
            if not self.holds(forms, sample):
                return count
        return _CHECKS

    def _note(self, dtype: str, tried: Mapping[HeightWidth, Sample | None]) -> None:
        """Say which sizes are of another graph, or of none."""
        run = [sample for sample in tried.values() if sample is not None]
        if others := len(run) - len(_most_common(run)):
            self.notes.append(
                f"sizes decide the graph: {others} of {len(run)} traces of {dtype} made other "
                "calls than the rest"
            )
        if refused := [size for size, sample in tried.items() if sample is None]:
            height, width = refused[0]
            self.notes.append(
                f"the network raises at {len(refused)} of {len(tried)} sizes, such as "
                f"{height}x{width}, which the sides that it takes do not tell"
            )

    def _result(self, fitter: Fitter, same: Sequence[Sample]) -> tuple[Form, ...] | None:
        """Channels, height and width of the network's result."""
        if any(len(sample.result) != 4 for sample in same):
            return None
        sides = [*zip(*(sample.result for sample in same), strict=True)][1:]
        forms = [fitter.size(side, ()) for side in sides]
        return tuple(form for form in forms if form is not None) if all(forms) else None

    def _telling(self, fitter: Fitter, tried: Container[HeightWidth]) -> tuple[int, int] | None:
        """A size at which functions differ that give the same so far; None if there is none."""
        pool = sorted({self.at_least(side) for side in _POOL})
        best = []
        differs = False
        for axis in (0, 1):
            votes = fitter.votes(axis, pool)
            most = int(votes.argmax())
            differs |= bool(votes[most])
            best.append(pool[most] if votes[most] else pool[self.random.randrange(len(pool))])
        size = best[0], best[1]
        return size if differs and size not in tried else None

    def _forms(self, fitter: Fitter, same: Sequence[Sample]) -> tuple[Form, ...]:
        """The form of each block."""
        forms = []
        for blocks in zip(*(s.script.blocks for s in same), strict=True):
            values = tuple(b.nbytes // b.itemsize for b in blocks)
            if blocks[0].node is not None:
                forms.append(
                    self._scratch(same, blocks, fitter.side) or self._roughly(values, same)
                )
                continue
            shapes = {len(b.shape) for b in blocks}
            shape = tuple(zip(*(b.shape for b in blocks), strict=True)) if len(shapes) == 1 else ()
            form = fitter.size(values, shape)
            form = form or self._roughly(values, same)
            forms.append(form)
            self.library[form] = None
        self.sides.update(dict.fromkeys(form for form in fitter.sides() if form.parts))
        return tuple(forms)

    def _scratch(
        self, same: Sequence[Sample], blocks: Sequence[Block], sides: Sides
    ) -> Form | None:
        """The form of what a library takes, if it gives that of each trace, or more."""
        nodes = [block.node for block in blocks if block.node is not None]
        form = self.scratch.form(nodes, tuple(s.size[0] for s in same), sides)
        if form is None:
            return None
        said = form.at(self.terms.values([s.size for s in same]))
        exact = all(int(s) == b.nbytes for s, b in zip(said, blocks, strict=True))
        most = all(int(s) >= b.nbytes for s, b in zip(said, blocks, strict=True))
        return form if exact or (most and row(nodes[0].op).scratch == "cufft") else None

    def _roughly(self, values: Values, same: Sequence[Sample]) -> Form:
        """In proportion to the image, and nowhere below what was seen."""
        self.unknown += 1
        pixels = [height * width for _, height, width in (s.size for s in same)]
        share = max(-(-v * _SHARE // p) for v, p in zip(values, pixels, strict=True))
        product = self.terms.add("*", share, HEIGHT, WIDTH)
        return Form(1, (self.terms.add("/", 0, product, _SHARE),))

    def holds(self, forms: Sequence[Form], sample: Sample) -> bool:
        """Whether the forms give each block of a trace."""
        one, all_ = (self.terms.values([(n, *sample.size[1:])]) for n in (1, sample.size[0]))
        return all(  # scratch has the batch in it
            form.at(one if block.node is None else all_)[0] * block.itemsize == block.nbytes
            for form, block in zip(forms, sample.script.blocks, strict=True)
        )

    # -- other batches and dtypes --------------------------------------------------------------

    def graphs(
        self, dtype: str, first: Fitted | None
    ) -> list[tuple[Fitted, tuple[int, int | None]]]:
        """The functions of one image and of more in a dtype, each with the batches it holds for.

        Args:
            first: of another dtype, whose functions are likely the same ones.
        """
        one = (first and self.alike(dtype, (1,), first)) or self.full(dtype, 1)
        if first is not None and (likewise := self._as_first(dtype, one, first)) is not None:
            return [(likewise, (1, None))]
        try:
            more = self.alike(dtype, (2, 3), one) or self._of_more(dtype)
        except (InputError, ModelError) as error:
            self.notes.append(f"one image at a time: with two, {error}")
            return [(one, (1, 1))]
        same = more.script.graph == one.script.graph and more.sample.start == one.sample.start
        if same and more.forms == one.forms:
            return [(replace(one, powers=more.powers, any_batch=True), (1, None))]
        return [(one, (1, 1)), (more, (2, None))]

    def _as_first(self, dtype: str, one: Fitted, first: Fitted) -> Fitted | None:
        """The functions of a dtype by another's, of which those of one image hold for more."""
        powers = replace(one, powers=first.powers)
        if (
            not first.any_batch
            or one.script.alike != first.script.alike
            or one.forms != first.forms
        ):
            return None
        sample = self.sample(dtype, 2, *one.sample.size[1:])
        values = self.terms.values([sample.size])
        blocks = zip(one.forms, first.powers, sample.script.blocks, strict=False)
        holds = sample.script.graph == one.script.graph and all(
            form.at(values)[0] * sample.size[0] ** power * block.itemsize == block.nbytes
            for form, power, block in blocks
        )
        return replace(powers, any_batch=True) if holds else None

    def alike(self, dtype: str, of: Sequence[int], first: Fitted) -> Fitted | None:
        """The functions of another dtype or of batches `of`, if they are all known; else None."""
        sizes = [*dict.fromkeys(s.size[1:] for s in self.samples.values() if s.size[0] == 1)]
        sizes = [*sizes[2 : 2 + _ELSEWHERE], sizes[-1]]
        found = [self.sample(dtype, of[i % len(of)], *size) for i, size in enumerate(sizes)]
        same = _most_common(found)
        if len(same) <= _ELSEWHERE:
            return None
        values = self.terms.values([s.size for s in same])

        def numbers(form: Form, power: int) -> Values:
            bare = form.at(values)
            return tuple(map(int, bare * values[0] if power else bare))

        pairs = [(form, power) for form in self.library for power in (1, 0)]
        known = {numbers(*pair): pair for pair in reversed(pairs)}
        likely = first.forms if same[0].script.alike == first.script.alike else ()
        chosen = []
        columns = zip(*(s.script.blocks for s in same), strict=True)
        of_sides = {tuple(map(int, f.at(values))): f for f in reversed(self.sides)}

        def side(wanted: Values) -> Form | None:
            return Form(0, (), wanted[0]) if len(set(wanted)) == 1 else of_sides.get(wanted)

        for form, blocks in zip_longest(likely, columns):
            if blocks[0].node is not None:
                scratch = self._scratch(same, blocks, side)
                if scratch is None:
                    return None
                chosen.append((scratch, 0))
                continue
            wanted = tuple(b.nbytes // b.itemsize for b in blocks)
            given = [(form, power) for power in (1, 0)] if form is not None else []
            pair = next((p for p in given if numbers(*p) == wanted), known.get(wanted))
            if pair is None and len(set(wanted)) == 1:
                pair = Form(0, (), wanted[0]), 0
            if pair is None:
                return None
            chosen.append(pair)
        forms, powers = zip(*chosen, strict=True) if chosen else ((), ())
        return Fitted(same[0], forms, powers)

    def _of_more(self, dtype: str) -> Fitted:
        """The functions of several images, where they are others than those of one."""
        two = self.full(dtype, 2)
        size = two.sample.size[1:]
        three = self.sample(dtype, 3, *size)
        if three.script.graph != two.script.graph:
            raise InputError("two images and three make different calls")
        values = self.terms.values([(1, *size)])
        pairs = []
        for form, block in zip(two.forms, three.script.blocks, strict=True):
            alone = block.node is not None or form.at(values)[0] * block.itemsize == block.nbytes
            pairs.append((form, 0) if alone else (form.halved(self.terms), 1))
        forms, powers = zip(*pairs, strict=True) if pairs else ((), ())
        return replace(two, forms=forms, powers=powers)

    # -- where it holds ------------------------------------------------------------------------

    def least(self, fitted: Fitted, dtype: str, rule: SizeRule) -> int:
        """The smallest side from which on the functions hold."""

        def holds(side: int) -> bool:
            other = self.at_least(max(_FIRST[0][1], side))
            for size in ((side, side), (side, other), (other, side)):
                try:
                    sample = self.sample(dtype, 1, *size)
                except (InputError, ModelError):
                    return False
                if sample.script.graph != fitted.script.graph or not self.holds(
                    fitted.forms, sample
                ):
                    return False
            return True

        if rule.step is None or holds(rule.least):
            return rule.least
        low, high = 0, rule.index(self.at_least(_FIRST[0][0]))
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if holds(rule.side(middle)) else (middle, high)
        return rule.side(high)


def _most_common(samples: Iterable[Sample]) -> list[Sample]:
    """Those of the graph that most have."""
    samples = [*samples]
    graph = Counter(s.script.graph for s in samples).most_common(1)[0][0]
    return [s for s in samples if s.script.graph == graph]


def _sides(samples: Sequence[Sample]) -> Iterator[Values]:
    """By tensor and side, its pixels at each size."""
    if len({tuple(map(len, s.sides)) for s in samples}) == 1:
        for shapes in zip(*(s.sides for s in samples), strict=True):
            yield from zip(*shapes, strict=True)
        return
    for blocks in zip(*(s.script.blocks for s in samples), strict=True):
        if len({len(b.shape) for b in blocks}) == 1:
            yield from zip(*(b.shape for b in blocks), strict=True)


# -- the file --------------------------------------------------------------------------------------


def built(
    builder: Builder, dtypes: Sequence[str], rule: SizeRule, taken_from: int | None
) -> dict[str, Any]:
    """Of a network's functions what the file has: `sides`, `terms`, `dtypes` and `graphs`."""
    found: dict[str, list[tuple[Fitted, tuple[int, int | None]]]] = {}
    refused: dict[str, str] = {}
    for dtype in dtypes:
        first = next(iter(found.values()))[0][0] if found else None
        try:
            found[dtype] = builder.graphs(dtype, first)
        except (InputError, ModelError) as error:
            if first is None and dtype == dtypes[-1]:
                raise
            refused[dtype] = str(error)
    dtype, graphs = next(iter(found.items()))
    least = builder.least(graphs[0][0], dtype, rule)
    sizes = _looks(builder, least)
    written: list[list[dict[str, Any]]] = []
    places: dict[str, int | str] = {**refused}
    for dtype, graphs in found.items():
        variants = [variant(fitted, builder.terms, batch, sizes) for fitted, batch in graphs]
        if variants not in written:
            written.append(variants)
        places[dtype] = written.index(variants)
    result = next(iter(found.values()))[0][0].result
    shape = None if result is None else [form.term(builder.terms, 1) for form in result]
    terms, graphs_, shape = _used(builder.terms, written, shape)
    sides = {"least": least, "step": rule.step, "taken_from": taken_from}
    parts = (sides, terms, shape, places, graphs_)
    return dict(zip(("sides", "terms", "result", "dtypes", "graphs"), parts, strict=True))


def _looks(builder: Builder, least: int) -> list[Size]:
    """Sizes of all kinds from the least on."""
    most = max(_MOST_SIDE, 2 * least)
    batches = [builder.random.choice((1, 1, 1, 2, 3, 4, 8)) for _ in range(_LOOKS)]
    return [
        (batch, builder.some_side(least, most), builder.some_side(least, most)) for batch in batches
    ]


def _used(
    terms: Terms, graphs: list[list[dict[str, Any]]], shape: list[int] | None
) -> tuple[list[list[Any]], list[list[dict[str, Any]]], list[int] | None]:
    """The terms that graphs and the result need, and these with their new indices."""
    needed = {size for variants in graphs for v in variants for size in v["sizes"]}
    needed.update(shape or ())
    for place in range(len(terms.rows) - 1, -1, -1):
        if place + 3 in needed:
            op, _, *parts = terms.rows[place]
            needed.update(parts[:1] if op == "/" else parts)
    order = [BATCH, HEIGHT, WIDTH, *sorted(needed - {BATCH, HEIGHT, WIDTH})]
    new = {old: place for place, old in enumerate(order)}
    rows = []
    for old in order[3:]:
        op, constant, *parts = terms.rows[old - 3]
        moved = [new[p] for p in (parts[:1] if op == "/" else parts)]
        rows.append([op, constant, *moved, *(parts[1:] if op == "/" else ())])
    for variants in graphs:
        for v in variants:
            v["sizes"] = [new[size] for size in v["sizes"]]
    return rows, graphs, shape and [new[term] for term in shape]


def variant(
    fitted: Fitted, terms: Terms, batch: tuple[int, int | None], looks: Sequence[Size]
) -> dict[str, Any]:
    """What the file has of one graph."""
    script = fitted.script
    sizes: dict[int, int] = {}
    of_block = []
    for form, power, block in zip(fitted.forms, fitted.powers, script.blocks, strict=True):
        term = form.term(terms, block.itemsize, power)
        of_block.append(sizes.setdefault(term, len(sizes)))
    looks = [s for s in looks if batch[0] <= s[0] <= (batch[1] or s[0])]
    values = terms.values(looks)
    rounded = np.array([-(-values[t] // GRANULARITY) * GRANULARITY for t in sizes], dtype=np.int64)
    found: dict[str, Any] = {
        "batch": list(batch),
        "granularity": GRANULARITY,
        "net": fitted.sample.net,
        "sizes": [*sizes],
        "start": list(fitted.sample.start),
    }
    for kind, held in (("planned", False), ("eager", True)):
        kept = ever_most(pieces(script, of_block, held=held), rounded)
        found[kind] = [[number for pair in piece for number in pair] for piece in kept]
    return found | {"program": _program(script, of_block, found, terms, looks[:_REPLAYS])}


def _program(
    script: Script, of_block: Sequence[int], found: dict[str, Any], terms: Terms, looks: list[Size]
) -> Program:
    """What comes and goes, as short as the same peaks allow."""
    born: dict[int, int] = {}
    whole: Program = []
    for step in script.steps:
        if step is None:
            whole.append(None)
        elif step >= 0:
            born[step] = len(born)
            whole.append(of_block[step])
        else:
            whole.append(born[~step] - len(born))
    values = [srprof_estimate._values(terms.rows, *size) for size in looks]

    def peaks(program: Program, value: Any) -> tuple[int, int]:
        allocated, reserved = srprof_estimate._replayed(found | {"program": program}, value)
        return allocated, reserved

    wanted = [(value, peaks(whole, value)) for value in values]

    def right(program: Program) -> bool:
        for place, (value, expected) in enumerate(wanted):
            if peaks(program, value) != expected:
                wanted.insert(0, wanted.pop(place))  # it will tell the next one too
                return False
        return True

    return trimmed(folded(whole, right), right)
