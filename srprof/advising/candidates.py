"""Edits that may lower the peak, found in a record and in the source; pure, no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from srprof.advising.candidate import Candidate, Holder, Look
from srprof.advising.elementwise import in_place, in_place_modules
from srprof.advising.fusion import split_rewrite
from srprof.advising.replay import Move, Release, Replay, value_of_part
from srprof.advising.rewrite import (
    BindCall,
    Construct,
    Delete,
    ExchangeStatements,
    MoveStatement,
    Rewrite,
)
from srprof.advising.source import (
    Function,
    Located,
    Place,
    Statement,
    assigned_whole,
    enclosing_calls,
    function_at,
    last_use,
    movable,
)
from srprof.advising.splitting import Split, is_fusion, lets_go
from srprof.memory.model import alive_at, part_of
from srprof.records import Frame


def candidates(
    base: Replay, current: Replay, peak: int, look: Look, activations: Mapping[str, Construct]
) -> Iterator[Candidate]:
    """Edits that may lower the level at a node.

    Args:
        base: the run as it was recorded; current: with the edits that were chosen already.
        peak: the node in the current record.
        look: gives what references each storage at a node of the recorded run.
        activations: by path, modules that can be constructed with `inplace=True` and are not.
    """
    yield from _releases(base, current, peak, look)
    yield from in_place(base, current, peak)
    yield from in_place_modules(base, current, peak, activations)
    yield from _moves(current, peak)
    yield from _splits(base, current, peak, look)


def _releases(base: Replay, current: Replay, peak: int, look: Look) -> Iterator[Candidate]:
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
        yield from _release(base, call, bound, members[0], look)


def _owner(holders: Sequence[Holder]) -> tuple[int, tuple[str, ...]] | None:
    """The one call that references a storage, and its variables that do; None if others do."""
    calls = {holder.call for holder in holders}
    if len(calls) != 1 or 0 in calls or any(h.reference.kind != "local" for h in holders):
        return None
    return calls.pop(), tuple(dict.fromkeys(h.variable for h in holders))


def _release(
    base: Replay, call: int, bound: Mapping[str, int], member: int, look: Look
) -> Iterator[Candidate]:
    """`del` of variables of a call; `bound` has a line for each at which it has its value."""
    frame = base.frame(base.spans[call][0], call)
    function = None if frame is None else function_at(frame.file, frame.first_line)
    if frame is None or function is None:
        return
    names = tuple(bound)
    last = _latest([last_use(function, name, line) for name, line in bound.items()])
    birth = base.trace.storages[member].birth
    span = None if last is None else base.executed(call, last.statement, max(birth, 0))
    if last is None or span is None:
        return
    after = last.statement

    def candidate(
        rewrite: Rewrite, end: int, part: Place | None = None, line: int = after.line
    ) -> Candidate:
        storages = _let_go(base, call, names, end, look)
        calls = len({owner for _, owner in storages})
        edit = Release(storages, after, part)
        return Candidate(rewrite, edit, frame.file, line, frame.function, calls)

    if not after.returns:
        delete = Delete(names, after.place, block=not after.simple)
        yield candidate(delete, span[1], line=after.last_line)
    for place in enclosing_calls(after, names) if len(names) == 1 else ():
        bound_at = value_of_part(base, call, span, place)
        end = len(base.trace.nodes) if bound_at is None else bound_at[0]
        bind = BindCall(names[0], place, function.text(place), after.place)
        yield candidate(bind, end, place)


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
            alone += _siblings(base, index, call)
    return tuple(dict.fromkeys(alone))


def _latest(uses: Sequence[Located | None]) -> Located | None:
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
    pattern = base.came_by(storage, call)
    if pattern is None:
        return []
    like = base.alike[pattern]
    turn = like[call].index(storage)
    found = [(made[turn], owner) for owner, made in like.items() if turn < len(made)]
    return [(s, owner) for s, owner in found if lets_go(base, s, owner)]


def _moves(current: Replay, peak: int) -> Iterator[Candidate]:
    for frame in current.frames[peak]:
        function = function_at(frame.file, frame.first_line)
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
    place = (like.file, like.first_line)
    frames = (frame for frames in replay.frames for frame in frames)
    return tuple(dict.fromkeys(f.call for f in frames if (f.file, f.first_line) == place))


def _moves_between(
    frame: Frame, block: Sequence[Statement], first: int, last: int, calls: tuple[int, ...]
) -> Iterator[Candidate]:
    for forward in (True, False):
        neighbours = last == first + 1
        if not movable(block, first, last, forward) or (neighbours and not forward):
            continue  # of neighbours both are the same exchange
        moved, target = block[first], block[last]
        crossed = block[first + 1 : last + 1]
        if not forward:
            moved, target, crossed = target, moved, block[first:last]
        rewrite: Rewrite = MoveStatement(moved.place, target.place, below=forward)
        if neighbours:
            rewrite = ExchangeStatements(moved.place, target.place)
        edit = Move(calls, moved, tuple(crossed), forward)
        yield Candidate(rewrite, edit, frame.file, moved.line, frame.function, len(calls),
                        other_line=target.line)  # fmt: skip


def _splits(base: Replay, current: Replay, peak: int, look: Look) -> Iterator[Candidate]:
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
        function = function_at(frame.file, frame.first_line)
        if function is None or not _lives_at(current, fusions, peak):
            continue
        statements = tuple(found.statement for found in function.simple_statements)
        holding = next((s for s in statements if s.holds(user.line)), None)
        name = "" if holding is None else assigned_whole(holding, user.place)
        others = (f[-1] if f else user for i, f in enumerate(base.frames) if i != convolution)
        if any((f.place, f.call, f.called) == (user.place, call, user.called) for f in others):
            name = ""
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
        inputs = current.trace.nodes[first].inputs
        parts = [current.trace.storages[info.storage] for info in inputs]
        end = max(last + 1, *(part.death for part in parts))
        if min(part.birth for part in parts) <= peak < end:
            return True
    return False


def _seen_before(function: Function, name: str, line: int) -> bool:
    return any(node.lineno < line for node in function.by_name.get(name, ()))
