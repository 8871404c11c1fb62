"""Edits that may lower the peak, found in a record and in the source; pure, no torch."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from srprof.advising.replay import Edit, InPlace, Move, Release, Replay, can_write_into
from srprof.advising.source import (
    Function,
    LastUse,
    Place,
    Statement,
    assigned_whole,
    enclosing_calls,
    expression,
    last_use,
    movable,
)
from srprof.advising.splitting import Split, is_fusion
from srprof.memory.model import alive_at, part_of
from srprof.tracing.records import Frame, Reference

Kind = Literal["del", "in-place", "order", "split"]

#: In this order edits are applied to a record, and of two that save the same the first is named.
STAGES: Mapping[Kind, int] = {"order": 0, "del": 1, "in-place": 2, "split": 3}

#: Element-wise calls that have a method `x.op_()`.
_METHODS = frozenset(
    "abs ceil clamp clamp_max clamp_min erf exp floor log neg reciprocal relu round rsqrt "
    "sigmoid sqrt square tanh".split()
)
#: Element-wise calls whose function in `torch.nn.functional` takes `inplace=True`.
_FUNCTIONS = frozenset("elu hardsigmoid hardswish hardtanh leaky_relu mish silu".split())
_COMMUTATIVE = frozenset({"add", "mul"})
_BINARY = _COMMUTATIVE | {"sub", "div"}


class Holder(NamedTuple):
    """A reference to a storage, and the call whose variable it is; 0 if it is no user's call's."""

    reference: Reference
    call: int


Holders = Mapping[int, Sequence[Holder]]
#: Gives the function that a frame runs, where its source can be read.
Functions = Callable[[Frame], Function | None]


@dataclass(frozen=True)
class Candidate:
    """An edit, as a person reads it.

    Attributes:
        write: what to do, in one line.
        line, other_line: of the edit; the second of two lines, else 0.
        places: calls of the function, or nodes, at which it acts.
        exact: results stay the same bit by bit.
    """

    kind: Kind
    edit: Edit
    write: str
    file: str
    line: int
    function: str
    places: int
    other_line: int = 0
    exact: bool = True


def candidates(
    base: Replay,
    current: Replay,
    peak: int,
    holders: Holders,
    functions: Functions,
    activations: Mapping[str, tuple[str, str]],
) -> Iterator[Candidate]:
    """Edits that may lower the level at a node.

    Args:
        base: the run as it was recorded; current: with the edits that were chosen already.
        peak: the node in the current record.
        holders: what references each storage at that node in the recorded run.
        functions: the source.
        activations: paths of modules that can be constructed with `inplace=True` and are not; for
            each the class that has it and its path in there.
    """
    yield from _releases(base, current, peak, holders, functions)
    yield from _in_place(base, current, peak, functions)
    yield from _in_place_modules(base, current, peak, functions, activations)
    yield from _moves(current, peak, functions)
    yield from _splits(base, current, peak, functions)


# -- del ----------------------------------------------------------------------------------------


def _releases(
    base: Replay, current: Replay, peak: int, holders: Holders, functions: Functions
) -> Iterator[Candidate]:
    groups: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    end = len(current.trace.nodes)
    for index in alive_at(current.trace, peak):
        storage = current.trace.storages[index]
        found = holders.get(index, ())
        calls = {holder.call for holder in found}
        if part_of(storage, peak, end) != "held" or len(calls) != 1 or 0 in calls:
            continue
        if all(h.reference.kind == "local" for h in found):
            variables = tuple(dict.fromkeys(_variable(h.reference) for h in found))
            groups.setdefault((calls.pop(), variables), []).append(index)
    for (call, names), members in groups.items():
        yield from _release(base, call, names, members, holders, functions)


def _variable(reference: Reference) -> str:
    """The variable itself: `feats` for `feats[2]`."""
    return reference.variable.partition("[")[0].partition(".")[0]


def _release(
    base: Replay,
    call: int,
    names: Sequence[str],
    members: Sequence[int],
    holders: Holders,
    functions: Functions,
) -> Iterator[Candidate]:
    frame = base.frame(base.spans[call][0], call)
    function = None if frame is None else functions(frame)
    storages = tuple(dict.fromkeys(s for m in members for s in _siblings(base, m, call)))
    if frame is None or function is None or not storages:
        return
    bound = {_variable(h.reference): h.reference.line for m in members for h in holders[m]}
    uses = [last_use(function, name, bound[name]) for name in names]
    last = _latest(uses)
    if last is None:
        return
    calls = len({owner for _, owner in storages})
    after, listed = last.statement, ", ".join(names)
    if not after.returns:
        yield Candidate("del", Release(storages, after), f"del {listed} after this line",
                        frame.file, after.last_line, frame.function, calls)  # fmt: skip
    if len(names) == 1 and names[0].isidentifier():
        for place in enclosing_calls(after, names):
            write = f"{names[0]} = {function.text(place)} on a line of its own before this one"
            yield Candidate("del", Release(storages, after, place), write, frame.file, after.line,
                            frame.function, calls)  # fmt: skip


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


# -- in place -----------------------------------------------------------------------------------


def _in_place(
    base: Replay, current: Replay, peak: int, functions: Functions
) -> Iterator[Candidate]:
    groups: dict[tuple[object, ...], list[int]] = {}
    computed: dict[tuple[int, Place, int], int] = {}
    for index, node in enumerate(base.trace.nodes):
        if base.frames[index] and base.frames[index][-1].place is not None:
            frame = base.frames[index][-1]
            if not node.is_view:
                key = (frame.call, frame.place or (0, 0, 0, 0), frame.called)
                computed[key] = computed.get(key, 0) + 1
    for index, node in enumerate(base.trace.nodes):
        if node.op not in _METHODS | _FUNCTIONS | _BINARY or not base.frames[index]:
            continue
        frame = base.frames[index][-1]
        place = frame.place or (0, 0, 0, 0)
        if computed.get((frame.call, place, frame.called)) == 1:
            groups.setdefault((frame.file, frame.first_line, place, node.op), []).append(index)
    for nodes in groups.values():
        frame, op = base.frames[nodes[0]][-1], base.trace.nodes[nodes[0]].op
        function = functions(frame)
        for operand in range(2 if op in _COMMUTATIVE else 1):
            if function is None or not _helps_at(current, nodes, operand, peak):
                continue
            write = _written_in_place(function, frame, op, operand, base, nodes[0])
            if write:
                yield Candidate("in-place", InPlace(tuple(nodes), operand), write, frame.file,
                                frame.line, frame.function, len(nodes))  # fmt: skip


def _in_place_modules(
    base: Replay,
    current: Replay,
    peak: int,
    functions: Functions,
    activations: Mapping[str, tuple[str, str]],
) -> Iterator[Candidate]:
    groups: dict[tuple[str, str], list[int]] = {}
    for index, node in enumerate(base.trace.nodes):
        if node.module in activations and node.op in _METHODS | _FUNCTIONS:
            groups.setdefault(activations[node.module], []).append(index)
    for (owner, path), nodes in groups.items():
        frames = base.frames[nodes[0]]
        if frames and functions(frames[-1]) and _helps_at(current, nodes, 0, peak):
            write = f"construct {path} of {owner}, which runs in this line, with inplace=True"
            yield Candidate("in-place", InPlace(tuple(nodes), 0), write, frames[-1].file,
                            frames[-1].line, frames[-1].function, len(nodes))  # fmt: skip


def _helps_at(current: Replay, nodes: Iterable[int], operand: int, peak: int) -> bool:
    """Whether input and result of one of the nodes are both alive at the peak."""
    storages = current.trace.storages
    for origin in nodes:
        index = current.by_origin.get(origin)
        if index is None or not can_write_into(current.trace, index, operand):
            return False
    for origin in nodes:
        node = current.trace.nodes[current.by_origin[origin]]
        both = (storages[node.inputs[operand].storage], storages[node.created[0]])
        if all(s.birth <= peak < s.death for s in both):
            return True
    return False


def _written_in_place(
    function: Function, frame: Frame, op: str, operand: int, base: Replay, node: int
) -> str:
    """What to write for an element-wise expression, "" if that is not clear."""
    shown = None if frame.place is None else expression(function, frame.place)
    if shown is None or frame.place is None:
        return ""
    old = function.text(frame.place)
    if isinstance(shown, ast.BinOp):
        sides = [shown.left, shown.right]
        if len(base.trace.nodes[node].inputs) == 1 and isinstance(shown.left, ast.Constant):
            operand = 1
        return f"{_atom(sides[operand])}.{op}_({ast.unparse(sides[1 - operand])}) for {old}"
    if not isinstance(shown, ast.Call):
        return ""
    arguments = list(shown.args)
    method = isinstance(shown.func, ast.Attribute) and not frame.called  # torch's own, no Python
    if method and isinstance(shown.func, ast.Attribute) and _owner(shown.func) != "torch":
        arguments.insert(0, shown.func.value)
    if len(arguments) <= operand or any(isinstance(a, ast.Starred) for a in arguments):
        return ""
    into = arguments.pop(operand)
    if op in _METHODS | _BINARY:
        rest = [ast.unparse(a) for a in arguments] + [ast.unparse(k) for k in shown.keywords]
        return f"{_atom(into)}.{op}_({', '.join(rest)}) for {old}"
    numbers = [v for v in base.trace.nodes[node].arguments[0][1:] if isinstance(v, (int, float))]
    given = ", ".join([ast.unparse(into), *map(repr, numbers)])
    return f"F.{op}({given}, inplace=True) for {old}"


def _owner(attribute: ast.Attribute) -> str:
    return ast.unparse(attribute.value)


def _atom(node: ast.expr) -> str:
    """An expression to which a method call can be appended."""
    text = ast.unparse(node)
    plain = isinstance(node, (ast.Name, ast.Attribute, ast.Subscript, ast.Call))
    return text if plain else f"({text})"


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
        for first in range(here + 1):
            for last in range(max(here, first + 1), len(block)):
                yield from _moves_between(frame, block, first, last, calls)


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
            write = f"exchange this line and line {block[last].line}"
        elif forward:
            write = f"move this line below line {block[last].last_line}"
        else:
            write = f"move this line above line {block[first].line}"
        moved, *crossed = block[first : last + 1] if forward else block[last:first:-1]
        if not forward:
            crossed = list(block[first:last])
        edit = Move(calls, moved, tuple(crossed), forward)
        target = block[last] if forward else block[first]
        yield Candidate("order", edit, write, frame.file, moved.line, frame.function, len(calls),
                        other_line=target.line)  # fmt: skip


# -- split --------------------------------------------------------------------------------------


def _splits(base: Replay, current: Replay, peak: int, functions: Functions) -> Iterator[Candidate]:
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
            yield Candidate("split", edit, _split_text(user, early), frame.file,
                            frame.line, frame.function, len(fusions), user.line,
                            exact=False)  # fmt: skip


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


def _split_text(user: Frame, early: bool) -> str:
    """The split in one line."""
    when = "each part as soon as it is made" if early else "all parts here"
    return f"split this cat and the 1x1 convolution in line {user.line}, {when}"
