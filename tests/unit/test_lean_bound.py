"""Below which bytes no order is, against all orders of small programs; flows against networkx."""

from __future__ import annotations

from functools import partial

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srprof.leaning import proving
from srprof.leaning.bound import Cuts, lower_bound
from srprof.leaning.flow import Pipes
from srprof.leaning.program import Program, Step, bits
from srprof.leaning.proving import proved
from srprof.leaning.schedule import best_order
from tests.made_up_programs import is_valid, lowest, programs

quick = settings(max_examples=200)

laid = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 9)), max_size=20)


@quick
@given(laid)
def test_flow_is_that_of_networkx(pipes: list[tuple[int, int, int]]):
    ours, theirs = Pipes(), networkx.DiGraph()
    theirs.add_nodes_from([0, 6])
    for start, end, room in pipes:
        ours.add(start, end, room)
        there = theirs.get_edge_data(start, end, {"capacity": 0})["capacity"]
        theirs.add_edge(start, end, capacity=there + room)
    assert ours.flow(0, 6) == networkx.maximum_flow_value(theirs, 0, 6)


@quick
@given(programs())
def test_no_order_is_below_the_bound(program: Program):
    """Which is never below the simple one, and the lowest peak where the search ends."""
    best, given_order = lowest(program), tuple(range(len(program.steps)))
    for order in (given_order, best_order(program)):
        assert program.least <= lower_bound(program, order) <= best
    for states in (0, 2, 3000):
        order, least = proved(program, given_order, states)
        assert is_valid(program, order)
        assert least <= best <= program.peak(order) <= program.peak()
    assert least == best == program.peak(order)


def needed(program: Program, number: int) -> int:
    """The fewest bytes with which a step runs, by every set of steps that may be done before."""
    found = []
    for done in range(1 << len(program.steps)):
        closed = all(not program.needs[step] & ~done for step in (*bits(done), number))
        if closed and not done >> number & 1:
            live = [program.start, *(move.live for move in program.replay([*bits(done)]))][-1]
            found.append(program.move(number, done, live).peak)
    return min(found)


@quick
@given(programs())
def test_a_cut_is_what_a_step_needs(program: Program):
    cuts = Cuts(program)
    for number in range(len(program.steps)):
        assert cuts.at(number) == needed(program, number)


@quick
@given(programs(), st.data())
def test_a_part_of_a_program_has_the_peak_that_it_has_there(program: Program, data: st.DataObject):
    order = data.draw(st.permutations(range(len(program.steps))).filter(partial(is_valid, program)))
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(order))] * 2)))
    part = program.part(order, start, stop)
    moves = [*program.replay(order)]
    before = moves[start - 1].live if start else program.start
    assert part.start == before
    assert [(m.peak, m.live) for m in part.replay(range(stop - start))] == [
        (move.peak, move.live) for move in moves[start:stop]
    ]


@quick
@given(programs(), st.sampled_from([0, 2, 3000]))
def test_between_steps_that_all_orders_pass_the_bound_holds(program: Program, states: int):
    search = proving._Search(program, states, 10**6)
    search.bound_by_segments(tuple(range(len(program.steps))))
    assert program.least <= search.least <= lowest(program)


@quick
@given(programs(), st.lists(st.integers(0, 3), max_size=2))
def test_mending_some_steps_leaves_an_order_no_higher(program: Program, around: list[int]):
    order, best = tuple(range(len(program.steps))), lowest(program)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proving, "_AROUND", around)
        mended = proving._Search(program, 3000, 10**6).mended(order)
    assert is_valid(program, mended)
    assert best <= program.peak(mended) <= program.peak(order)


def in_a_row(blocks: int) -> Program:
    """Blocks that each have a best order of their own, and a made-up weight that all of them read.

    A block makes a of 5 and c of 8 of its input of 1; a becomes b of 4, c becomes d of 1; b and d
    become the next input. The branch with c, if it comes first, leaves only 1 behind.
    """
    sizes, steps = [1, 0, 3], [Step((), frozenset({1, 2}), (2,))]
    x, last = 0, 0
    for _ in range(blocks):
        first, n = len(sizes), len(steps)
        a, b, c, d, y = range(first, first + 5)
        sizes += [5, 4, 8, 1, 1]
        steps += [
            Step((last,), frozenset({x, a}), (a,)),
            Step((n,), frozenset({a, b}), (b,)),
            Step((last,), frozenset({x, c, 2}), (c,)),
            Step((n + 2,), frozenset({c, d}), (d,)),
            Step((n + 1, n + 3), frozenset({b, d, y}), (y,)),
        ]
        x, last = y, n + 4
    return Program(tuple(steps), tuple(sizes), frozenset({0, 1}), frozenset({0, 1, x}))


def test_blocks_in_a_row_are_put_right_one_by_one(monkeypatch: pytest.MonkeyPatch):
    """By windows that no search of the whole would need, and the bound by one block."""
    program, order = in_a_row(30), tuple(range(151))
    monkeypatch.setattr(proving, "_AROUND", (4, 8))
    best = program.start + 3 + 1 + 8 + 1  # weight, a block's input, c and d
    assert program.peak(order) == best + 4 - 1  # b waits, and d is not there yet
    mended, least = proved(program, order, states=50, in_all=10_000)
    assert is_valid(program, mended)
    assert program.peak(mended) == best
    assert best - 3 <= least <= best


def crossed(reads: tuple[int, ...] = ()) -> Program:
    """From an image of 1: a of 5 becomes b of 4, c of 5 becomes d of 4, and both e of 1.

    `reads`: what a sixth step reads besides e.
    """
    steps = (
        Step((), frozenset({0, 1}), (1,)),
        Step((0,), frozenset({1, 2}), (2,)),
        Step((), frozenset({0, 3}), (3,)),
        Step((2,), frozenset({3, 4}), (4,)),
        Step((1, 3), frozenset({2, 4, 5}), (5,)),
        Step((4,), frozenset({5, *reads}), ()),
    )
    return Program(steps, (1, 5, 4, 5, 4, 1), frozenset({0}), frozenset({0, 5}))


def test_what_waits_elsewhere_is_counted_where_no_order_can_do_without():
    """Either branch comes first: at the second one the first waits, which no cut of one step sees.

    If e's reader needs a and c too, both wait for it in every order.
    """
    program = crossed()
    order = tuple(range(6))
    assert program.least == 1 + 5 + 4  # a and b
    assert lower_bound(program, order) == 1 + 5 + 4
    assert proved(program, order) == (order, 1 + 4 + 5 + 4)
    waits = crossed(reads=(1, 3))
    assert waits.least == 1 + 5 + 5 + 1 == lower_bound(waits, order) - 8  # b and d at e's maker
    assert lower_bound(waits, order) == waits.peak(order) == 1 + 5 + 5 + 4 + 4 + 1


def test_a_result_may_be_written_over_what_all_have_read():
    """b is written over a only after a's other reader, whose result of 9 then waits."""
    steps = (
        Step((), frozenset({0, 1}), (1,)),
        Step((0,), frozenset({1, 2}), (2,)),
        Step((0,), frozenset({1, 3}), (3,), (1,)),
        Step((1, 2), frozenset({2, 3, 4}), (4,)),
    )
    program = Program(steps, (1, 10, 9, 10, 0), frozenset({0}), frozenset({0, 4}))
    order = (0, 1, 2, 3)
    assert program.least == 1 + 10 + 9
    assert program.peak(order) == lower_bound(program, order) == 1 + 10 + 9
    assert lower_bound(program, (0, 2, 1, 3)) == 1 + 10 + 9 < program.peak((0, 2, 1, 3))


def test_a_program_without_steps():
    program = Program((), (5,), frozenset({0}), frozenset({0}))
    assert lower_bound(program, ()) == 5
    assert proved(program, ()) == ((), 5)
