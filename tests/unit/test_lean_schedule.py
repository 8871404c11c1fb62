"""Programs made by hand and by Hypothesis: what they hold at the most, and in which order least."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srprof.leaning import schedule
from srprof.leaning.program import Move, Program, Step
from srprof.leaning.schedule import best_order
from tests.made_up_programs import counted, is_valid, lowest, programs

quick = settings(max_examples=150)


@quick
@given(programs())
def test_the_lowest_peak_of_all_orders(program: Program):
    """Which the exact search finds, and a beam so wide that it keeps every state."""
    best = lowest(program)
    order = best_order(program)
    assert is_valid(program, order)
    assert program.peak(order) == counted(program, order) == best
    assert program.peak(best_order(program, states=0, beam=10**6)) == best
    assert program.start <= program.least <= best <= program.peak()
    assert program.peak() <= program.peak(in_place=False)
    if program.peak() == best:
        assert order == tuple(range(len(program.steps))), "the given order stays"


@quick
@given(programs(), st.integers(0, 3), st.integers(1, 3))
def test_the_beam_search_is_never_worse_than_the_given_order(program, states, beam):
    order = best_order(program, states=states, beam=beam)
    assert is_valid(program, order)
    assert program.peak(order) == counted(program, order) <= program.peak()


#: image (10) -> a (10), which could be written into it; a -> b (4); a, b -> c (10), into a.
CHAIN = Program(
    steps=(
        Step((), frozenset({0, 1}), (1,), (0,)),
        Step((0,), frozenset({1, 2}), (2,)),
        Step((0, 1), frozenset({1, 2, 3}), (3,), (1,)),
    ),
    sizes=(10, 10, 4, 10),
    given=frozenset({0}),
    pinned=frozenset({0, 3}),
)


def test_moves_of_a_chain():
    assert list(CHAIN.replay(range(3))) == [
        Move(20, 20, None),  # the image is the caller's
        Move(24, 24, None),
        Move(24, 20, 1),  # into a, which dies, as b does
    ]
    assert list(CHAIN.replay(range(3), in_place=False))[-1] == Move(34, 20, None)
    assert (CHAIN.peak(), CHAIN.peak(in_place=False), CHAIN.start) == (24, 34, 10)


def test_an_argument_that_is_read_later_is_not_overwritten():
    steps = (*CHAIN.steps, Step((0,), frozenset({1}), ()))
    longer = Program(steps, CHAIN.sizes, CHAIN.given, CHAIN.pinned)
    moves = list(longer.replay(range(4)))
    assert moves[2] == Move(34, 30, None)
    assert moves[3] == Move(30, 20, None)
    assert longer.peak((0, 1, 3, 2)) == 24  # the other reader first


def test_what_a_later_step_may_read_dies_and_is_not_overwritten():
    """a -> b, into a if nothing needs it; the last step reads a copy, elsewhere a view of a."""
    steps = (
        Step((), frozenset({0, 1}), (1,)),
        Step((0,), frozenset({1, 2}), (2,), (1,)),
        Step((1,), frozenset({2, 3}), (3,), may_touch=frozenset({1})),
    )
    program = Program(steps, (2, 10, 10, 1), frozenset({0}), frozenset({0, 3}))
    made, product, _ = program.replay(range(3))
    assert product == Move(made.live + 10, made.live, None)  # beside a, which is gone afterwards


def test_a_value_that_nobody_reads_dies_at_once():
    program = Program((Step((), frozenset({0}), (0,)),), (7,), frozenset(), frozenset())
    assert list(program.replay([0])) == [Move(7, 0, None)]


def test_a_program_without_steps_holds_what_was_given():
    program = Program((), (5,), frozenset({0}), frozenset({0}))
    assert program.peak() == 5
    assert best_order(program) == ()


@pytest.mark.parametrize("states", [3000, 0])
def test_a_branch_that_narrows_most_goes_first(states: int):
    """One branch goes through 100 bytes and keeps 90, the other through 150 and keeps 1.

    In the given order 90 wait while 150 and 1 are there; else 1 waits while 100 and 90 are.
    """
    steps = (
        Step((), frozenset({0, 1}), (1,)),
        Step((0,), frozenset({1, 2}), (2,)),
        Step((), frozenset({0, 3}), (3,)),
        Step((2,), frozenset({3, 4}), (4,)),
        Step((1, 3), frozenset({2, 4, 5}), (5,)),
    )
    program = Program(steps, (1, 100, 90, 150, 1, 1), frozenset({0}), frozenset({0, 5}))
    assert program.peak() == 1 + 90 + 150 + 1
    assert best_order(program, states=states) == (2, 3, 0, 1, 4)
    assert program.peak((2, 3, 0, 1, 4)) == 1 + 1 + 100 + 90


def _beam_step_by_step(program: Program, width: int) -> tuple[int, ...]:
    """The beam search that looks at each state anew."""
    front = [schedule._first(program)]
    ended = []
    while front:
        ended += [state for state in front if not state.ready]
        reached = {}
        for state in front:
            for new in schedule._following(program, state):
                if new.done not in reached or new.peak < reached[new.done].peak:
                    reached[new.done] = new
        front = sorted(reached.values(), key=lambda state: (state.peak, state.live))[:width]
    return schedule._unwind(min(ended, key=lambda state: state.peak))


@quick
@given(programs(), st.integers(1, 4))
def test_a_beam_finds_what_one_finds_that_looks_at_each_state_anew(program, width):
    found = schedule._beam(program, width)
    assert is_valid(program, found)
    assert program.peak(found) == program.peak(_beam_step_by_step(program, width))


def reparametrized(blocks: int) -> Program:
    """Blocks of two branches whose kernels are computed from weights: 2 x 4 + 1 steps each.

    The kernels' steps may all come first, so that at each depth there are hundreds to choose from.
    """
    sizes, steps, given_ = [100], list[Step](), [0]
    makers: dict[int, int] = {}

    def step(inputs: list[int], size: int) -> int:
        needs = tuple(sorted({makers[i] for i in inputs if i in makers}))
        made = len(sizes)
        makers[made] = len(steps)
        sizes.append(size)
        steps.append(Step(needs, frozenset([*inputs, made]), (made,)))
        return made

    features = 0
    for block in range(blocks):
        branches = []
        for branch in range(2):
            given_.append(len(sizes))
            sizes.append(0)
            kernel = step([step([given_[-1]], 1 + block % 3)], 1 + (block + branch) % 3)
            wide = step([features, kernel], (20, 50, 100, 150)[(block + branch) % 4])
            branches.append(step([wide], (10, 30, 60)[block % 3]))
        features = step([features, *branches], 100)
    return Program(tuple(steps), tuple(sizes), frozenset(given_), frozenset([*given_, features]))


def test_a_long_program_takes_a_hundred_moves_a_step(monkeypatch):
    program = reparametrized(100)
    expected = _beam_step_by_step(reparametrized(12), schedule.BEAM)
    assert schedule._beam(reparametrized(12), schedule.BEAM) == expected
    moves = []
    move = Program.move

    def counted_move(self, *arguments, **options):
        moves.append(arguments)
        return move(self, *arguments, **options)

    monkeypatch.setattr(Program, "move", counted_move)
    order = schedule._beam(program, schedule.BEAM)
    assert is_valid(program, order)
    assert len(moves) < 100 * len(program.steps)
