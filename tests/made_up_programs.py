"""Small programs that Hypothesis makes up, and all their orders, counted storage by storage."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import strategies as st

from srprof.leaning.program import Program, Step


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Up to seven steps that each take values made before and make one, two or none."""
    sizes = [draw(st.integers(0, 9)) for _ in range(draw(st.integers(1, 2)))]
    given_ = frozenset(range(len(sizes)))
    makers: dict[int, int] = {}
    steps = []
    for number in range(draw(st.integers(0, 7))):
        taken = draw(st.sets(st.sampled_from(range(len(sizes))), max_size=3))
        needs = {makers[storage] for storage in taken if storage in makers}
        if number:
            needs |= draw(st.sets(st.integers(0, number - 1), max_size=1))
        created = tuple(range(len(sizes), len(sizes) + draw(st.integers(0, 2))))
        overwrites: tuple[int, ...] = ()
        if len(created) == 1 and taken and draw(st.booleans()):
            overwrites = (draw(st.sampled_from(sorted(taken))),)
            sizes.append(sizes[overwrites[0]])
        else:
            sizes += [draw(st.integers(0, 9)) for _ in created]
        makers.update(dict.fromkeys(created, number))
        touched = frozenset(taken).union(created)
        maybe = draw(st.sets(st.sampled_from(range(len(sizes))), max_size=1)) - touched
        steps.append(Step(tuple(sorted(needs)), touched, created, overwrites, frozenset(maybe)))
    results = draw(st.sets(st.sampled_from(range(len(sizes))), max_size=2))
    return Program(tuple(steps), tuple(sizes), given_, given_ | results)


def is_valid(program: Program, order: tuple[int, ...]) -> bool:
    place = {number: position for position, number in enumerate(order)}
    return sorted(order) == list(range(len(program.steps))) and all(
        place[need] < place[number]
        for number, step in enumerate(program.steps)
        for need in step.needs
    )


def lowest(program: Program) -> int:
    """The lowest peak of all valid orders, by trying each, with sums of what lives."""
    return min(counted(program, order) for order in orders(program))


def orders(program: Program, begun: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """All valid orders that begin so."""
    rest = set(range(len(program.steps))).difference(begun)
    if not rest:
        yield begun
    for number in rest:
        if rest.isdisjoint(program.steps[number].needs):
            yield from orders(program, (*begun, number))


def counted(program: Program, order: tuple[int, ...]) -> int:
    """The peak of an order, storage by storage: none of `Program`'s own sums."""
    live = set(program.given)
    peak = sum(program.sizes[storage] for storage in live)
    for position, number in enumerate(order):
        step = program.steps[number]
        waiting = {
            storage
            for later in order[position + 1 :]
            for storage in program.steps[later].touches.union(program.steps[later].creates)
        }
        during = live | set(step.creates)
        later_calls = (program.steps[later].may_touch for later in order[position + 1 :])
        read = waiting.union(*later_calls)
        free = [
            storage
            for storage in step.overwrites
            if storage not in read and storage not in program.pinned
        ]
        if free:
            during -= set(free[:1])
        peak = max(peak, sum(program.sizes[storage] for storage in during))
        involved = step.touches.union(step.creates)
        live |= set(step.creates)
        live -= {s for s in involved if s not in waiting and s not in program.pinned}
    return peak
