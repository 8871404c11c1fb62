"""Below which bytes no order is, against all orders of small programs; flows against networkx."""

from __future__ import annotations

import networkx
from hypothesis import given, settings
from hypothesis import strategies as st

from srprof.leaning.bound import Cuts, lower_bound
from srprof.leaning.flow import Pipes
from srprof.leaning.program import Program, Step, bits
from srprof.leaning.schedule import best_order, proved

from .test_lean_schedule import is_valid, lowest, programs

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
