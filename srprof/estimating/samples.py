"""What traces of a network say, by size and dtype. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from srprof.estimating.forms import Values
from srprof.estimating.script import Script

#: Batch, height and width.
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


def most_common(samples: Iterable[Sample]) -> list[Sample]:
    """Those of the graph that most have."""
    samples = [*samples]
    graph = Counter(s.script.graph for s in samples).most_common(1)[0][0]
    return [s for s in samples if s.script.graph == graph]


def sides_of(samples: Sequence[Sample]) -> Iterator[Values]:
    """By tensor and side, its pixels at each size."""
    if len({tuple(map(len, s.sides)) for s in samples}) == 1:
        for shapes in zip(*(s.sides for s in samples), strict=True):
            yield from zip(*shapes, strict=True)
        return
    for blocks in zip(*(s.script.blocks for s in samples), strict=True):
        if len({len(b.shape) for b in blocks}) == 1:
            yield from zip(*(b.shape for b in blocks), strict=True)
