"""A better order where there is one, and below which bytes no order is: by parts of the program.

Where the best order that the search has found is above what the cuts say that any order needs,
either may be mended. The order: the steps around its peak are a small program of their own, whose
best order an exact search finds. The bound: a step that comes after all others or before them is
passed by every order in the same state, so that between two of these no order is better than the
best one of the steps there.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from itertools import pairwise
from operator import or_

from srprof.leaning.bound import ancestors, descendants, lower_bound
from srprof.leaning.program import Program, bits
from srprof.leaning.schedule import exact

#: States that a search of a part may reach, and all of them together.
STATES, ALL_STATES = 30_000, 120_000

#: Steps before a peak, and after it, that are ordered anew.
_AROUND = (32, 64, 128, 256, 512)


def proved(
    program: Program, order: tuple[int, ...], states: int = STATES, in_all: int = ALL_STATES
) -> tuple[tuple[int, ...], int]:
    """The order or a better one, and the bytes that no order's peak is below.

    Args:
        states: that a search of a part may reach; in_all: after so many no further one begins.
    """
    search = _Search(program, states, in_all)
    order = search.mended(order)
    if program.peak(order) > search.least:
        search.bound_by_segments(order)
    return order, search.least


class _Search:
    """Searches of parts of a program, with what is known of the bytes that no order is below."""

    def __init__(self, program: Program, states: int, in_all: int) -> None:
        self.program = program
        self.states, self.left = states, in_all
        self.least = program.least

    def mended(self, order: tuple[int, ...]) -> tuple[int, ...]:
        """The order with its peaks lowered where the steps around them can be put otherwise."""
        self.least = lower_bound(self.program, order)
        while self.left > 0:
            peaks = [move.peak for move in self.program.replay(order)]
            highest = max(peaks, default=self.least)
            if highest <= self.least:
                break
            better = self._around(order, peaks.index(highest), highest)
            if better is None:
                break
            order = better
        return order

    def _around(self, order: tuple[int, ...], at: int, peak: int) -> tuple[int, ...] | None:
        """The order with the steps around a position put so that their peak falls, if they can."""
        for steps in _AROUND:
            start, stop = max(0, at - steps), min(len(order), at + steps + 1)
            found = self._search(self.program.part(order, start, stop), peak)
            if found is None:
                return None
            if found:
                return order[:start] + tuple(order[start + n] for n in found) + order[stop:]
            if stop - start == len(order):
                self.least = peak
                return None
        return None

    def _search(self, part: Program, limit: int) -> tuple[int, ...] | None:
        found = exact(part, limit, min(self.states, self.left), self.least)
        self.left -= found.states
        return found.order

    def bound_by_segments(self, order: tuple[int, ...]) -> None:
        """Raise the bound to the best order's peak between two steps that all orders pass."""
        program, order = _essential(self.program, order)
        before, after = ancestors(program), descendants(program)
        others = len(order) - 1
        passed = [n for n in order if before[n].bit_count() + after[n].bit_count() == others]
        ends = sorted({0, *(before[number].bit_count() + 1 for number in passed), len(order)})
        parts = [program.part(order, start, stop) for start, stop in pairwise(ends)]
        for part in sorted(parts, key=lambda part: -part.peak()):
            peak = part.peak()
            if peak <= self.least or self.left <= 0:
                break
            found = exact(part, peak, min(self.states, self.left), self.least)
            self.left -= found.states
            self.least = max(self.least, found.least)


def _essential(program: Program, order: tuple[int, ...]) -> tuple[Program, tuple[int, ...]]:
    """A program with no more bytes in any order, without what could be at any time.

    What is made of weights alone takes nothing, and steps that touch nothing else are left out.
    """
    light = {storage for storage in program.given if not program.sizes[storage]}
    for step in program.steps:
        if step.touches.difference(step.creates) <= light:
            light.update(step.creates)
    light |= program.given & program.pinned
    sizes = tuple(
        0 if storage in light and storage not in program.given else size
        for storage, size in enumerate(program.sizes)
    )
    light |= {storage for storage, size in enumerate(sizes) if not size}
    stay = [
        n for n in order if not program.steps[n].touches.union(program.steps[n].creates) <= light
    ]
    numbers = {number: position for position, number in enumerate(sorted(stay))}
    needs: list[int] = []  # by each step, those that stay, in the new numbers
    for need in program.needs:
        through = (needs[n] if n not in numbers else 1 << numbers[n] for n in bits(need))
        needs.append(reduce(or_, through, 0))
    steps = tuple(replace(program.steps[n], needs=tuple(bits(needs[n]))) for n in sorted(stay))
    essential = Program(steps, sizes, program.given, program.pinned)
    return essential, tuple(numbers[number] for number in stay)
