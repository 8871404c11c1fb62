"""Edits that may lower the peak, found in a record and in the source; pure, no torch."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence

from srprof.advising.candidate import Activation, Candidate, Functions, Holder, Look
from srprof.advising.elementwise import in_place, in_place_modules
from srprof.advising.fusion import split_rewrite
from srprof.advising.replay import Move, Release, Replay, value_of_part
from srprof.advising.rewrite import BindCall, Delete, ExchangeStatements, MoveStatement, Rewrite
from srprof.advising.source import (
    Function,
    LastUse,
    Statement,
    assigned_whole,
    enclosing_calls,
    last_use,
    movable,
)
from srprof.advising.splitting import Split, is_fusion
from srprof.memory.model import alive_at, part_of
from srprof.records import Frame


def candidates(
    base: Replay,
    current: Replay,
    peak: int,
    look: Look,
    functions: Functions,
    activations: Mapping[str, Activation],
) -> Iterator[Candidate]:
    """Edits that may lower the level at a node.

    Args:
        base: the run as it was recorded; current: with the edits that were chosen already.
        peak: the node in the current record.
        look: gives what references each storage at a node of the recorded run.
        functions: the source.
        activations: by path, modules that can be constructed with `inplace=True` and are not.
    """
    yield from _releases(base, current, peak, look, functions)
    yield from in_place(base, current, peak, functions)
    yield from in_place_modules(base, current, peak, functions, activations)
    yield from _moves(current, peak, functions)
    yield from _splits(base, current, peak, look, functions)


# -- del ----------------------------------------------------------------------------------------


def _releases(
    base: Replay, current: Replay, peak: int, look: Look, functions: Functions
) -> Iterator[Candidate]:
    groups: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    end = len(current.trace.nodes)
    holders = look(current.origins[peak])
    for index in alive_at(current.trace, peak):
        storage = current.trace.storages[index]
        held = part_of(storage, peak, end) == "held"
        owner = _owner(holders.get(index, ())) if held else None
        if owner is not None:
            groups.setdefault(owner, []).append(index)
    for (call, _), members in groups.items():
        bound = {h.variable: h.reference.line for m in members for h in holders[m]}
        yield from _release(base, call, bound, members[0], look, functions)


def _owner(holders: Sequence[Holder]) -> tuple[int, tuple[str, ...]] | None:
    """The one call that references a storage, and its variables that do; None if others do."""
    calls = {holder.call for holder in holders}
    if len(calls) != 1 or 0 in calls or any(h.reference.kind != "local" for h in holders):
        return None
    return calls.pop(), tuple(dict.fromkeys(h.variable for h in holders))


def _release(
    base: Replay,
    call: int,
    bound: Mapping[str, int],
    member: int,
    look: Look,
    functions: Functions,
) -> Iterator[Candidate]:
    """`del` of variables of a call; `bound` has a line for each at which it has its value."""
    frame = base.frame(base.spans[call][0], call)
    function = None if frame is None else functions(frame)
    if frame is None or function is None:
        return
    names = tuple(bound)
    last = _latest([last_use(function, name, line) for name, line in bound.items()])
    birth = base.trace.storages[member].birth
    span = None if last is None else base.executed(call, last.statement, max(birth, 0))
    if last is None or span is None:
        return
    after = last.statement
    if not after.returns:
        storages = _let_go(base, call, names, span[1], look)
        edit, calls = Release(storages, after), len({owner for _, owner in storages})
        delete = Delete(names, after.place, block=not after.simple)
        yield Candidate(delete, edit, frame.file, after.last_line, frame.function, calls)
    for place in enclosing_calls(after, names) if len(names) == 1 else ():
        bound_at = value_of_part(base, call, span, place)
        storages = () if bound_at is None else _let_go(base, call, names, bound_at[0], look)
        calls = len({owner for _, owner in storages})
        bind = BindCall(names[0], place, function.text(place), after.place)
        edit = Release(storages, after, place)
        yield Candidate(bind, edit, frame.file, after.line, frame.function, calls)


def _let_go(
    base: Replay, call: int, names: Sequence[str], node: int, look: Look
) -> tuple[tuple[int, int], ...]:
    """Storages that nothing but variables of a call holds at a node, in each such call."""
    if node >= len(base.trace.nodes):
        return ()
    alone = []
    for index, holders in look(node).items():
        owner = _owner(holders)
        if owner is not None and owner[0] == call and set(owner[1]) <= set(names):
            alone.append(index)
    return tuple(dict.fromkeys(pair for index in alone for pair in _siblings(base, index, call)))


def _latest(uses: Sequence[LastUse | None]) -> LastUse | None:
    """The last of several last uses, if they are in one block."""
    found = [use for use in uses if use is not None]
    if not found or len(found) < len(uses) or any(u.block != found[0].block for u in found):
        return None
    return max(found, key=lambda use: use.statement.number)


def _siblings(base: Replay, storage: int, call: int) -> list[tuple[int, int]]:
    """The storages that the same line of a function made in each of its calls, with the call.

    Only those that the function itself got from there, and that die with it at the latest. Of
    several that a loop made in one call it is the same turn's.
    """
    pattern = _pattern(base, storage, call)
    if pattern is None:
        return []
    like: dict[int, list[int]] = {}
    for index, other in enumerate(base.trace.storages):
        if other.birth < 0:
            continue
        for frame in base.frames[other.birth]:
            same = (frame.file, frame.first_line) == pattern[0][:2]
            if same and _pattern(base, index, frame.call) == pattern:
                like.setdefault(frame.call, []).append(index)
    turn = like[call].index(storage)
    found = [(made[turn], owner) for owner, made in like.items() if turn < len(made)]
    return [(s, owner) for s, owner in found if _dies_within(base, s, owner)]


def _dies_within(base: Replay, storage: int, call: int) -> bool:
    """Whether nothing holds it when the call has ended."""
    found = base.trace.storages[storage]
    return not (found.returned or found.cached) and found.death <= base.spans[call][1]


def _pattern(base: Replay, storage: int, call: int) -> tuple[tuple[object, ...], ...] | None:
    """How a storage came to a call: the lines from there down, and the op that made it."""
    birth = base.trace.storages[storage].birth
    if birth < 0 or base.frame(birth, call) is None:
        return None
    if storage not in base.trace.nodes[birth].created:
        return None  # a number that torch wrapped for the call
    frames = base.frames[birth]
    depth = next(i for i, frame in enumerate(frames) if frame.call == call)
    node = base.trace.nodes[birth]
    path = tuple((f.file, f.first_line, f.line, f.place) for f in frames[depth:])
    return (*path, (node.op, node.created.index(storage)))


# -- order --------------------------------------------------------------------------------------


def _moves(current: Replay, peak: int, functions: Functions) -> Iterator[Candidate]:
    for frame in current.frames[peak]:
        function = functions(frame)
        if function is None:
            continue
        block = function.body
        here = next((s.number for s in block if s.holds(frame.line)), None)
        if here is None:
            continue
        calls = calls_of(current, frame)
        computing = _computing(current, block, calls)
        for first in range(here + 1):
            for last in range(max(here, first + 1), len(block) - 1):
                # what a statement without a node lets go is not told from what its neighbour does
                if not computing.issuperset(range(first, last + 2)):
                    break
                yield from _moves_between(frame, block, first, last, calls)


def _computing(replay: Replay, block: Sequence[Statement], calls: Sequence[int]) -> set[int]:
    """Numbers of the statements that make a node in each of the calls."""
    found = {s.number for s in block}
    for call in calls:
        frames = (replay.frame(i, call) for i in range(*replay.spans[call]))
        lines = {frame.line for frame in frames if frame is not None}
        found &= {s.number for s in block if any(map(s.holds, lines))}
    return found


def calls_of(replay: Replay, like: Frame) -> tuple[int, ...]:
    """The calls of the function that a frame runs."""
    found = {
        frame.call: None
        for frames in replay.frames
        for frame in frames
        if (frame.file, frame.first_line) == (like.file, like.first_line)
    }
    return tuple(found)


def _moves_between(
    frame: Frame, block: Sequence[Statement], first: int, last: int, calls: tuple[int, ...]
) -> Iterator[Candidate]:
    for forward in (True, False):
        if not movable(block, first, last, forward):
            continue
        if last == first + 1:
            if not forward:
                continue  # the same exchange
            rewrite: Rewrite = ExchangeStatements(block[first].place, block[last].place)
        elif forward:
            rewrite = MoveStatement(block[first].place, block[last].place, below=True)
        else:
            rewrite = MoveStatement(block[last].place, block[first].place, below=False)
        moved, *crossed = block[first : last + 1] if forward else block[last:first:-1]
        if not forward:
            crossed = list(block[first:last])
        edit = Move(calls, moved, tuple(crossed), forward)
        target = block[last] if forward else block[first]
        yield Candidate(rewrite, edit, frame.file, moved.line, frame.function, len(calls),
                        other_line=target.line)  # fmt: skip


# -- split --------------------------------------------------------------------------------------


def _splits(
    base: Replay, current: Replay, peak: int, look: Look, functions: Functions
) -> Iterator[Candidate]:
    groups: dict[tuple[object, ...], list[tuple[int, int, int]]] = {}
    for index, node in enumerate(base.trace.nodes):
        if node.op != "cat" or not node.created or not base.frames[index]:
            continue
        uses = base.trace.storages[node.created[0]].uses
        if len(uses) != 1 or not is_fusion(base.trace, index, uses[0]):
            continue
        frame, user = base.frames[index][-1], base.frames[uses[0]][-1]
        if frame.call == user.call:
            key = (frame.file, frame.first_line, frame.line, frame.place, user.line, user.place)
            groups.setdefault(key, []).append((index, uses[0], frame.call))
    for fusions in groups.values():
        cat, convolution, call = fusions[0]
        frame, user = base.frames[cat][-1], base.frames[convolution][-1]
        function = functions(frame)
        if function is None or not _lives_at(current, fusions, peak):
            continue
        statements = function.plain_statements()
        holding = next((s for s in statements if s.holds(user.line)), None)
        name = "" if holding is None else assigned_whole(holding, user.place)
        alone = sum(
            f.place == user.place and f.call == call
            for i in range(len(base.frames))
            if (f := base.frames[i][-1] if base.frames[i] else user)
            and f.called == user.called
            and i != convolution
        )
        name = "" if alone else name
        for early in (True, False):
            named = bool(name) and not (early and _seen_before(function, name, user.line))
            edit = Split(tuple(fusions), statements, early, named)
            rewrite = split_rewrite(base, edit, function, look(cat))
            yield Candidate(rewrite, edit, frame.file, frame.line, frame.function, len(fusions),
                            user.line, exact=False)  # fmt: skip


def _lives_at(current: Replay, fusions: Sequence[tuple[int, int, int]], peak: int) -> bool:
    """Whether the peak is between the first part of one of the fusions and its convolution."""
    for cat, convolution, _ in fusions:
        first, last = (current.by_origin.get(i) for i in (cat, convolution))
        if first is None or last is None:
            return False
        parts = current.trace.nodes[first].inputs
        births = [current.trace.storages[i.storage].birth for i in parts]
        deaths = [current.trace.storages[i.storage].death for i in parts]
        if min(births) <= peak < max(last + 1, *deaths):
            return True
    return False


def _seen_before(function: Function, name: str, line: int) -> bool:
    return any(
        isinstance(n, ast.Name) and n.id == name and n.lineno < line
        for n in ast.walk(function.node)
    )
