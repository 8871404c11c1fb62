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
        """As `Edit`."""
        for fusion in self.fusions:
            changed = self._split(replay, *fusion)
            if changed is None:
                return None
            replay = changed
        return replay

    def _split(self, replay: Replay, cat: int, convolution: int, call: int) -> Replay | None:
        cat, convolution = (replay.by_origin.get(i, -1) for i in (cat, convolution))
        if not is_fusion(replay.trace, cat, convolution):
            return None
        if replay.trace.nodes[cat].created[0] in replay.bound:
            return None
        places = [self.place(replay, i.storage, cat, call) for i in replay.trace.nodes[cat].inputs]
        return _rebuilt(replay, cat, convolution, call, places, self)

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
    if len(joined.created) != 1 or len(fused.created) != 1:
        return False
    arguments, output = joined.arguments[0], joined.outputs[0]
    along = arguments[1] if len(arguments) > 1 else joined.arguments[1].get("dim", 0)
    storage = trace.storages[output.storage]
    weight = fused.inputs[1]
    alone = storage.uses == (convolution,) and not (storage.returned or storage.cached)
    plain = len(output.shape) == 4 and along in (1, -3) and weight.shape[2:] == (1, 1)
    whole = weight.shape[1] == output.shape[1] and trace.storages[weight.storage].resident
    return alone and plain and whole and _unpadded(fused)


def _unpadded(convolution: Node) -> bool:
    """Whether it has neither stride, padding, transposition nor groups."""
    arguments = convolution.arguments[0]
    if len(arguments) < 9:
        return False
    stride, padding, transposed, groups = (arguments[i] for i in (3, 4, 6, 8))
    return set(stride) == {1} and set(padding) == {0} and not transposed and groups == 1


def lets_go(replay: Replay, storage: int, call: int) -> bool:
    """Whether a storage is a call's own, so that the call can let it go."""
    part = replay.trace.storages[storage]
    ends = part.death <= replay.spans[call][1] and not part.returned
    alone = ends and storage not in replay.bound
    return alone and part.birth >= 0 and replay.frame(part.birth, call) is not None


def statement_end(replay: Replay, node: int, call: int, statements: Sequence[Statement]) -> int:
    """The node after the statement of a call in which a node is."""
    frame = replay.frame(node, call)
    statement = next((s for s in statements if frame and s.holds(frame.line)), None)
    span = None if statement is None else replay.executed(call, statement, node)
    return node + 1 if span is None else span[1]


def _rebuilt(
    replay: Replay,
    cat: int,
    convolution: int,
    call: int,
    places: Sequence[int],
    split: Split,
) -> Replay:
    """The record with the parts convolved at their places.

    `places` has for each input of the concatenation the node before which that is done.
    """
    trace = replay.trace
    parts = trace.nodes[cat].inputs
    order = sorted(range(len(parts)), key=lambda part: places[part])
    inserted: dict[int, list[tuple[str, int]]] = {}
    for rank, part in enumerate(order):
        steps = [("convolution", part)] + ([("add_", part)] if rank else [])
        inserted.setdefault(places[part], []).extend(steps)
    sequence: list[int | tuple[str, int]] = []
    starts: dict[int, int] = {}
    for old in range(len(trace.nodes)):
        starts[old] = len(sequence)
        sequence.extend(inserted.get(old, ()))
        if old not in (cat, convolution):
            sequence.append(old)
    starts[len(trace.nodes)] = len(sequence)
    return _Rebuilding(
        replay, cat, convolution, call, sequence, starts, order[0], split.named, split.statements
    ).result()


@dataclass(frozen=True)
class _Rebuilding:
    """The pieces of a record that is put together anew.

    Attributes:
        sequence: old nodes by index, and new ones by op and part.
        starts: where deaths before each old node now fall.
        first: the part whose convolution makes the sum.
    """

    replay: Replay
    cat: int
    convolution: int
    call: int
    sequence: Sequence[int | tuple[str, int]]
    starts: dict[int, int]
    first: int
    named: bool
    statements: Sequence[Statement]

    def result(self) -> Replay:
        """The new record."""
        trace = self.replay.trace
        new = {old: i for i, old in enumerate(self.sequence) if isinstance(old, int)}
        at = {step: i for i, step in enumerate(self.sequence) if not isinstance(step, int)}
        born = at["convolution", self.first]
        new_refs = {**new, self.convolution: born}
        storages = [self._moved(index, s, new, at) for index, s in enumerate(trace.storages)]
        sum_index = trace.nodes[self.convolution].created[0]
        storages[sum_index] = self._sum(storages[sum_index], born, at)
        gone = trace.nodes[self.cat].created[0]
        storages[gone] = replace(storages[gone], nbytes=0, birth=born, death=born, uses=())
        nodes, frames, origins = [], [], []
        for index, item in enumerate(self.sequence):
            if isinstance(item, int):
                nodes.append(replace(renumbered(trace.nodes[item], new_refs), index=index))
                frames.append(self.replay.frames[item])
                origins.append(self.replay.origins[item])
            else:
                nodes.append(self._node(index, *item, storages))
                frames.append(self._frames())
                origins.append(self.replay.origins[self.cat])
        record = replace(trace, nodes=tuple(nodes), storages=tuple(storages))
        return replace(self.replay, trace=record, frames=tuple(frames), origins=tuple(origins))

    def _moved(
        self,
        index: int,
        storage: Storage,
        new: dict[int, int],
        at: dict[tuple[str, int], int],
    ) -> Storage:
        """A storage at its new place; the concatenation's inputs are let go after their uses."""
        trace = self.replay.trace
        parts = [part for part, i in enumerate(trace.nodes[self.cat].inputs) if i.storage == index]
        uses = {new[use] for use in storage.uses if use in new}
        uses.update(at["convolution", part] for part in parts)
        operands = {i.storage for i in trace.nodes[self.convolution].inputs[1:]}
        if index in operands:
            uses.update(at["convolution", part] for part in range(len(at) // 2 + 1))
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

    def _sum(self, storage: Storage, born: int, at: dict[tuple[str, int], int]) -> Storage:
        """The convolution's result, which now is the sum from its first part on."""
        added = {index for (op, _), index in at.items() if op == "add_"}
        end = 0 if self.named else self.starts[self._let_go()]
        return replace(
            storage,
            birth=born,
            uses=tuple(sorted(added.union(storage.uses))),
            death=max(storage.death, end),
        )

    def _let_go(self) -> int:
        """The old node before which a sum with a name of its own is let go."""
        trace = self.replay.trace
        fused = trace.storages[trace.nodes[self.convolution].created[0]]
        last = max((self.convolution, *fused.uses))
        return statement_end(self.replay, last, self.call, self.statements)

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
        if part == self.first:
            output = total
        else:
            output = total._replace(storage=len(storages))
            storages.append(
                replace(
                    storages[total.storage], birth=index, death=index + 2, uses=(index + 1,),
                    returned=False, cached=False,
                )
            )  # fmt: skip
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
