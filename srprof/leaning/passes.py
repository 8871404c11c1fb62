"""The passes, in their order, each small, named and separable: what a lean network is made by.

Two kinds. A rewriting pass gives a graph that computes the same up to rounding, and belongs to
level `equivalent`. An ordering pass changes no number: it says when a value is dropped, where a
result is written, and which of two independent calls comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from torch.fx import Graph
from torch.fx import Node as FxNode

from srprof.leaning.graphs import Known
from srprof.leaning.liveness import GraphCall, Liveness
from srprof.leaning.proving import proved
from srprof.leaning.rewriting import FUSION, fold_batch_norm, fusions, split_fusion
from srprof.leaning.schedule import best_order

#: Trials of single fusions, above which all that are at the peak are tried together.
_TRIALS = 48


class Arranged(NamedTuple):
    """A graph whose calls have an order.

    Attributes:
        steps: the calls in order, by their numbers in `liveness`; peak: bytes in this order.
        in_place: calls write into arguments where they can.
        least: bytes that the peak of no other order of the calls is below; None if that is not
            asked, as the order is not to be the best.
    """

    liveness: Liveness
    steps: tuple[int, ...]
    peak: int
    in_place: bool
    least: int | None = None

    @property
    def graph(self) -> Graph:
        """Of the calls, in the order in which they were found."""
        return self.liveness.graph

    @property
    def order(self) -> Iterator[tuple[FxNode, GraphCall | None]]:
        """The calls in order, with how each writes into an argument, if it does."""
        moves = self.liveness.program.replay(self.steps, in_place=self.in_place)
        for number, move in zip(self.steps, moves, strict=True):
            ways = self.liveness.in_place[number]
            call = None if move.overwritten is None else ways[move.overwritten]
            yield self.liveness.nodes[number], call


class Rewrites:
    """A graph and those that the rewriting passes make of it, each read once.

    Args:
        read: steps and storages of a graph, at the call for which memory is to be lowest.
    """

    def __init__(self, graph: Graph, read: Callable[[Graph], Liveness]) -> None:
        self._read = read
        self._split: dict[tuple[bool, tuple[int, ...]], Liveness] = {}
        self._known: Known = {}
        self.whole = read(graph)

    @cached_property
    def folded(self) -> Liveness | None:
        """With batch norms folded; None if there is none to fold."""
        graph = with_folded(self.whole.graph)
        return None if graph is self.whole.graph else self._read(graph)

    def split(self, graph: Graph, summands: list[int]) -> Liveness:
        """One of the two with each of its fusions split into so many."""
        key = (graph is self.whole.graph, tuple(summands))
        if key not in self._split:
            copied = _copy(graph)
            for fusion, number in zip(fusions(copied), summands, strict=True):
                if number > 1:
                    split_fusion(fusion, number, self._known)
            self._split[key] = self._read(copied)
        return self._split[key]


def with_folded(graph: Graph) -> Graph:
    """The graph with its batch norms folded, if there is one."""
    copied = _copy(graph)
    return copied if fold_batch_norm(copied) else graph


def arrange(rewrites: Rewrites, passes: tuple[str, ...]) -> Arranged:
    """The graph after these passes; none of them leaves the peak higher than it was."""
    best = _ordered(rewrites.whole, passes)
    if "fold-bn" in passes and rewrites.folded:
        folded = _ordered(rewrites.folded, passes)
        if folded.peak <= best.peak:  # the folded weights take room while a convolution runs
            best = folded
    if "split-fusion" in passes:
        best = _split_where_it_saves(rewrites, best, passes)
    return _proved(best) if {"in-place", "schedule"} <= {*passes} else best


def _split_where_it_saves(rewrites: Rewrites, whole: Arranged, passes: tuple[str, ...]) -> Arranged:
    """The fewest summands with which the peak is what it is if each part is one.

    A sum takes more time than one convolution, so a fusion away from the peak stays whole, and
    parts that may die later together are joined.
    """
    found = fusions(whole.graph)
    ways = [fusion.ways for fusion in found]
    chosen = [numbers[-1] for numbers in ways]
    best = _ordered(rewrites.split(whole.graph, chosen), passes)
    if best.peak >= whole.peak:
        return whole
    if sum(len(numbers) - 1 for numbers in ways) > _TRIALS:
        for number, fusion in enumerate(found):
            fusion.mark(number)
        return _split_at_the_peak(rewrites, whole, best, ways, passes)
    for position, numbers in enumerate(ways):
        for number in numbers[:-1]:
            fewer = [*chosen[:position], number, *chosen[position + 1 :]]
            tried = _ordered(rewrites.split(whole.graph, fewer), passes)
            if tried.peak <= best.peak:
                chosen, best = fewer, tried
                break
    return best


def _split_at_the_peak(
    rewrites: Rewrites,
    whole: Arranged,
    best: Arranged,
    ways: Sequence[Sequence[int]],
    passes: tuple[str, ...],
) -> Arranged:
    """The same for many fusions, in a few trials: those at a step above the peak have one more."""
    chosen, tried = [0] * len(ways), whole
    while tried.peak > best.peak:
        more = [n for n in _reaching(tried, best.peak) if chosen[n] + 1 < len(ways[n])]
        if not more:
            return best
        for number in more:
            chosen[number] += 1
        summands = [numbers[at] for numbers, at in zip(ways, chosen, strict=True)]
        tried = _ordered(rewrites.split(whole.graph, summands), passes)
    return tried


def _reaching(arranged: Arranged, peak: int) -> list[int]:
    """Fusions that run at a step above the peak, or for which alone a storage is kept there."""
    program, nodes = arranged.liveness.program, arranged.liveness.nodes
    own: dict[int, int] = {}  # steps of each fusion, and users of the storages they touch, as bits
    touched: dict[int, set[int]] = {}
    for number, (node, step) in enumerate(zip(nodes, program.steps, strict=True)):
        if (fusion := node.meta.get(FUSION)) is not None:
            own[fusion] = own.get(fusion, 0) | 1 << number
            mortal = step.touches.union(step.creates) - program.pinned
            touched.setdefault(fusion, set()).update(program.users[s] for s in mortal)
    reaching: set[int] = set()
    done = 0
    moves = program.replay(arranged.steps, in_place=arranged.in_place)
    for number, move in zip(arranged.steps, moves, strict=True):
        if move.peak > peak:
            reaching |= {
                fusion
                for fusion in own.keys() - reaching
                if own[fusion] >> number & 1
                or any(
                    users & done and users & ~done and not users & ~done & ~own[fusion]
                    for users in touched[fusion]
                )
            }
        done |= 1 << number
    return sorted(reaching)


def _ordered(liveness: Liveness, passes: tuple[str, ...]) -> Arranged:
    program, in_place = liveness.program, "in-place" in passes
    given: tuple[int, ...] = tuple(range(len(program.steps)))
    order = best_order(program) if "schedule" in passes else given
    return Arranged(liveness, order, program.peak(order, in_place=in_place), in_place)


def _proved(arranged: Arranged) -> Arranged:
    """With an order that is lower, if a longer search finds one, and what none is below."""
    program = arranged.liveness.program
    steps, least = proved(program, arranged.steps)
    return arranged._replace(steps=steps, peak=program.peak(steps), least=least)


def _copy(graph: Graph) -> Graph:
    copied = Graph()
    copied.output(copied.graph_copy(graph, {}))
    return copied
