"""An estimate from traces at a few sizes, which are chosen as they are needed. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
import srprof_estimate

from srprof.estimating.folding import Program, folded, trimmed
from srprof.estimating.forms import Fitter, Form, Terms, Values
from srprof.estimating.pieces import ever_most, pieces
from srprof.estimating.script import Script
from srprof.memory.model import GRANULARITY

#: First sizes, before they are brought to what the network takes.
_FIRST = ((97, 130), (97, 203), (162, 130), (141, 181), (188, 109), (119, 154))
#: Sides at which functions are asked whether they differ.
_POOL = range(64, 330)
#: Of one graph, traces at most, and sizes at which it is seen whether the functions hold.
_MOST_TRACES, _CHECKS = 30, 4
#: Other batches and dtypes are looked at here, by the places of these sizes.
_ELSEWHERE = 3
#: At so many sizes of image it is looked at which sums are the most, up to this side.
_LOOKS, _MOST_SIDE = 6000, 4096
#: Sizes at which programs are compared.
_REPLAYS = 48

Size = tuple[int, int, int]


@dataclass(frozen=True)
class Sample:
    """What one trace says.

    Attributes:
        size: batch, height, width. sides: shapes of all tensors, in order.
        peaks: bytes by name. net: the network's own, rounded.
        start: what is allocated and reserved when the network is loaded, and the free blocks then,
            each with whether it is for small requests.
        ms: predicted, None without a profile.
    """

    size: Size
    script: Script
    sides: tuple[tuple[int, ...], ...]
    peaks: Mapping[str, int]
    net: int
    start: tuple[int, int, tuple[tuple[int, bool], ...]]
    ms: float | None = None


#: A trace of (dtype, batch, height, width).
Trial = Callable[[str, int, int, int], Sample]


@dataclass(frozen=True)
class Fitted:
    """The functions of one graph.

    Attributes:
        sample: one of its traces. forms: of each block's elements, of one image.
        powers: of each block, of the batch.
        seen, of_graph: sizes that were traced, and those of this graph.
    """

    sample: Sample
    forms: tuple[Form, ...]
    powers: tuple[int, ...]
    seen: int
    of_graph: int

    @property
    def script(self) -> Script:
        """A script of the graph."""
        return self.sample.script


@dataclass
class Builder:
    """Makes the functions of a network.

    Attributes:
        at_least: the smallest side that is no smaller, of those that the network takes.
        samples: every trace that was made.
        unknown: blocks for which no function was found.
    """

    trial: Trial
    at_least: Callable[[int], int]
    terms: Terms = field(default_factory=Terms)
    samples: dict[tuple[str, Size], Sample] = field(default_factory=dict)
    library: dict[Form, None] = field(default_factory=dict)
    unknown: int = 0
    _random: Random = field(default_factory=lambda: Random(20240))

    def sample(self, dtype: str, *size: int) -> Sample:
        """The trace at (batch, height, width)."""
        batch, height, width = size
        key = dtype, (batch, height, width)
        if key not in self.samples:
            self.samples[key] = self.trial(dtype, batch, height, width)
        return self.samples[key]

    def some_side(self, least: int, most: int) -> int:
        """A side that the network takes, at random and as often small as large."""
        return self.at_least(round(least * (most / least) ** self._random.random()))

    # -- one graph -----------------------------------------------------------------------------

    def full(self, dtype: str, batch: int = 1) -> Fitted:
        """The functions of the graph that most sizes have, from as many traces as it takes."""
        todo = [(self.at_least(h), self.at_least(w)) for h, w in _FIRST]
        found: dict[tuple[int, int], Sample] = {}
        checks = 0
        while True:
            for size in todo:
                found[size] = self.sample(dtype, batch, *size)
            same = _most_common(found.values())
            fitter = Fitter([s.size[1:] for s in same], self.terms)
            fitter.learn(_sides(same))
            more = len(found) < _MOST_TRACES
            if more and (telling := self._telling(fitter, found)) is not None:
                todo = [telling]
                continue
            forms = self._forms(fitter, same)
            while more and checks < _CHECKS:
                size = self.some_side(48, 400), self.some_side(48, 400)
                if size in found:
                    checks += 1
                    continue
                found[size] = sample = self.sample(dtype, batch, *size)
                checks += 1
                more = len(found) < _MOST_TRACES
                if sample.script.graph == same[0].script.graph and not self.holds(forms, sample):
                    checks, todo = 0, []
                    break
            else:
                break
        return Fitted(same[0], forms, (0,) * len(forms), len(found), len(same))

    def _telling(self, fitter: Fitter, found: Container[tuple[int, int]]) -> tuple[int, int] | None:
        """A size at which functions differ that give the same so far; None if there is none."""
        pool = sorted({self.at_least(side) for side in _POOL})
        best = []
        differs = False
        for axis in (0, 1):
            votes = fitter.votes(axis, pool)
            most = int(votes.argmax())
            differs |= bool(votes[most])
            best.append(pool[most] if votes[most] else pool[self._random.randrange(len(pool))])
        size = best[0], best[1]
        return size if differs and size not in found else None

    def _forms(self, fitter: Fitter, same: Sequence[Sample]) -> tuple[Form | None, ...]:
        """The form of each block."""
        forms = []
        for blocks in zip(*(s.script.blocks for s in same), strict=True):
            values = tuple(b.nbytes // b.itemsize for b in blocks)
            shapes = {len(b.shape) for b in blocks}
            shape = tuple(zip(*(b.shape for b in blocks), strict=True)) if len(shapes) == 1 else ()
            form = fitter.size(values, shape)
            forms.append(form)
            if form is not None:
                self.library[form] = None
        return tuple(forms)

    def holds(self, forms: Sequence[Form | None], sample: Sample) -> bool:
        """Whether the forms give each block of a trace."""
        values = self.terms.values([(1, *sample.size[1:])])
        return all(
            form is None or form.at(values)[0] * block.itemsize == block.nbytes
            for form, block in zip(forms, sample.script.blocks, strict=True)
        )

    # -- other batches and dtypes --------------------------------------------------------------

    def alike(self, dtype: str, batches: Sequence[int]) -> Fitted | None:
        """The functions of another dtype or batch, by those known; None if they do not do.

        Args:
            batches: one, or else several of more than one.
        """
        sizes = [s.size[1:] for s in self.samples.values()][:_ELSEWHERE]
        sizes.append((self.some_side(48, 400), self.some_side(48, 400)))
        found = [
            self.sample(dtype, batches[i % len(batches)], *size) for i, size in enumerate(sizes)
        ]
        same = _most_common(found)
        values = self.terms.values([s.size for s in same])
        known: dict[Values, tuple[Form, int]] = {}
        for power in (1, 0):
            for form in self.library:
                bare = form.at(values)
                numbers = tuple(map(int, bare * values[0] if power else bare))
                known.setdefault(numbers, (form, power))
        pairs = []
        for blocks in zip(*(s.script.blocks for s in same), strict=True):
            numbers = tuple(b.nbytes // b.itemsize for b in blocks)
            if len(set(numbers)) == 1:
                known.setdefault(numbers, (Form(0, (), numbers[0]), 0))
            pairs.append(known.get(numbers))
        if None in pairs:
            return None
        forms, powers = zip(*(pair for pair in pairs if pair is not None), strict=True)
        return Fitted(same[0], forms, powers, len(found), len(same))


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


def variant(
    fitted: Fitted, terms: Terms, batch: tuple[int, int | None], looks: Sequence[Size]
) -> dict[str, Any]:
    """What the file has of one graph."""
    script = fitted.script
    sizes: dict[int, int] = {}
    of_block = []
    for form, power, block in zip(fitted.forms, fitted.powers, script.blocks, strict=True):
        given = Form(0, (), block.nbytes // block.itemsize) if form is None else form
        term = given.term(terms, block.itemsize, power)
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
        return srprof_estimate._replayed(found | {"program": program}, value)

    wanted = [(value, peaks(whole, value)) for value in values]

    def right(program: Program) -> bool:
        for place, (value, expected) in enumerate(wanted):
            if peaks(program, value) != expected:
                wanted.insert(0, wanted.pop(place))  # it will tell the next one too
                return False
        return True

    return trimmed(folded(whole, right), right)
