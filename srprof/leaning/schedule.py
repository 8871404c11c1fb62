"""The order of a program's steps with the lowest peak: exact where it can be, else a beam search.

A state is the set of steps that are done. What is live is a function of the state alone, so the
best order is the path from none to all whose worst step is best, which a best-first search finds
without looking at an order twice. A step that costs nothing is taken at once: done earlier it frees
no less and leaves every other step no more, so no order without that move is better. What remains
to be decided is only which of the steps that *grow* memory comes next, and where a network narrows
to one feature map all ways meet in one state.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import count
from math import inf
from operator import or_
from typing import Any, NamedTuple

from srprof.leaning.bound import is_least
from srprof.leaning.program import Move, Program, bits

#: States that the exact search may reach.
STATES = 3_000

#: States that the beam search keeps at each depth.
BEAM = 16


class _State(NamedTuple):
    """A set of steps that are done (bits), those that may come next, and the order so far.

    `dear` are steps of which it is known that they would leave more live than now; `order` is the
    last step, and the order before it.
    """

    peak: int
    live: int
    done: int
    ready: int
    dear: int
    order: tuple[int, Any] | None


def best_order(program: Program, states: int = STATES, beam: int = BEAM) -> tuple[int, ...]:
    """An order whose peak is at most the given one's; the given one where none is lower.

    It is the lowest possible where the search ends within so many states.
    """
    given = tuple(range(len(program.steps)))
    limit = program.peak(given)
    if is_least(program, given):
        return given
    best = exact(program, limit, states).order
    if best is None:
        best = _beam(program, beam)
    return best if best and program.peak(best) < limit else given


class Search(NamedTuple):
    """What an exact search came to.

    Attributes:
        order: with the lowest peak; () if none is below the limit, None if it was given up.
        least: bytes that no order is below; states: how many were reached.
    """

    order: tuple[int, ...] | None
    least: int
    states: int


def exact(program: Program, limit: int, states: int, floor: int = 0) -> Search:
    """Search all orders whose peak is below the limit, while there are no more states than that.

    Of states with equal peaks the one with most steps done is first; so ways meet early. Peaks are
    not told apart below the floor, which no order is to be below.
    """
    ties = count()
    start = _first(program, floor)
    queue = [(start.peak, 0, next(ties), start)]
    seen = {start.done: start.peak}
    while queue:
        state = heapq.heappop(queue)[-1]
        if not state.ready:
            return Search(_unwind(state), state.peak, len(seen))
        if state.peak > seen[state.done]:
            continue
        for following in _following(program, state):
            if following.peak < min(limit, seen.get(following.done, limit)):
                seen[following.done] = following.peak
                progress = -following.done.bit_count()
                heapq.heappush(queue, (following.peak, progress, next(ties), following))
        if len(seen) > states:
            return Search(None, min(limit, state.peak), len(seen))
    return Search((), limit, len(seen))


class _Gain(NamedTuple):
    """What a step does to the bytes with all that then costs nothing, relative to those before it.

    Attributes:
        rise: the most bytes while the first step runs; change: the bytes more when all are done.
        most: of the steps that cost nothing. least: of those that would free as much as they take,
            but raise the peak.
    """

    rise: int
    change: int
    most: float
    least: float

    def holds(self, state: _State) -> bool:
        """Whether the same steps cost nothing from a state like it."""
        room = max(state.peak - state.live, self.rise)
        return self.most <= room < self.least


class _Outlook(NamedTuple):
    """What a step does with all that then costs nothing.

    It holds in every state in which nothing `around` these steps is done that was not here, and the
    same of the steps cost nothing.

    Attributes:
        steps: taken, as bits.
        around: these, those that share a storage with them, and those that follow them.
    """

    steps: int
    around: int
    gain: _Gain


def _outlook(program: Program, state: _State, number: int) -> _Outlook:
    first = program.move(number, state.done, state.live)
    log: list[tuple[int, Move]] = []
    after = _settle(program, _take(program, state, number), log)
    free = [(step, move) for step, move in log if move.peak <= after.peak]
    dear = [move.peak - state.live for _, move in log if move.peak > after.peak]
    around = reduce(or_, (program.around[step] for step, _ in free), program.around[number])
    gain = _Gain(
        rise=first.peak - state.live,
        change=after.live - state.live,
        most=max((move.peak - state.live for _, move in free), default=-inf),
        least=min(dear, default=inf),
    )
    return _Outlook(after.done ^ state.done, around, gain)


@dataclass(slots=True)
class _Place:
    """A state of the beam, and what is known of the steps that may come next.

    Most of a network's steps do what many others do, so that hundreds of them are a few gains.

    Attributes:
        outlooks: by step; by_gain: the same steps as bits. unknown: those without an outlook.
    """

    state: _State
    outlooks: dict[int, _Outlook]
    by_gain: dict[_Gain, int]
    unknown: int

    def look(self, program: Program, nearby: list[int]) -> None:
        """Know an outlook of each step that may come next; `nearby` gets the new ones."""
        unknown = self.unknown
        for gain in [gain for gain in self.by_gain if not gain.holds(self.state)]:
            unknown |= self.by_gain.pop(gain)
        for number in bits(unknown):
            outlook = self.outlooks[number] = _outlook(program, self.state, number)
            self.by_gain[outlook.gain] = self.by_gain.get(outlook.gain, 0) | 1 << number
            for step in bits(outlook.around):
                nearby[step] |= 1 << number
        self.unknown = 0

    def ways(self) -> Iterator[tuple[int, int, int]]:
        """Peak and live bytes of the states that can be next, with the steps to them as bits."""
        for gain, steps in self.by_gain.items():
            peak = max(self.state.peak, self.state.live + gain.rise)
            yield peak, self.state.live + gain.change, steps

    def after(self, program: Program, number: int, nearby: list[int]) -> _Place:
        """What is known in the state after a step, of what is known here."""
        taken, new = self.outlooks[number], _settle(program, _take(program, self.state, number))
        outlooks, by_gain = self.outlooks.copy(), self.by_gain.copy()
        close = reduce(or_, (nearby[step] for step in bits(taken.around)), 0)
        unknown = new.ready & ~self.state.ready
        for step in bits(self.state.ready & (close | ~new.ready)):
            known = outlooks[step]
            still = new.ready >> step & 1
            if still and not known.around & taken.around:
                continue
            unknown |= still << step
            del outlooks[step]
            by_gain[known.gain] ^= 1 << step
            if not by_gain[known.gain]:
                del by_gain[known.gain]
        return _Place(new, outlooks, by_gain, unknown)


def _beam(program: Program, width: int) -> tuple[int, ...]:
    """The best of the orders that are found when only so many states are kept at each depth."""
    start = _first(program)
    nearby = [0] * len(program.steps)  # of each step, those whose outlook was ever told by it
    front = [_Place(start, {}, {}, start.ready)]
    ended: list[_State] = []
    while front:
        ended += [place.state for place in front if not place.state.ready]
        ways: dict[tuple[int, int], dict[int, int]] = defaultdict(dict)
        for index, place in enumerate(front):
            place.look(program, nearby)
            for peak, live, steps in place.ways():
                found = ways[peak, live]
                found[index] = found.get(index, 0) | steps
        reached: dict[int, _Place] = {}
        for index, number in _best_first(ways):
            place = front[index]
            done = place.state.done | place.outlooks[number].steps
            if done not in reached:
                reached[done] = place.after(program, number, nearby)
                if len(reached) == width:
                    break
        front = list(reached.values())
    return _unwind(min(ended, key=lambda state: state.peak))


def _best_first(ways: Mapping[tuple[int, int], Mapping[int, int]]) -> Iterator[tuple[int, int]]:
    """Places and steps by peak and live bytes, then in their order."""
    for key in sorted(ways):
        for index, steps in ways[key].items():
            for number in bits(steps):
                yield index, number


def _first(program: Program, floor: int = 0) -> _State:
    ready = sum(1 << number for number, need in enumerate(program.needs) if not need)
    return _settle(program, _State(max(program.start, floor), program.start, 0, ready, 0, None))


def _following(program: Program, state: _State) -> Iterator[_State]:
    for number in bits(state.ready):
        yield _settle(program, _take(program, state, number))


def _take(program: Program, state: _State, number: int) -> _State:
    move = program.move(number, state.done, state.live)
    done = state.done | 1 << number
    ready = state.ready ^ 1 << number
    for follower in program.followers[number]:
        if not program.needs[follower] & ~done:
            ready |= 1 << follower
    dear = state.dear & ~program.neighbours[number]  # only who shares a storage can change
    peak = max(state.peak, move.peak)
    return _State(peak, move.live, done, ready, dear, (number, state.order))


def _settle(program: Program, state: _State, log: list[tuple[int, Move]] | None = None) -> _State:
    """Take every step that costs nothing; `log` gets those that leave no more live than before."""
    waiting = state.ready & ~state.dear
    while waiting:
        lowest = waiting & -waiting
        waiting ^= lowest
        number = lowest.bit_length() - 1
        move = program.move(number, state.done, state.live)
        if move.live > state.live:
            state = state._replace(dear=state.dear | lowest)
            continue
        if log is not None:
            log.append((number, move))
        if move.peak <= state.peak:
            before = state.ready
            state = _take(program, state, number)
            # a step can have become costless only if it shares a storage, or was not ready
            waiting |= state.ready & (program.neighbours[number] | ~before)
    return state


def _unwind(state: _State) -> tuple[int, ...]:
    order, rest = [], state.order
    while rest is not None:
        number, rest = rest
        order.append(number)
    return tuple(reversed(order))
