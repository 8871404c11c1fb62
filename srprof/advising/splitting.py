"""A concatenation that feeds a 1x1 convolution, as a sum of partial convolutions.

The weight is cut along its input channels; each part of the concatenation is convolved by itself
and added, so that the concatenated feature maps never exist. Results differ by rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from srprof.advising.replay import Replay, renumbered
from srprof.advising.source import Statement
from srprof.records import Frame, Node, Storage, TensorInfo, Trace


@dataclass(frozen=True)
class Split:
    """A fusion is split.

    Attributes:
        fusions: the concatenation and the convolution of each, by their indices in the recorded
            run, with the call of the function that makes both.
        early: each part is added as soon as it has been made, not when all have been.
        statements: of that function, those that have no blocks of their own.
        named: the sum gets the convolution's own name, and lives as long as that did; else it has
            a name of its own, which is let go (`del`) after the statement that reads it last.
    """

    fusions: tuple[tuple[int, int, int], ...]
    statements: tuple[Statement, ...]
    early: bool
    named: bool

    def apply(self, replay: Replay) -> Replay | None:
        for recorded_cat, recorded_convolution, call in self.fusions:
            cat = replay.by_origin.get(recorded_cat, -1)
            convolution = replay.by_origin.get(recorded_convolution, -1)
            if not is_fusion(replay.trace, cat, convolution):
                return None
            if replay.trace.nodes[cat].created[0] in replay.bound:
                return None
            replay = _Rebuilding(replay, cat, convolution, call, self).result()
        return replay

    def place(self, replay: Replay, storage: int, cat: int, call: int) -> int:
        """The node before which a part of the concatenation is convolved."""
        if not self.early:
            return cat
        birth = replay.trace.storages[storage].birth
        if birth < 0 or replay.frame(birth, call) is None:
            return cat
        ready = statement_end(replay, birth, call, self.statements)
        written = any(storage in n.written for n in replay.trace.nodes[ready:cat])
        return cat if written else min(ready, cat)


def is_fusion(trace: Trace, cat: int, convolution: int) -> bool:
    """Whether a node concatenates channels for a plain 1x1 convolution and for nothing else."""
    if min(cat, convolution) < 0:
        return False
    joined, fused = trace.nodes[cat], trace.nodes[convolution]
    if joined.op != "cat" or fused.op != "convolution" or len(joined.inputs) < 2:
        return False
    if not len(joined.created) == len(fused.created) == 1 or len(fused.arguments[0]) < 9:
        return False
    arguments, output, weight = joined.arguments[0], joined.outputs[0], fused.inputs[1]
    along = arguments[1] if len(arguments) > 1 else joined.arguments[1].get("dim", 0)
    storage = trace.storages[output.storage]
    alone = storage.uses == (convolution,) and not (storage.returned or storage.cached)
    plain = len(output.shape) == 4 and along in (1, -3) and weight.shape[2:] == (1, 1)
    whole = weight.shape[1] == output.shape[1] and trace.storages[weight.storage].resident
    stride, padding, transposed, groups = (fused.arguments[0][i] for i in (3, 4, 6, 8))
    unpadded = set(stride) == {1} and set(padding) == {0} and not transposed and groups == 1
    return alone and plain and whole and unpadded


def lets_go(replay: Replay, storage: int, call: int) -> bool:
    """Whether a storage is a call's own, so that the call can let it go."""
    part = replay.trace.storages[storage]
    ends = part.death <= replay.spans[call][1] and not (part.returned or part.cached)
    alone = ends and storage not in replay.bound
    return alone and part.birth >= 0 and replay.frame(part.birth, call) is not None


def statement_end(replay: Replay, node: int, call: int, statements: Sequence[Statement]) -> int:
    """The node after the statement of a call in which a node is."""
    frame = replay.frame(node, call)
    statement = next((s for s in statements if frame and s.holds(frame.line)), None)
    span = None if statement is None else replay.executed(call, statement, node)
    return node + 1 if span is None else span[1]


class _Rebuilding:
    """The pieces of a record that is put together anew, the parts convolved at their places.

    Attributes:
        sequence: old nodes by index, and new ones by op and part.
        starts: where deaths before each old node now fall.
        first: the part whose convolution makes the sum.
        new: where old nodes stand now; at: where new ones do.
    """

    def __init__(self, replay: Replay, cat: int, convolution: int, call: int, split: Split) -> None:
        self.replay, self.cat, self.convolution, self.call = replay, cat, convolution, call
        self.named, self.statements = split.named, split.statements
        parts = replay.trace.nodes[cat].inputs
        places = [split.place(replay, info.storage, cat, call) for info in parts]
        order = sorted(range(len(parts)), key=lambda part: places[part])
        self.first = order[0]
        inserted: dict[int, list[tuple[str, int]]] = {}
        for part in order:
            steps = [("convolution", part), *([("add_", part)] if part != self.first else [])]
            inserted.setdefault(places[part], []).extend(steps)
        self.sequence: list[int | tuple[str, int]] = []
        self.starts: dict[int, int] = {}
        for old in range(len(replay.trace.nodes) + 1):
            self.starts[old] = len(self.sequence)
            self.sequence.extend(inserted.get(old, ()))
            if old not in (cat, convolution, len(replay.trace.nodes)):
                self.sequence.append(old)
        self.new = {old: i for i, old in enumerate(self.sequence) if isinstance(old, int)}
        self.at = {s: i for i, s in enumerate(self.sequence) if not isinstance(s, int)}

    def result(self) -> Replay:
        trace = self.replay.trace
        born = self.at["convolution", self.first]
        new_refs = {**self.new, self.convolution: born}
        storages = [self._moved(index, storage) for index, storage in enumerate(trace.storages)]
        sum_index = trace.nodes[self.convolution].created[0]
        storages[sum_index] = self._sum(storages[sum_index], born)
        gone = trace.nodes[self.cat].created[0]
        storages[gone] = replace(storages[gone], nbytes=0, birth=born, death=born, uses=())
        nodes, frames, origins = [], [], []
        for index, item in enumerate(self.sequence):
            old = item if isinstance(item, int) else self.cat
            origins.append(self.replay.origins[old])
            if isinstance(item, int):
                nodes.append(replace(renumbered(trace.nodes[item], new_refs), index=index))
                frames.append(self.replay.frames[item])
            else:
                nodes.append(self._node(index, *item, storages))
                frames.append(self._frames())
        record = replace(trace, nodes=tuple(nodes), storages=tuple(storages))
        return replace(self.replay, trace=record, frames=tuple(frames), origins=tuple(origins))

    def _moved(self, index: int, storage: Storage) -> Storage:
        """A storage at its new place; the concatenation's inputs are let go after their uses."""
        trace, new, at = self.replay.trace, self.new, self.at
        parts = [part for part, i in enumerate(trace.nodes[self.cat].inputs) if i.storage == index]
        uses = {new[use] for use in storage.uses if use in new}
        operands = {i.storage for i in trace.nodes[self.convolution].inputs[1:]}
        convolved = range(len(at) // 2 + 1) if index in operands else parts
        uses.update(at["convolution", part] for part in convolved)
        moved = replace(
            storage,
            birth=new.get(storage.birth, storage.birth),
            uses=tuple(sorted(uses)),
            death=self.starts.get(storage.death, storage.death),
        )
        if not (parts and lets_go(self.replay, index, self.call)):
            return moved
        last = max(use for use in (*storage.uses, storage.birth) if use != self.cat)
        released = self.starts[statement_end(self.replay, last, self.call, self.statements)]
        done = max(at.get(("add_", part), at["convolution", part]) + 1 for part in parts)
        return replace(moved, death=min(moved.death, max(released, done)))

    def _sum(self, storage: Storage, born: int) -> Storage:
        """The convolution's result, which now is the sum from its first part on."""
        added = {index for (op, _), index in self.at.items() if op == "add_"}
        uses, end = tuple(sorted(added.union(storage.uses))), 0
        if not self.named:  # it has a name of its own, which is let go
            trace = self.replay.trace
            fused = trace.storages[trace.nodes[self.convolution].created[0]]
            last = max((self.convolution, *fused.uses))
            end = self.starts[statement_end(self.replay, last, self.call, self.statements)]
        return replace(storage, birth=born, uses=uses, death=max(storage.death, end))

    def _frames(self) -> tuple[Frame, ...]:
        """The frames of the function itself, as they are at the concatenation."""
        frames = self.replay.frames[self.cat]
        depth = next(i for i, frame in enumerate(frames) if frame.call == self.call)
        return frames[: depth + 1]

    def _node(self, index: int, op: str, part: int, storages: list[Storage]) -> Node:
        """A partial convolution, or its addition; its result's storage is entered."""
        trace = self.replay.trace
        fused, joined = trace.nodes[self.convolution], trace.nodes[self.cat]
        total = fused.outputs[0]
        if op == "add_":
            summand = len(storages) - 1
            inputs = (total, total._replace(storage=summand))
            return replace(
                fused, index=index, op=op, overload="Tensor", inputs=inputs, outputs=(total,),
                created=(), written=(total.storage,), arguments=((), {}),
            )  # fmt: skip
        output = total
        if part != self.first:
            output = total._replace(storage=len(storages))
            summand_of = replace(storages[total.storage], returned=False, cached=False)
            storages.append(replace(summand_of, birth=index, death=index + 2, uses=(index + 1,)))
        bias = fused.inputs[2:] if part == self.first else ()
        weight = _cut(fused.inputs[1], joined.inputs[part].shape[1])
        source = joined.arguments[0][0][part]
        arguments = (source, fused.arguments[0][1], None, *fused.arguments[0][3:])
        return replace(
            fused, index=index, inputs=(joined.inputs[part], weight, *bias), outputs=(output,),
            created=(output.storage,), arguments=(arguments, {}),
        )  # fmt: skip


def _cut(weight: TensorInfo, channels: int) -> TensorInfo:
    """The part of a weight that some input channels meet."""
    shape = (weight.shape[0], channels, *weight.shape[2:])
    nbytes = weight.nbytes // weight.shape[1] * channels
    return weight._replace(shape=shape, nbytes=nbytes)
