"""How a split fusion is written: which lines, names and `del`s; or why that is left to a person.

Reads the source and the record; changes neither.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from srprof.advising.candidate import Holders
from srprof.advising.replay import Replay
from srprof.advising.rewrite import Part, SplitFusion
from srprof.advising.source import (
    Function,
    Place,
    Statement,
    assigned_whole,
    expression,
    last_use,
    place_of,
    within,
)
from srprof.advising.splitting import Split, lets_go

_AS_THEY_ARE = (ast.Name, ast.Attribute, ast.Subscript)


class _UnwritableError(Exception):
    """A person has to write it; says why."""


class _Calls(NamedTuple):
    """A concatenation and its convolution in a function's source.

    Attributes:
        joined, fused: the calls; parts: what is concatenated.
        block: the statements among which both are; first, last: those that have them.
    """

    function: Function
    joined: ast.Call
    fused: ast.Call
    parts: tuple[ast.expr, ...]
    block: tuple[Statement, ...]
    first: Statement
    last: Statement

    def check_bound(self, read: ast.expr, start: Statement, stop: Statement) -> None:
        """What an expression reads must be the same from a statement on until another."""
        between = self.block[start.number + 1 : stop.number]
        if any(_names(read) & statement.stores for statement in between):
            raise _UnwritableError(f"what {ast.unparse(read)} reads changes in between")


def split_rewrite(base: Replay, split: Split, function: Function, holders: Holders) -> SplitFusion:
    """What a split writes; `holders` has what references each storage at the concatenation."""
    line = base.frames[split.fusions[0][1]][-1].line
    try:
        return _rewrite(base, split, function, holders, line)
    except _UnwritableError as problem:
        return SplitFusion(line, split.early, problem=str(problem))


def _rewrite(
    base: Replay, split: Split, function: Function, holders: Holders, line: int
) -> SplitFusion:
    calls = _calls(base, split, function)
    cat, convolution, call = split.fusions[0]
    for node in _before(base, cat, call, calls.first):
        place = getattr(base.frame(node, call), "place", None)
        if place is None or not within(place, place_of(calls.joined)):
            raise _UnwritableError("something else in its statement is computed before it")
    tail, inside = _called(calls.fused.func, base.trace.nodes[convolution].module)
    name = assigned_whole(calls.last, place_of(calls.fused))
    named = split.named and name not in _names(calls.joined)
    total = name if named else _free(function, f"{tail}_sum")
    parts = _parts(base, split, calls, holders, total)
    let_go = calls.last.place if split.named else _total_let_go(base, split, calls)
    if named:  # the sum lives as long as the convolution's result did
        let_go = None
    return SplitFusion(
        line=line,
        early=split.early,
        cat=place_of(calls.joined),
        convolution=place_of(calls.fused),
        statement=calls.last.place,
        joined=None if calls.first == calls.last else calls.first.place,
        joins=assigned_whole(calls.first, place_of(calls.joined)),
        module=function.text(place_of(calls.fused.func)),
        inside=inside,
        total=total,
        weights=_free(function, f"{tail}_weights"),
        named=named,
        parts=parts,
        let_go=let_go,
    )


def _calls(base: Replay, split: Split, function: Function) -> _Calls:
    cat, convolution, _ = split.fusions[0]
    places = base.frames[cat][-1].place, base.frames[convolution][-1].place
    joined, fused = (None if p is None else expression(function, p) for p in places)
    if not isinstance(joined, ast.Call) or not isinstance(fused, ast.Call):
        raise _UnwritableError("it is not written as two calls")
    listed = joined.args[0] if joined.args else None
    if not isinstance(listed, (ast.List, ast.Tuple)):
        raise _UnwritableError("its parts are not written out in a list")
    if any(isinstance(part, ast.Starred) for part in listed.elts):
        raise _UnwritableError("its parts are not written out in a list")
    first, last = function.at(place_of(joined)), function.at(place_of(fused))
    if first is None or last is None or first[0] != last[0]:
        raise _UnwritableError("the two are not in one block")
    calls = _Calls(function, joined, fused, tuple(listed.elts), first[0], first[1], last[1])
    if len(fused.args) != 1 or fused.keywords:
        raise _UnwritableError("the convolution is called with more than its input")
    if fused.args[0] is not joined:
        _check_name(calls, fused.args[0])
    return calls


def _check_name(calls: _Calls, argument: ast.expr) -> None:
    """The concatenation's name is there for the convolution, and for nothing else."""
    name = assigned_whole(calls.first, place_of(calls.joined))
    if not name or not isinstance(argument, ast.Name) or argument.id != name:
        raise _UnwritableError("the convolution does not take it as it is")
    found = last_use(calls.function, name, calls.first.line, without=[place_of(calls.fused)])
    again = any(name in s.stores for s in calls.block[calls.first.number + 1 : calls.last.number])
    if again or found is None or found.statement != calls.first:
        raise _UnwritableError(f"{name} is read elsewhere too")


def _before(base: Replay, node: int, call: int, statement: Statement) -> Iterator[int]:
    """The nodes of a statement before one of it."""
    while node > 0:
        node -= 1
        frame = base.frame(node, call)
        if frame is None or not statement.holds(frame.line):
            return
        yield node


def _called(func: ast.expr, module: str) -> tuple[str, bool]:
    """The attribute that is called, and whether it is a Sequential that begins with the module."""
    depth = 0
    while isinstance(func, ast.Subscript):
        func, depth = func.value, depth + 1
    path = module.split(".")
    name = func.attr if isinstance(func, ast.Attribute) else ""
    if name and path[-1 - depth :][:1] == [name]:
        return name, False
    if name and path[-2 - depth :][:1] == [name] and path[-1] == "0":
        return name, True
    raise _UnwritableError("which module is called is not in plain sight")


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _free(function: Function, name: str) -> str:
    """A name that the function does not have."""
    taken = _names(function.node)
    while name in taken:
        name += "_"
    return name


def _parts(
    base: Replay, split: Split, calls: _Calls, holders: Holders, total: str
) -> tuple[Part, ...]:
    plans = [_afters(base, split, calls, fusion) for fusion in split.fusions]
    afters = plans[0]
    if any(plan != afters for plan in plans):
        raise _UnwritableError("its parts are made in another order at another place")
    earliest = min((s.number for s in afters if s), default=calls.first.number)
    calls.check_bound(calls.fused.func, calls.block[earliest], calls.last)
    fresh = []
    for index, (part, after) in enumerate(zip(calls.parts, afters, strict=True)):
        calls.check_bound(part, after or calls.first, calls.first)
        plain = after is not None or isinstance(part, _AS_THEY_ARE)
        fresh.append("" if plain else _free(calls.function, f"{total}_part{index}"))
    let_go = _let_go(base, split, calls, holders, afters, fresh)
    channels = _channels(base, split)
    return tuple(
        Part(
            place=place_of(part),
            channels=channels[index],
            after=after.place if after else None,
            fresh=fresh[index],
            let_go=tuple(let_go[index]),
        )
        for index, (part, after) in enumerate(zip(calls.parts, afters, strict=True))
    )


def _afters(
    base: Replay, split: Split, calls: _Calls, fusion: tuple[int, int, int]
) -> list[Statement | None]:
    """For each part the statement behind which it is convolved; None: where they are joined."""
    cat, _, call = fusion
    found: list[Statement | None] = []
    for info in base.trace.nodes[cat].inputs:
        if split.place(base, info.storage, cat, call) == cat:
            found.append(None)
            continue
        frame = base.frame(base.trace.storages[info.storage].birth, call)
        statement = next((s for s in calls.block if frame and s.holds(frame.line)), None)
        if statement is None or not statement.simple or statement.number >= calls.first.number:
            raise _UnwritableError("a part is made in another block")
        found.append(statement)
    return found


def _channels(base: Replay, split: Split) -> list[int]:
    """Channels of each part; the same at each place, or all of one place the same."""
    widths = [[i.shape[1] for i in base.trace.nodes[cat].inputs] for cat, _, _ in split.fusions]
    if any(w != widths[0] for w in widths) and any(len(set(w)) > 1 for w in widths):
        raise _UnwritableError("its parts have other widths at another place")
    return widths[0]


def _let_go(
    base: Replay,
    split: Split,
    calls: _Calls,
    holders: Holders,
    afters: Sequence[Statement | None],
    fresh: Sequence[str],
) -> list[list[tuple[str, Place | None]]]:
    """For each part the variables to delete, each with the statement behind which that is done.

    A variable goes with the last convolution that needs it, or behind the statement that still
    reads it, whichever is later.
    """
    cat, _, call = split.fusions[0]
    members: dict[str, set[int]] = {}
    lines: dict[str, int] = {}
    for index, info in enumerate(base.trace.nodes[cat].inputs):
        own = holders.get(info.storage, ()) if lets_go(base, info.storage, call) else ()
        for holder in (h for h in own if h.call == call):
            if holder.variable != holder.reference.variable:
                raise _UnwritableError(f"{holder.variable} holds other things beside a part")
            members.setdefault(holder.variable, set()).add(index)
            lines[holder.variable] = holder.reference.line
    found: list[list[tuple[str, Place | None]]] = [[(n, None)] if n else [] for n in fresh]
    numbers = [(after or calls.first).number for after in afters]
    seen = [_last_seen(base, split, calls, i.storage) for i in base.trace.nodes[cat].inputs]
    for name, indices in members.items():
        readers = {i for i, p in enumerate(calls.parts) if not fresh[i] and name in _names(p)}
        last = max(indices | readers, key=lambda i: (numbers[i], i))
        without = [place_of(calls.parts[i]) for i in readers]
        use = last_use(calls.function, name, lines[name], without)
        if use is None or use.block != calls.block:
            raise _UnwritableError(f"where {name} is last read is not one place")
        if use.statement.number > max(numbers[last], *(seen[i] for i in indices)):
            raise _UnwritableError(f"{name} is still read in line {use.statement.line}")
        in_turn = use.statement.number <= numbers[last]
        if in_turn and use.statement not in (calls.first, calls.last):
            found[last].append((name, None))
        elif not use.statement.returns:
            found[last].append((name, use.statement.place))
    return found


def _last_seen(base: Replay, split: Split, calls: _Calls, storage: int) -> int:
    """The number of the statement that uses a storage last in the recorded run."""
    cat, _, call = split.fusions[0]
    part = base.trace.storages[storage]
    frame = base.frame(max(use for use in (*part.uses, part.birth) if use != cat), call)
    last = next((s for s in calls.block if frame and s.holds(frame.line)), calls.last)
    return last.number


def _total_let_go(base: Replay, split: Split, calls: _Calls) -> Place | None:
    """The statement behind which the sum is read no more; None if the function ends there."""
    _, convolution, call = split.fusions[0]
    storage = base.trace.storages[base.trace.nodes[convolution].created[0]]
    frame = base.frame(max((convolution, *storage.uses)), call)
    statement = next((s for s in calls.block if frame and s.holds(frame.line)), calls.last)
    statement = max(statement, calls.last, key=lambda s: s.number)
    return None if statement.returns else statement.place
