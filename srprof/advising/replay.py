"""A recorded run, and what an edit of the source would make of it: a new record, or None.

An edit is applied at all its places at once, because it is one change of one line. Where it is not
legal at one of them there is no new record. Pure functions; no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, TypeVar

from srprof.advising.source import Place, Statement, within
from srprof.memory.model import last_needed, of_the_run, totals
from srprof.records import Frame, Node, Storage, TensorInfo, Trace

_Item = TypeVar("_Item")
#: Places in files, and an op with the number of its result.
Pattern = tuple[tuple[object, ...], ...]


@dataclass(frozen=True)
class Replay:
    """A record with the user's frames at each node, the outermost first.

    `origins` has for each node its index in the run that was recorded; for a node that an edit
    made, the index of the one in whose place it stands. `bound` has the storages that an edit gave
    another name: they live as long as that.

    Edits are tried by the hundred, so they leave each node as it was recorded, wherever it goes:
    its place in `trace.nodes` counts, and `settled` writes it into the node. References in a node's
    arguments stay those of the recorded run.
    """

    trace: Trace
    frames: tuple[tuple[Frame, ...], ...]
    origins: tuple[int, ...]
    bound: frozenset[int] = frozenset()

    @classmethod
    def of(cls, trace: Trace, frames: Sequence[tuple[Frame, ...]]) -> Replay:
        """The run as it was recorded."""
        return cls(trace, tuple(frames), tuple(range(len(trace.nodes))))

    @cached_property
    def by_origin(self) -> Mapping[int, int]:
        """Where each recorded node now stands."""
        return {origin: i for i, origin in reversed(list(enumerate(self.origins)))}

    @cached_property
    def spans(self) -> Mapping[int, tuple[int, int]]:
        """The first node of each call, and the first after it."""
        first, last = dict[int, int](), dict[int, int]()
        for index, frames in enumerate(self.frames):
            for frame in frames:
                call = frame.call
                if call not in last:
                    first[call] = index
                last[call] = index
        return {call: (index, last[call] + 1) for call, index in first.items()}

    def came_by(self, storage: int, call: int) -> Pattern | None:
        """How a storage came to a call: the lines from there down, and the op that made it."""
        birth = self.trace.storages[storage].birth
        if birth < 0 or self.frame(birth, call) is None:
            return None
        node, frames = self.trace.nodes[birth], self.frames[birth]
        if storage not in node.created:
            return None  # a number that torch wrapped for the call
        depth = next(i for i, frame in enumerate(frames) if frame.call == call)
        path = tuple((f.file, f.first_line, f.line, f.place) for f in frames[depth:])
        return (*path, (node.op, node.created.index(storage)))

    @cached_property
    def alike(self) -> Mapping[Pattern, Mapping[int, Sequence[int]]]:
        """The storages that came to each call in the same way, in their order."""
        found: dict[Pattern, dict[int, list[int]]] = {}
        for index, storage in enumerate(self.trace.storages):
            for frame in self.frames[storage.birth] if storage.birth >= 0 else ():
                pattern = self.came_by(index, frame.call)
                if pattern is not None:
                    found.setdefault(pattern, {}).setdefault(frame.call, []).append(index)
        return found

    def frame(self, node: int, call: int) -> Frame | None:
        """The frame of a call at a node, None if it was not running then."""
        return next((f for f in self.frames[node] if f.call == call), None)

    def executed(self, call: int, statement: Statement, start: int) -> tuple[int, int] | None:
        """The nodes of the first execution of a statement by a call from a node on: first, stop."""
        end = self.spans.get(call, (0, 0))[1]
        first = next((i for i in range(start, end) if self._holds(i, call, statement)), None)
        if first is None:
            return None
        stop, done = first + 1, [self.frame(first, call)]
        while stop < end and self._holds(stop, call, statement):
            frame = self.frame(stop, call)
            if statement.simple and begins_anew(frame, done):
                break
            done.append(frame)
            stop += 1
        return first, stop

    def _holds(self, node: int, call: int, statement: Statement) -> bool:
        frame = self.frame(node, call)
        return frame is not None and statement.holds(frame.line)


def begins_anew(frame: Frame | None, done: Sequence[Frame | None]) -> bool:
    """Whether an expression is evaluated again: a turn of a loop that has no other statement."""
    if frame is None or frame.place is None:
        return False
    for other in done:
        if other is None or other.place is None:
            continue
        if other.place != frame.place:
            if within(frame.place, other.place):
                return True
        elif frame.called and other.called and other.called != frame.called:
            return True
    return False


class Edit(Protocol):
    """A change of the source, as it acts on a record."""

    def apply(self, replay: Replay) -> Replay | None:
        """The record after it; None if it is not legal there."""


@dataclass(frozen=True)
class Release:
    """A variable lets go of its storage when a statement has run, or a call in it has.

    Attributes:
        storages: each with the call whose variable it is, and which alone holds it.
        after: the last statement that reads the variable.
        part: in the place of the statement's end, the end of this call in it, whose value is then
            bound to the variable.
    """

    storages: tuple[tuple[int, int], ...]
    after: Statement
    part: Place | None = None

    def apply(self, replay: Replay) -> Replay | None:
        values = set(replay.bound)
        storages = list(replay.trace.storages)
        for index, call in self.storages:
            span = replay.executed(call, self.after, max(storages[index].birth, 0))
            if span is None or not storages[index].nbytes:
                continue
            end = span[1]
            if self.part is not None:
                bound = value_of_part(replay, call, span, self.part)
                if bound is None:
                    return None
                end, value = bound
                values.add(value)
                longest = max(storages[value].death, replay.spans[call][1])
                storages[value] = replace(storages[value], death=longest)
            storage = storages[index]
            needed = last_needed(storage, len(replay.trace.nodes)) >= end  # by somebody else too
            if index not in replay.bound and not needed:
                storages[index] = replace(storage, death=min(storage.death, end))
        trace = replace(replay.trace, storages=tuple(storages))
        return replace(replay, trace=trace, bound=frozenset(values))


def value_of_part(
    replay: Replay, call: int, span: tuple[int, int], part: Place
) -> tuple[int, int] | None:
    """The node after a part of a statement, and the storage of the part's value.

    None if other parts are evaluated before it, or what the value is cannot be seen.
    """
    start, end = span
    frames = [(stop, replay.frame(stop, call)) for stop in range(start, end)]
    outside = (i for i, f in frames if f is None or f.place is None or not within(f.place, part))
    stop = next(outside, end)
    if stop in span:
        return None
    outputs = replay.trace.nodes[stop - 1].outputs
    if len(outputs) != 1:
        return None
    value = outputs[0].storage
    used = any(stop <= use < end for use in replay.trace.storages[value].uses)
    return (stop, value) if used else None


@dataclass(frozen=True)
class InPlace:
    """An element-wise call writes its result into one of its inputs.

    Attributes:
        nodes: where, by their index in the recorded run.
        operand: which of the inputs.
    """

    nodes: tuple[int, ...]
    operand: int

    def apply(self, replay: Replay) -> Replay | None:
        for origin in self.nodes:
            index = replay.by_origin.get(origin)
            if index is None or not can_write_into(replay.trace, index, self.operand):
                return None
            replay = _in_place(replay, index, self.operand)
        return replay


def can_write_into(trace: Trace, index: int, operand: int) -> bool:
    """Whether a node's result may take the place of an input.

    The input is a whole storage of the run with the result's shape, strides and dtype, which no
    later node, the caller or a later call needs.
    """
    node = trace.nodes[index]
    alone = len(node.created) == len(node.outputs) == 1 and not node.written
    if not alone or operand >= len(node.inputs):
        return False
    info, output = node.inputs[operand], node.outputs[0]
    if info.storage < 0:
        return False
    storage, result = trace.storages[info.storage], trace.storages[output.storage]
    same = info[1:] == output[1:] and info.nbytes == storage.nbytes == result.nbytes
    others = any(i.storage == info.storage and i != info for i in node.inputs)
    gone = storage.resident or storage.host or storage.cached or storage.birth < 0
    return same and not (others or gone) and last_needed(storage, len(trace.nodes)) == index


def _in_place(replay: Replay, index: int, operand: int) -> Replay:
    """The record in which a node's result and an input are one storage, the input's."""
    trace, node = replay.trace, replay.trace.nodes[index]
    into, gone = node.inputs[operand].storage, node.outputs[0].storage
    storages = list(trace.storages)
    first, second = storages[into], storages[gone]
    storages[into] = replace(
        first,
        death=max(first.death, second.death),
        uses=tuple(sorted({*first.uses, index, *second.uses})),
        returned=second.returned,
        cached=second.cached,
    )
    nothing = replace(second, nbytes=0, death=second.birth, uses=())
    storages[gone] = replace(nothing, returned=False, cached=False)
    nodes = list(trace.nodes)
    for place in {index, *second.uses}:
        nodes[place] = _with_storage(nodes[place], gone, into)
    nodes[index] = replace(nodes[index], op=node.op + "_", created=(), written=(into,))
    changed = replace(trace, storages=tuple(storages), nodes=tuple(nodes))
    bound = replay.bound | {into} if gone in replay.bound else replay.bound
    return replace(replay, trace=changed, bound=bound)


def _with_storage(node: Node, old: int, new: int) -> Node:
    """The node with one storage in the place of another."""

    def moved(infos: Iterable[TensorInfo]) -> tuple[TensorInfo, ...]:
        return tuple(i._replace(storage=new) if i.storage == old else i for i in infos)

    return replace(
        node,
        inputs=moved(node.inputs),
        outputs=moved(node.outputs),
        written=tuple(new if s == old else s for s in node.written),
    )


@dataclass(frozen=True)
class Move:
    """A statement of a function's outermost block goes behind another, or before it.

    Attributes:
        calls: of the function.
        moved: the statement; crossed: those that it passes, in their order.
        forward: it goes behind them.
    """

    calls: tuple[int, ...]
    moved: Statement
    crossed: tuple[Statement, ...]
    forward: bool

    def apply(self, replay: Replay) -> Replay | None:
        before = replay
        for call in self.calls:
            moved = _nodes_of(replay, call, (self.moved,))
            crossed = _nodes_of(replay, call, self.crossed)
            if moved is None or crossed is None:
                continue
            first, second = (moved, crossed) if self.forward else (crossed, moved)
            changed = _exchanged(replay, *first, second[1]) if first[1] == second[0] else None
            if changed is None:
                return None
            replay = changed
        return None if replay is before else replay


def _nodes_of(replay: Replay, call: int, statements: Sequence[Statement]) -> tuple[int, int] | None:
    """The nodes of statements that a call runs one after the other; None if they make none."""
    nodes = range(*replay.spans.get(call, (0, 0)))
    found = [i for i in nodes if any(replay._holds(i, call, s) for s in statements)]
    if not found or found[-1] - found[0] + 1 != len(found):
        return None
    return found[0], found[-1] + 1


def _exchanged(replay: Replay, start: int, middle: int, stop: int) -> Replay | None:
    """The record with two neighbouring ranges of nodes exchanged, if they are independent."""
    nodes = replay.trace.nodes
    if _depends(nodes[start:middle], nodes[middle:stop]):
        return None
    new = {old: old + stop - middle for old in range(start, middle)}
    new |= {old: old + start - middle for old in range(middle, stop)}
    storages = []
    for storage in replay.trace.storages:
        uses = storage.uses
        if storage.birth >= stop or max(storage.death - 1, *uses[-1:], -1) < start:
            storages.append(storage)
            continue
        birth = new.get(storage.birth, storage.birth)
        death = new.get(storage.death - 1, storage.death - 1) + 1
        if uses and uses[-1] >= start:
            uses = tuple(sorted(new.get(use, use) for use in uses))
        if uses and not birth <= uses[0] <= uses[-1] < max(death, uses[-1] + storage.host):
            return None
        storages.append(relocated(storage, birth, uses, death))

    def exchanged(items: tuple[_Item, ...]) -> tuple[_Item, ...]:
        return items[:start] + items[middle:stop] + items[start:middle] + items[stop:]

    return replace(
        replay,
        trace=replace(replay.trace, nodes=exchanged(nodes), storages=tuple(storages)),
        frames=exchanged(replay.frames),
        origins=exchanged(replay.origins),
    )


def relocated(storage: Storage, birth: int, uses: tuple[int, ...], death: int) -> Storage:
    """The storage at other nodes: itself where they are the same."""
    if (birth, uses, death) == (storage.birth, storage.uses, storage.death):
        return storage
    return storage.at(birth, death, uses)


def _depends(first: Sequence[Node], second: Sequence[Node]) -> bool:
    both = (first, second)
    touched = [{i.storage for n in nodes for i in (*n.inputs, *n.outputs)} for nodes in both]
    written = [{s for n in nodes for s in n.written} for nodes in both]
    made = {s for n in first for s in n.created}
    return bool((made | written[0]) & touched[1] or written[1] & touched[0])


def settled(replay: Replay) -> Trace:
    """The record with the index and the live bytes of each node as they now are."""
    trace = replay.trace
    spans = ((s.birth, s.death, s.nbytes) for s in filter(of_the_run, trace.storages))
    levels = enumerate(totals(spans, len(trace.nodes)))
    nodes = tuple(
        replace(node, index=index, live=live)
        for node, (index, live) in zip(trace.nodes, levels, strict=True)
    )
    return replace(trace, nodes=nodes)
