"""Edits on made-up runs, and what is read from source; sizes that can be summed in the head."""

from __future__ import annotations

from dataclasses import replace

import pytest

from srprof.advising.candidate import Candidate
from srprof.advising.replay import InPlace, Move, Release, Replay, can_write_into, settled
from srprof.advising.rewrite import Construct, Delete, ExchangeStatements, Rewrite
from srprof.advising.search import Search
from srprof.advising.source import (
    Function,
    enclosing_calls,
    last_use,
    movable,
    read_functions,
)
from srprof.memory.model import memory_model
from srprof.records import Frame, Storage
from tests.made_up import feature, image, made_up_trace, weight

SOURCE = """\
def forward(self, x):
    a = self.one(x)
    b = self.two(x)
    c = self.three(a)
    return self.five(self.four(c)) + b
"""


def function(source: str = SOURCE) -> Function:
    return read_functions(source)[1]


def replay(storages: list[Storage], lines: list[int], ops: list[str] | None = None) -> Replay:
    """One call of a function, with the line of each node."""
    trace = made_up_trace(storages, ops or ["op"] * len(lines))
    end = len(lines)
    trace = replace(
        trace, storages=tuple(replace(s, death=min(s.death, end)) for s in trace.storages)
    )
    frames = [(Frame(1, 0, "net.py", "Net.forward", 1, line, None),) for line in lines]
    return Replay.of(trace, frames)


def eager(found: Replay | None) -> list[int]:
    assert found is not None
    return [p.eager for p in memory_model(settled(found), granularity=1).parts]


def straight() -> Replay:
    """a (100), b (10), c (20) of SOURCE, then two calls in its last line; all die at the end."""
    return replay(
        [
            weight(1),
            image(5, 0, 1),
            feature(100, 0, 6, 2),
            feature(10, 1, 6, 5),
            feature(20, 2, 6, 3),
            feature(30, 3, 5, 4),
            feature(30, 4, 6, 5),
            feature(30, 5, 99, returned=True),
        ],
        [2, 3, 4, 5, 5, 5],
    )


def statement(line: int, source: str = SOURCE):
    """The innermost statement at a line."""
    return [s for block in function(source).blocks for s in block if s.holds(line)][-1]


# -- replay -------------------------------------------------------------------------------------


def test_del_lets_go_when_the_statement_has_run():
    before = straight()
    assert eager(before) == [106, 116, 136, 166, 196, 196]
    after = Release(((2, 1),), statement(4)).apply(before)
    assert eager(after) == [106, 116, 136, 66, 96, 96]


def test_del_of_what_is_needed_later_changes_nothing():
    before = straight()
    assert eager(Release(((4, 1),), statement(4)).apply(before)) == eager(before)


def test_a_call_on_a_line_of_its_own_keeps_its_value_in_the_variable():
    before = straight()
    places = [(5, 11, 5, 29), (5, 21, 5, 28)]  # self.five(...), self.four(c)
    frames = list(before.frames)
    for node, place in zip((3, 4), reversed(places), strict=True):
        frames[node] = (frames[node][0]._replace(place=place),)
    frames[5] = (frames[5][0]._replace(place=(5, 11, 5, 34)),)
    before = replace(before, frames=tuple(frames))
    after = Release(((4, 1),), statement(5), places[1]).apply(before)
    # c (20) is gone once `self.four(c)` is bound to its name; that (30) now lives to the end
    assert eager(after) == [106, 116, 136, 166, 176, 206]


def test_in_place_makes_one_storage_of_two():
    before = straight()
    after = InPlace((4,), 0).apply(before)
    assert after is not None
    assert eager(after) == [106, 116, 136, 166, 166, 196]
    node = after.trace.nodes[4]
    assert (node.op, node.created, node.written) == ("op_", (), (5,))
    assert after.trace.nodes[5].inputs[-1].storage == 5


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"role": "input", "birth": -1}, "an input of the model"),
        ({"role": "parameter", "birth": -1}, "a parameter"),
        ({"uses": (4, 5)}, "needed later"),
        ({"returned": True}, "the caller's"),
        ({"cached": True}, "a later call's"),
        ({"nbytes": 31}, "another size"),
    ],
)
def test_nothing_writes_into_what_must_stay(change, why):
    storages = list(straight().trace.storages)
    storages[5] = replace(storages[5], **change)
    before = replay(storages, [2, 3, 4, 5, 5, 5])
    index = next(i for i, s in enumerate(before.trace.nodes[4].inputs) if s.storage == 5)
    assert not can_write_into(before.trace, 4, index), why
    assert InPlace((4,), index).apply(before) is None
    assert can_write_into(straight().trace, 4, 0)


def test_nothing_writes_into_a_view_of_another_shape_or_strides():
    before = straight()
    node = before.trace.nodes[4]
    for change in ({"shape": (6, 5)}, {"strides": (2,)}, {"dtype": "int8"}, {"nbytes": 15}):
        nodes = list(before.trace.nodes)
        nodes[4] = replace(node, inputs=(node.inputs[0]._replace(**change),))
        assert not can_write_into(replace(before.trace, nodes=tuple(nodes)), 4, 0), change


def test_two_statements_change_places_with_what_they_let_go():
    """b is made after c: without a, if a has been let go."""
    block = function().body
    move = Move((1,), block[1], (block[2],), forward=True)
    after = move.apply(straight())
    assert eager(after) == [106, 126, 136, 166, 196, 196]
    assert after is not None and [f[0].line for f in after.frames] == [2, 4, 3, 5, 5, 5]
    both = Release(((2, 1),), block[2]).apply(after)
    assert eager(both) == [106, 126, 36, 66, 96, 96]
    back = Move((1,), block[1], (block[2],), forward=False).apply(after)
    assert eager(back) == eager(straight())


def test_a_statement_does_not_pass_one_that_it_depends_on():
    block = function().body
    assert Move((1,), block[0], (block[1], block[2]), forward=True).apply(straight()) is None
    assert not movable(block, 0, 2, forward=True)
    assert movable(block, 1, 2, forward=True) and movable(block, 1, 2, forward=False)


def test_a_statement_does_not_pass_one_that_writes_what_it_reads():
    before = straight()
    nodes = list(before.trace.nodes)
    nodes[2] = replace(nodes[2], written=(1,))
    before = replace(before, trace=replace(before.trace, nodes=tuple(nodes)))
    block = function().body
    assert Move((1,), block[1], (block[2],), forward=True).apply(before) is None


# -- search -------------------------------------------------------------------------------------


REWRITES: dict[str, Rewrite] = {
    "del": Delete(("a",), (4, 4, 4, 21), block=False),
    "in-place": Construct("Net", "act", "", None),
    "order": ExchangeStatements((3, 4, 3, 19), (4, 4, 4, 21)),
}


def candidate(edit, kind="del", line=4) -> Candidate:
    return Candidate(REWRITES[kind], edit, "net.py", line, "Net.forward", 1)


def levels(trace):
    return [p.eager for p in memory_model(trace, granularity=1).parts]


def test_the_search_goes_on_until_nothing_lowers_the_peak():
    dels = [candidate(Release(((2, 1),), statement(4))), candidate(InPlace((4,), 0), "in-place", 5)]
    useless = candidate(Release(((4, 1),), statement(5)), line=5)
    search = Search(straight(), levels)
    found = search.find(lambda replay, node: [useless, *dels])
    steps = search.in_order(found)
    assert steps[0].candidate is dels[0]
    assert useless not in found
    assert steps[0].saving == 196 - 136
    assert [s.peak_after for s in steps][-1] == 136


def test_a_budget_takes_the_fewest():
    one = candidate(Release(((2, 1),), statement(4)))
    two = candidate(InPlace((4,), 0), "in-place", 5)
    search = Search(straight(), levels)
    assert search.fewest([two, one], 196) == []
    assert search.fewest([two, one], 150) == [one]
    assert search.fewest([two, one], 100) is None


def test_exchanges_that_share_a_statement_are_not_combined():
    block = function().body
    first = candidate(Move((1,), block[1], (block[2],), forward=True), "order", 3)
    second = candidate(Move((1,), block[2], (block[1],), forward=False), "order", 4)
    search = Search(straight(), levels)
    assert search.outcome([first]) is not None
    assert search.outcome([first, second]) is None


# -- source -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "name", "bound", "line"),
    [
        ("a = f(x)\n    b = g(a)\n    return b", "a", 2, 3),
        ("a = f(x)\n    a = g(a)\n    return h(a)", "a", 2, None),  # bound anew where last read
        ("a = f(x)\n    a = g(a)\n    b = h(a)\n    return b", "a", 3, 4),
        ("a = f(x)\n    return lambda: a", "a", 2, None),
        ("a = f(x)\n    b = (g(a) +\n        1)\n    return b", "a", 2, 3),
        ("a = f(x)\n    for b in c:\n        d = g(a)\n    return d", "a", 2, 3),
        ("for b in c:\n        a = g(b)\n        d = h(a)\n    return d", "a", 3, 4),
        ("for b in c:\n        a = g(b)\n        d = h(a)\n    return a", "a", 3, None),
        ("a = x\n    for b in c:\n        d = g(a)\n        a = h(b)\n    return d", "a", 5, None),
        ("a = x\n    for b in c:\n        a = g(a)\n    return b", "a", 4, None),
        ("a = x\n    while a:\n        b = g(a)\n        a = h(b)\n    return b", "a", 5, None),
        ("a = x\n    if b:\n        a = g(a)\n    return b", "a", 4, 4),
        ("a = f(x)\n    return 1", "a", 2, 2),
        ("a = []\n    a.append(x)\n    b = f(a)\n    return b", "a", 3, 4),
    ],
)
def test_the_last_use_of_a_variable(body, name, bound, line):
    found = last_use(function(f"def forward(self, x):\n    {body}\n"), name, bound)
    assert (None if found is None else found.statement.line) == line


def test_calls_that_can_stand_on_a_line_of_their_own():
    found = enclosing_calls(statement(5), ["c"])
    assert [function().text(place) for place in found] == [
        "self.four(c)",
        "self.five(self.four(c))",
    ]
    assert enclosing_calls(statement(4), ["a"]) == []  # it is the whole value already


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a = f(x)", "b = g(a)"),
        ("a = f(x)", "a = g(x)"),
        ("a = f(b)", "b = g(x)"),
        ("self.cache = f(x)", "b = self.g(x)"),
        ("feats.append(f(x))", "b = g(feats[-1])"),
        ("a = f(x)", "if x:\n        a2 = 1"),
        ("a = f(x)", "return g(x)"),
    ],
)
def test_statements_that_must_keep_their_order(first, second):
    block = function(f"def forward(self, x):\n    {first}\n    {second}\n").body
    assert not movable(block, 0, 1, forward=True)


def test_no_function_is_read_from_what_is_no_python():
    assert read_functions("def forward(:") == {}
