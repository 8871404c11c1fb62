"""Bytes below which no order of a program's steps has its peak.

Whatever the order, when a step runs its ancestors are done, and neither it nor its descendants are.
Of the sets of steps that may be done then, with each of them all that it needs, the one with the
fewest bytes live is a minimum cut: a storage is cut where the step that makes it is done and one
that touches it is not (the closure problem of Picard 1976). With what the step itself makes that is
what it needs in any order, and the largest of these is a bound for all orders.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import chain
from operator import or_

from srprof.leaning.flow import Pipes
from srprof.leaning.program import Program, bits


def lower_bound(program: Program, order: tuple[int, ...]) -> int:
    """Bytes below which no order's peak is, by the cuts; at most the given order's peak."""
    cuts, best = Cuts(program), program.least
    moves = zip(order, program.replay(order), strict=True)
    for reached, number in sorted((-move.peak, number) for number, move in moves):
        if -reached <= best:  # no step can need more than it does in an order
            break
        best = max(best, cuts.at(number))
    return best


def is_least(program: Program, order: tuple[int, ...]) -> bool:
    """Whether the cuts show that no order's peak is below this one's.

    A step needs no more than it does in an order, so those at the peak alone can show it.
    """
    peaks = [move.peak for move in program.replay(order)]
    peak = max(peaks, default=program.start)
    if peak <= program.least:
        return True
    cuts = Cuts(program)
    return any(cuts.at(n) >= peak for n, there in zip(order, peaks, strict=True) if there == peak)


class Cuts:
    """What each step of a program needs in any order, by minimum cuts."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.before = ancestors(program)
        self.after = descendants(program)
        self.makers = {made: n for n, step in enumerate(program.steps) for made in step.creates}
        self.large = sum(program.sizes) + 1
        self._made: list[list[int]] = [[] for _ in program.steps]  # storages of some size, by maker
        self._across: list[list[int]] = [[] for _ in (*program.steps, None)]
        for storage, size in enumerate(program.sizes):
            maker, users = self.makers.get(storage), program.users[storage]
            if not size or (maker is None and storage not in program.given):
                continue
            if maker is not None:
                self._made[maker].append(storage)
            lives = storage in program.pinned or not users
            last = len(program.steps) if lives else users.bit_length() - 1
            for number in range(0 if maker is None else maker + 1, last + 1):
                self._across[number].append(storage)
        self._makers = sum(1 << number for number, made in enumerate(self._made) if made)

    def at(self, number: int) -> int:
        """Bytes that there are at the least while a step runs."""
        program, step = self.program, self.program.steps[number]
        least = self._live(number, self.before[number])
        least += sum(program.sizes[storage] for storage in step.creates)
        for users in program.overwritable[number]:  # where it writes into one, these are done
            done = users & ~(1 << number)
            done = reduce(or_, map(self.before.__getitem__, bits(done)), done)
            if not done & (self.after[number] | 1 << number):
                least = min(least, self._live(number, done | self.before[number]))
        return least

    def _live(self, number: int, done: int) -> int:
        """The fewest bytes live with these steps done, and the step and what follows it not."""
        program, pipes, always = self.program, Pipes(), 0
        later = self.after[number] | 1 << number
        between = ~(done | later)
        source, sink, first = -1, -2, len(program.steps)  # storages are numbered after the steps
        asked = 0  # steps of which it is asked whether they are done
        for storage in self._there(done, later):
            size, maker = program.sizes[storage], self.makers.get(storage)
            start = source if maker is None or done >> maker & 1 else maker
            users = program.users[storage]
            waiting = users & ~done
            if start != source:
                asked |= 1 << start
            if storage in program.pinned or not users or waiting & later:
                if start == source:
                    always += size
                else:
                    pipes.add(start, sink, size)
            elif waiting:
                asked |= waiting
                pipes.add(start, first + storage, size)
                for user in bits(waiting):
                    pipes.add(first + storage, user, self.large)
        asked = reduce(or_, map(self.before.__getitem__, bits(asked)), asked)
        for step in bits(asked & between):
            for need in bits(program.needs[step] & between):
                pipes.add(step, need, self.large)
        return always + pipes.flow(source, sink)

    def _there(self, done: int, later: int) -> Iterator[int]:
        """Storages that may be live with these steps done and those later not, and few others.

        What is made before the first step that is not done, and used before it only, has died.
        """
        first = (~done & (done + 1)).bit_length() - 1
        makers = self._makers & ~later & -(1 << first)
        return chain(self._across[first], *(self._made[maker] for maker in bits(makers)))


def ancestors(program: Program) -> list[int]:
    """For each step all that must come before it, as bits."""
    before: list[int] = []
    for needs in program.needs:
        before.append(reduce(or_, map(before.__getitem__, bits(needs)), needs))
    return before


def descendants(program: Program) -> list[int]:
    """For each step all that must come after it, as bits."""
    after = [0] * len(program.steps)
    for number in reversed(range(len(after))):
        for follower in program.followers[number]:
            after[number] |= after[follower] | 1 << follower
    return after
