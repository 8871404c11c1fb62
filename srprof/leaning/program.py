"""A straight-line program as its memory sees it: steps, storages, and who may write into what.

No torch: sizes are bytes, steps and storages are numbered, and sets of steps are the bits of an
integer, so that the search in `schedule` is fast and can be tested with made-up programs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import or_
from typing import NamedTuple


@dataclass(frozen=True)
class Step:
    """One call.

    Attributes:
        needs: earlier steps that it must follow: those whose values it takes, and those that read
            or write what it writes.
        touches: storages that one of its arguments or results lies in.
        creates: storages that it makes.
        overwrites: storages that it could write its one result into, best first, if they are
            needed no longer; each has exactly the bytes of what it makes.
        may_touch: further storages, in which an argument or result lies in other calls, of other
            sizes. They may die, as in this call, but must not be overwritten.
    """

    needs: tuple[int, ...]
    touches: frozenset[int]
    creates: tuple[int, ...] = ()
    overwrites: tuple[int, ...] = ()
    may_touch: frozenset[int] = frozenset()


class Move(NamedTuple):
    """What executing a step does: bytes at the most, and afterwards; the storage written into."""

    peak: int
    live: int
    overwritten: int | None


class _Outline(NamedTuple):
    created: int
    mortal: tuple[tuple[int, int], ...]  # users and bytes of storages that can die
    overwrites: tuple[tuple[int, int], ...]  # users and numbers of storages


@dataclass(frozen=True)
class Program:
    """Steps in their given order, which is a valid one.

    Attributes:
        sizes: bytes of each storage.
        given: storages that exist from the start, the inputs of the call and the weights.
        pinned: storages that live to the end: the caller's, and those of results.
    """

    steps: tuple[Step, ...]
    sizes: tuple[int, ...]
    given: frozenset[int]
    pinned: frozenset[int]

    @cached_property
    def users(self) -> tuple[int, ...]:
        """For each storage the steps that touch it, as bits."""
        return self._users([step.touches.union(step.creates) for step in self.steps])

    @cached_property
    def _possible_users(self) -> tuple[int, ...]:
        """For each storage the steps that touch it in this call or another, as bits."""
        return self._users([s.touches.union(s.creates, s.may_touch) for s in self.steps])

    def _users(self, storages: Sequence[Iterable[int]]) -> tuple[int, ...]:
        users = [0] * len(self.sizes)
        for number, touched in enumerate(storages):
            for storage in touched:
                users[storage] |= 1 << number
        return tuple(users)

    def _bytes(self, storages: Iterable[int]) -> int:
        return sum(self.sizes[storage] for storage in storages)

    @cached_property
    def needs(self) -> tuple[int, ...]:
        """For each step the steps it must follow, as bits."""
        return tuple(sum(1 << need for need in set(step.needs)) for step in self.steps)

    @cached_property
    def followers(self) -> tuple[tuple[int, ...], ...]:
        """For each step those that must follow it."""
        followers: list[list[int]] = [[] for _ in self.steps]
        for number, step in enumerate(self.steps):
            for need in set(step.needs):
                followers[need].append(number)
        return tuple(map(tuple, followers))

    @property
    def start(self) -> int:
        """Bytes before the first step."""
        return self._bytes(self.given)

    @property
    def least(self) -> int:
        """Bytes below which no order's peak can be: what is always there, and a step's own."""
        always = self.given & self.pinned
        steps = (
            self._bytes(step.touches - always - set(step.creates))
            + (0 if step.overwrites else self._bytes(step.creates))
            for step in self.steps
        )
        return max(self.start, self._bytes(always) + max(steps, default=0))

    @cached_property
    def neighbours(self) -> tuple[int, ...]:
        """For each step those that share a storage with it, or may, as bits."""
        shared = (step.touches.union(step.creates, step.may_touch) for step in self.steps)
        users = self._possible_users
        return tuple(reduce(or_, (users[storage] for storage in each), 0) for each in shared)

    @cached_property
    def around(self) -> tuple[int, ...]:
        """For each step itself, its neighbours and its followers, as bits."""
        return tuple(
            reduce(or_, (1 << follower for follower in followers), near | 1 << number)
            for number, (near, followers) in enumerate(
                zip(self.neighbours, self.followers, strict=True)
            )
        )

    @cached_property
    def _outline(self) -> tuple[_Outline, ...]:
        """What `move` reads of each step; the search calls it a million times."""
        return tuple(
            _Outline(
                created=self._bytes(step.creates),
                mortal=tuple(
                    (self.users[storage], self.sizes[storage])
                    for storage in step.touches.union(step.creates) - self.pinned
                ),
                overwrites=tuple(
                    (self._possible_users[s], s) for s in step.overwrites if s not in self.pinned
                ),
            )
            for step in self.steps
        )

    @cached_property
    def overwritable(self) -> tuple[tuple[int, ...], ...]:
        """For each step the possible users of each storage that it could overwrite, as bits."""
        return tuple(tuple(users for users, _ in outline.overwrites) for outline in self._outline)

    def move(self, number: int, done: int, live: int, *, in_place: bool = True) -> Move:
        """Execute a step after those that are done, with so many bytes live."""
        outline = self._outline[number]
        waiting = ~(done | 1 << number)
        after = live + outline.created
        for users, size in outline.mortal:
            if not users & waiting:
                after -= size
        if in_place:
            for users, storage in outline.overwrites:
                if not users & waiting:
                    return Move(live, after, storage)
        return Move(live + outline.created, after, None)

    def part(self, order: Sequence[int], start: int, stop: int) -> Program:
        """The steps of an order from one position to another, as a program of their own.

        What is live before them is given, what is needed after them pinned.
        """
        numbers = {number: position for position, number in enumerate(order[start:stop])}
        done = sum(1 << number for number in order[:start])
        later = sum(1 << number for number in order[stop:])
        made = {storage for number in order[:start] for storage in self.steps[number].creates}
        given = {s for s in made | self.given if s in self.pinned or self._lives(s, done)}
        pinned = {s for s, users in enumerate(self.users) if users & later} | self.pinned
        steps = []
        for number in numbers:
            step = self.steps[number]
            needs = tuple(sorted(numbers[need] for need in step.needs if need in numbers))
            free = (s for s in step.overwrites if s not in pinned)
            kept = tuple(s for s in free if not self._possible_users[s] & later)
            steps.append(replace(step, needs=needs, overwrites=kept))
        return Program(tuple(steps), self.sizes, frozenset(given), frozenset(pinned))

    def _lives(self, storage: int, done: int) -> bool:
        """Whether a storage that is there has not died when these steps are done."""
        return not self.users[storage] or bool(self.users[storage] & ~done)

    def replay(self, order: Sequence[int], *, in_place: bool = True) -> Iterator[Move]:
        done, live = 0, self.start
        for number in order:
            move = self.move(number, done, live, in_place=in_place)
            yield move
            done, live = done | 1 << number, move.live

    def peak(self, order: Sequence[int] | None = None, *, in_place: bool = True) -> int:
        """Bytes at the most in this order, or in the given one."""
        order = range(len(self.steps)) if order is None else order
        moves = self.replay(order, in_place=in_place)
        return max((move.peak for move in moves), default=self.start)


def bits(mask: int) -> Iterator[int]:
    """The numbers in a set that is an integer's bits, from the lowest."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
