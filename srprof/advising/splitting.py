"""A concatenation that feeds a 1x1 convolution, as a sum of partial convolutions.

The weight is cut along its input channels; each part of the concatenation is convolved by itself
and added, so that the concatenated feature maps never exist. Results differ by rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from srprof.advising.replay import Replay, relocated
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
        together: list[_Fusion] = []
        for recorded_cat, recorded_convolution, call in self.fusions:
            fusion = self._fusion(replay, recorded_cat, recorded_convolution, call)
            if together and (fusion is None or any(map(fusion.meets, together))):
                replay = _Rebuilding(replay, together, self).result()
                together = []
                fusion = self._fusion(replay, recorded_cat, recorded_convolution, call)
            if fusion is None:
                return None
            together.append(fusion)
        return _Rebuilding(replay, together, self).result()

    def _fusion(self, replay: Replay, cat: int, convolution: int, call: int) -> _Fusion | None:
        """A fusion of the recorded run as it now stands; None if it can be split no more."""
        cat, convolution = (replay.by_origin.get(i, -1) for i in (cat, convolution))
        if not is_fusion(replay.trace, cat, convolution):
            return None
        if replay.trace.nodes[cat].created[0] in replay.bound:
            return None
        parts = replay.trace.nodes[cat].inputs
        places = [self.place(replay, info.storage, cat, call) for info in parts]
        return _Fusion.of(replay.trace, cat, convolution, call, places)

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


@dataclass(frozen=True)
class _Fusion:
    """A fusion in a record.

    Attributes:
        parts: by storage, which parts of the concatenation it is.
        operands: storages of the convolution's weight and bias.
        touched: all storages of the run that the split changes.
        order: of the parts, that in which they are convolved; the first one makes the sum.
        places: the node before which each part is convolved.
    """

    cat: int
    convolution: int
    call: int
    parts: Mapping[int, Sequence[int]]
    operands: frozenset[int]
    touched: frozenset[int]
    order: Sequence[int]
    places: Sequence[int]

    @classmethod
    def of(
        cls, trace: Trace, cat: int, convolution: int, call: int, places: Sequence[int]
    ) -> _Fusion:
        joined, fused = trace.nodes[cat], trace.nodes[convolution]
        parts: dict[int, list[int]] = {}
        for part, info in enumerate(joined.inputs):
            parts.setdefault(info.storage, []).append(part)
        operands = frozenset(info.storage for info in fused.inputs[1:])
        touched = frozenset(parts).union(operands, joined.created, fused.created)
        order = sorted(range(len(places)), key=places.__getitem__)
        return cls(cat, convolution, call, parts, operands, touched, order, places)

    @property
    def first(self) -> int:
        """The part whose convolution makes the sum."""
        return self.order[0]

    @property
    def start(self) -> int:
        """The first node that is not where it was."""
        return self.places[self.first]

    def meets(self, earlier: _Fusion) -> bool:
        """Whether what is made of this one depends on whether an earlier one was split before."""
        return self.start <= earlier.convolution or not self.touched.isdisjoint(earlier.touched)

    def nodes(self) -> Iterator[tuple[int, _New]]:
        """The new nodes, each with the old one that it stands before."""
        for part in self.order:
            yield self.places[part], _New(self, "convolution", part)
            if part != self.first:
                yield self.places[part], _New(self, "add_", part)


class _New(NamedTuple):
    """A node that is made: a partial convolution, or its addition."""

    fusion: _Fusion
    op: str
    part: int


#: Where a node stands that is no more.
_GONE = -1


class _Rebuilding:
    """The pieces of a record that is put together anew, the parts convolved at their places.

    Attributes:
        fusions: none of which meets another.
        sequence: old nodes by index, and new ones.
        starts: where deaths before each old node now fall.
        new: where old nodes stand now, _GONE if nowhere; at: where new ones do, by the
            concatenation, op and part.
    """

    def __init__(self, replay: Replay, fusions: Sequence[_Fusion], split: Split) -> None:
        self.replay, self.fusions = replay, fusions
        self.named, self.statements = split.named, split.statements
        inserted: dict[int, list[_New]] = {}
        for fusion in fusions:
            for place, node in fusion.nodes():
                inserted.setdefault(place, []).append(node)
        gone = {node for fusion in fusions for node in (fusion.cat, fusion.convolution)}
        end = len(replay.trace.nodes)
        self.sequence: list[int | _New] = []
        self.starts: list[int] = []
        for old in range(end + 1):
            self.starts.append(len(self.sequence))
            self.sequence.extend(inserted.get(old, ()))
            if old != end and old not in gone:
                self.sequence.append(old)
        self.new = [_GONE] * end
        self.at: dict[tuple[int, str, int], int] = {}
        for index, item in enumerate(self.sequence):
            if isinstance(item, int):
                self.new[item] = index
            else:
                self.at[item.fusion.cat, item.op, item.part] = index

    def result(self) -> Replay:
        trace = self.replay.trace
        start = min(fusion.start for fusion in self.fusions)
        storages = [
            storage if max((storage.death, *storage.uses)) <= start else self._moved(storage)
            for storage in trace.storages
        ]
        for fusion in self.fusions:
            self._split(fusion, storages)
        nodes, frames, origins = [], [], []
        for index, item in enumerate(self.sequence):
            if isinstance(item, int):
                nodes.append(trace.nodes[item])
                frames.append(self.replay.frames[item])
                origins.append(self.replay.origins[item])
            else:
                nodes.append(self._node(index, *item, storages))
                frames.append(self._frames(item.fusion))
                origins.append(self.replay.origins[item.fusion.cat])
        record = replace(trace, nodes=tuple(nodes), storages=tuple(storages))
        return replace(self.replay, trace=record, frames=tuple(frames), origins=tuple(origins))

    def _moved(self, storage: Storage) -> Storage:
        """A storage at its new place."""
        new, birth = self.new, storage.birth
        uses = tuple([new[use] for use in storage.uses if new[use] != _GONE])
        if birth >= 0 and new[birth] != _GONE:
            birth = new[birth]
        return relocated(storage, birth, uses, self.starts[storage.death])

    def _split(self, fusion: _Fusion, storages: list[Storage]) -> None:
        """Enter what one fusion's storages are now; its parts are let go after their uses."""
        old, convolved = self.replay.trace.storages, range(len(fusion.order))
        for index in fusion.operands.union(fusion.parts):
            parts = fusion.parts.get(index, ())
            used_by = convolved if index in fusion.operands else parts
            added = {self.at[fusion.cat, "convolution", part] for part in used_by}
            uses = tuple(sorted(added.union(storages[index].uses)))
            death = storages[index].death
            if parts and lets_go(self.replay, index, fusion.call):
                last = max(n for n in (*old[index].uses, old[index].birth) if n != fusion.cat)
                death = min(death, max(self._let_go_after(fusion, last), self._done(fusion, parts)))
            storages[index] = replace(storages[index], uses=uses, death=death)
        trace, born = self.replay.trace, self.at[fusion.cat, "convolution", fusion.first]
        total = trace.nodes[fusion.convolution].created[0]
        storages[total] = self._sum(fusion, storages[total], born)
        gone = trace.nodes[fusion.cat].created[0]
        storages[gone] = replace(storages[gone], nbytes=0, birth=born, death=born, uses=())

    def _let_go_after(self, fusion: _Fusion, node: int) -> int:
        """Where a storage dies that is let go behind the statement in which an old node is."""
        end = statement_end(self.replay, node, fusion.call, self.statements)
        return self.starts[end]

    def _done(self, fusion: _Fusion, parts: Sequence[int]) -> int:
        """The node after the last that reads some of the parts."""
        steps = (("convolution" if part == fusion.first else "add_", part) for part in parts)
        return max(self.at[fusion.cat, op, part] + 1 for op, part in steps)

    def _sum(self, fusion: _Fusion, storage: Storage, born: int) -> Storage:
        """The convolution's result, which now is the sum from its first part on."""
        added = {self.at[fusion.cat, "add_", part] for part in fusion.order[1:]}
        uses, end = tuple(sorted(added.union(storage.uses))), 0
        if not self.named:  # it has a name of its own, which is let go
            trace = self.replay.trace
            fused = trace.storages[trace.nodes[fusion.convolution].created[0]]
            end = self._let_go_after(fusion, max((fusion.convolution, *fused.uses)))
        return replace(storage, birth=born, uses=uses, death=max(storage.death, end))

    def _frames(self, fusion: _Fusion) -> tuple[Frame, ...]:
        """The frames of the function itself, as they are at the concatenation."""
        frames = self.replay.frames[fusion.cat]
        depth = next(i for i, frame in enumerate(frames) if frame.call == fusion.call)
        return frames[: depth + 1]

    def _node(
        self, index: int, fusion: _Fusion, op: str, part: int, storages: list[Storage]
    ) -> Node:
        """A partial convolution, or its addition; its result's storage is entered."""
        trace = self.replay.trace
        fused, joined = trace.nodes[fusion.convolution], trace.nodes[fusion.cat]
        total = fused.outputs[0]
        if op == "add_":
            summand = len(storages) - 1
            inputs = (total, total._replace(storage=summand))
            return replace(
                fused, index=index, op=op, overload="Tensor", inputs=inputs, outputs=(total,),
                created=(), written=(total.storage,), arguments=((), {}),
            )  # fmt: skip
        output = total
        if part != fusion.first:
            output = total._replace(storage=len(storages))
            summand_of = replace(storages[total.storage], returned=False, cached=False)
            storages.append(replace(summand_of, birth=index, death=index + 2, uses=(index + 1,)))
        bias = fused.inputs[2:] if part == fusion.first else ()
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
