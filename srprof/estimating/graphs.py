"""The functions of one graph, from traces at sizes that are chosen as they are needed. No torch."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from srprof.errors import ModelError
from srprof.estimating.forms import HEIGHT, WIDTH, Fitter, Form, Terms, Values
from srprof.estimating.samples import HeightWidth, Sample, Size, Trial, most_common, sides_of
from srprof.estimating.scratch import Scratch, Sides
from srprof.estimating.script import Block, Script
from srprof.memory.workspace import WorkspaceTable
from srprof.ops import row

#: First sizes, before they are brought to what the network takes; two were tried for that.
FIRST = ((256, 256), (257, 257), (97, 130), (97, 203), (162, 130), (141, 181))
#: Sides at which functions are asked whether they differ.
_POOL = range(64, 330)
#: Of one graph, traces at most, and sizes at which it is seen whether the functions hold.
_MOST_TRACES, _CHECKS = 30, 3
#: A share of the image's pixels is a whole number of these.
_SHARE = 2**16


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

    @property
    def alike(self) -> object:
        """What is equal where the file has the same of two."""
        return self.script.graph, self.forms, self.powers, self.sample.net, self.sample.start


@dataclass
class Builder:
    """Makes the functions of a network.

    Attributes:
        at_least: the smallest side that is no smaller, of those that the network takes.
        samples: every trace that was made, also before.
        library, sides: forms of blocks and of sides, by which other dtypes and batches are read.
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

    def full(self, dtype: str, batch: int = 1) -> Fitted:
        """The functions of the graph that most sizes have, from as many traces as it takes.

        Raises:
            ModelError: the network raises at most sizes.
        """
        tried: dict[HeightWidth, Sample | None] = {
            size[1:]: sample
            for (of, size), sample in self.samples.items()
            if (of, size[0]) == (dtype, batch) and min(size[1:]) >= _POOL[0]
        }
        size: HeightWidth | None = None
        checks = 0
        for each in FIRST[2:] if len(tried) >= 2 else FIRST:
            self._try(dtype, batch, (self.at_least(each[0]), self.at_least(each[1])), tried)
        while checks < _CHECKS:
            same = most_common(sample for sample in tried.values() if sample is not None)
            fitter = Fitter([s.size[1:] for s in same], self.terms)
            fitter.learn(sides_of(same))
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
            if 2 * sum(sample is None for sample in tried.values()) > len(FIRST):
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
        if others := len(run) - len(most_common(run)):
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
                    self.of_scratch(same, blocks, fitter.side) or self._roughly(values, same)
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

    def of_scratch(
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
