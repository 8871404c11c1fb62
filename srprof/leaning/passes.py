"""The passes, in their order, each small, named and separable: what a lean network is made by.

Two kinds. A rewriting pass gives a graph that computes the same up to rounding, and belongs to
level `equivalent`. An ordering pass changes no number: it says when a value is dropped, where a
result is written, and which of two independent calls comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from torch.fx import Graph
from torch.fx import Node as FxNode

from srprof.leaning.liveness import GraphCall, Liveness
from srprof.leaning.rewriting import Known, fold_batch_norm, fusions, split_fusion
from srprof.leaning.schedule import best_order


@dataclass(frozen=True)
class Arranged:
    """A graph, its calls in order, and how each that writes into an argument does."""

    graph: Graph
    order: tuple[tuple[FxNode, GraphCall | None], ...]


class Rewrites:
    """A graph and those that the rewriting passes make of it, each read once.

    Args:
        read: steps and storages of a graph, at the call for which memory is to be lowest.
    """

    def __init__(self, graph: Graph, read: Callable[[Graph], Liveness]) -> None:
        self._read = read
        self._split: dict[tuple[bool, tuple[int, ...]], Read] = {}
        self._known: Known = {}
        self.whole = Read(graph, read(graph))

    @cached_property
    def folded(self) -> Read | None:
        """With batch norms folded; None if there is none to fold."""
        graph = _copy(self.whole.graph)
        return Read(graph, self._read(graph)) if fold_batch_norm(graph) else None

    def split(self, graph: Graph, summands: list[int]) -> Read:
        """One of the two with each of its fusions split into so many."""
        key = (graph is self.whole.graph, tuple(summands))
        if key not in self._split:
            copied = _copy(graph)
            for fusion, number in zip(fusions(copied), summands, strict=True):
                if number > 1:
                    split_fusion(fusion, number, self._known)
            self._split[key] = Read(copied, self._read(copied))
        return self._split[key]


class Read(NamedTuple):
    """A graph with its steps and storages."""

    graph: Graph
    liveness: Liveness


def arrange(rewrites: Rewrites, passes: tuple[str, ...]) -> Arranged:
    """The graph after these passes; none of them leaves the peak higher than it was."""
    chosen = rewrites.whole
    arranged, peak = _ordered(chosen, passes)
    if "fold-bn" in passes and rewrites.folded:
        tried, reached = _ordered(rewrites.folded, passes)
        if reached <= peak:  # the folded weights take room while a convolution runs
            chosen, arranged, peak = rewrites.folded, tried, reached
    if "split-fusion" in passes:
        return _split_where_it_saves(rewrites, chosen.graph, arranged, peak, passes)
    return arranged


def _split_where_it_saves(
    rewrites: Rewrites, graph: Graph, whole: Arranged, peak: int, passes: tuple[str, ...]
) -> Arranged:
    """The fewest summands with which the peak is what it is if each part is one.

    A sum takes more time than one convolution, so a fusion away from the peak stays whole, and
    parts that may die later together are joined.
    """
    ways = [fusion.ways for fusion in fusions(graph)]
    chosen = [numbers[-1] for numbers in ways]
    best, lowest = _ordered(rewrites.split(graph, chosen), passes)
    if lowest >= peak:
        return whole
    for position, numbers in enumerate(ways):
        for number in numbers[:-1]:
            fewer = [*chosen[:position], number, *chosen[position + 1 :]]
            tried, reached = _ordered(rewrites.split(graph, fewer), passes)
            if reached <= lowest:
                chosen, best, lowest = fewer, tried, reached
                break
    return best


def _ordered(read: Read, passes: tuple[str, ...]) -> tuple[Arranged, int]:
    """The graph's calls in order, and the peak in bytes."""
    graph, liveness = read
    program, in_place = liveness.program, "in-place" in passes
    given: tuple[int, ...] = tuple(range(len(program.steps)))
    order = best_order(program) if "schedule" in passes else given
    calls = []
    for number, move in zip(order, program.replay(order, in_place=in_place), strict=True):
        ways = liveness.in_place[number]
        call = None if move.overwritten is None else ways[move.overwritten]
        calls.append((liveness.nodes[number], call))
    return Arranged(graph, tuple(calls)), program.peak(order, in_place=in_place)


def _copy(graph: Graph) -> Graph:
    copied = Graph()
    copied.output(copied.graph_copy(graph, {}))
    return copied
