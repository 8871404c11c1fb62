"""What changed between two analyses: peaks, where they are, what is alive there, nodes, counts.

Pure functions of the records that `srprof analyze --format json` writes, so that an analysis of
today compares with a file of last year. Nothing here runs a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import SequenceMatcher
from typing import Literal, TypeVar

from srprof import figures
from srprof.analysis.record import AnalysisRecord, LiveRecord, NodeRecord
from srprof.paths import short_path
from srprof.words import mib, mib_size, signed_size

T = TypeVar("T")

Fate = Literal["came", "went", "changed"]


@dataclass(frozen=True, slots=True)
class Change:
    """A figure before and after, in its own unit."""

    name: str
    before: int
    after: int

    @property
    def difference(self) -> int:
        """After less before."""
        return self.after - self.before

    @property
    def relative(self) -> float | None:
        """The difference as a fraction of what was before; None if that was nothing."""
        return self.difference / self.before if self.before else None


@dataclass(frozen=True, slots=True)
class Place:
    """A node of a run: where in the model and in the source it is."""

    index: int
    op: str
    module: str
    file: str
    line: int

    def __str__(self) -> str:
        where = f", {short_path(self.file)}:{self.line}" if self.file else ""
        return f"node {self.index} {self.op} in {self.module or 'the model'}{where}"


@dataclass(frozen=True, slots=True)
class PeakChange:
    """One peak, in bytes, and the nodes that have it; None where the analysis names none."""

    change: Change
    before: Place | None
    after: Place | None

    @property
    def moved(self) -> bool:
        """Whether it is now at another step of the network."""
        if self.before is None or self.after is None:
            return self.before is not self.after
        return (self.before.op, self.before.module) != (self.after.op, self.after.module)


@dataclass(frozen=True, slots=True)
class Live:
    """A storage alive at the eager peak.

    Attributes:
        variable, function: of the first reference; "(unknown)" and "" if nobody's is known.
        file, line: where that variable got it.
        part: of the memory model: input, output, kept or held. nbytes: its bytes.
        made_by: op and module of the node that made it, "" for what the caller gave.
    """

    variable: str
    function: str
    file: str
    line: int
    part: str
    nbytes: int
    shape: tuple[int, ...]
    made_by: str

    @property
    def named(self) -> bool:
        """Whether a variable is known that references it."""
        return bool(self.function)

    @property
    def keys(self) -> tuple[tuple[str, ...], ...]:
        """What it is recognised by in another run, the surest first; lines move in every edit."""
        if not self.named:
            return ((self.variable, self.made_by),)
        return (self.variable, self.function), (self.variable, "", self.made_by)


@dataclass(frozen=True, slots=True)
class TensorChange:
    """A storage that came to the eager peak, went from it, or has another size or part there."""

    fate: Fate
    before: Live | None
    after: Live | None

    @property
    def live(self) -> Live:
        """The one to name: as it is now, if it is there."""
        live = self.after or self.before
        assert live is not None
        return live

    @property
    def difference(self) -> int:
        """Bytes by which it raises the peak."""
        return (self.after.nbytes if self.after else 0) - (self.before.nbytes if self.before else 0)


@dataclass(frozen=True, slots=True)
class NodeChange:
    """A step of the network with the bytes referenced at its end; None where it is not there."""

    before: Place | None
    after: Place | None
    before_bytes: int | None
    after_bytes: int | None

    @property
    def place(self) -> Place:
        """The one to name: as it is now, if it is there."""
        place = self.after or self.before
        assert place is not None
        return place

    @property
    def difference(self) -> int | None:
        """Bytes; None for a node of one side only."""
        if self.before_bytes is None or self.after_bytes is None:
            return None
        return self.after_bytes - self.before_bytes


@dataclass(frozen=True, slots=True)
class Side:
    """What was compared: the model's SPEC, its input, and how memory was counted."""

    spec: str
    input: str
    granularity: int
    torch: str


@dataclass(frozen=True)
class Diff:
    """What changed.

    Attributes:
        before, after: what was compared.
        peaks: those that both sides have. net: the network's own bytes, which every peak contains.
        tensors: at the eager peak, the largest change first; with `net` their differences sum to
            the eager peak's.
        nodes: that came, that went, then those that changed, which may be because of them; the
            largest first of each.
        same_nodes: how many are as they were.
        counts: of complexity, by `srprof.figures`, that both sides know.
        notes: what one of the sides does not show.
    """

    before: Side
    after: Side
    peaks: tuple[PeakChange, ...]
    net: Change
    tensors: tuple[TensorChange, ...]
    nodes: tuple[NodeChange, ...]
    same_nodes: int
    counts: tuple[Change, ...]
    notes: tuple[str, ...] = ()

    def peak(self, name: str) -> PeakChange:
        """A peak by its name."""
        return next(peak for peak in self.peaks if peak.change.name == name)


@dataclass(frozen=True)
class Sketch:
    """As much of an analysis as is compared; a gate's baseline keeps no more.

    Attributes:
        side: what was analyzed. net: the network's own bytes.
        peaks: bytes by name. peak_places: the nodes that have them, where they are known.
        live: storages at the eager peak, in the order in which they were made.
        steps: the nodes in order, each with the bytes referenced at its end.
        counts: of complexity by name, those that are known.
        unseen: what the analysis does not show, one line each.
    """

    side: Side
    net: int
    peaks: Mapping[str, int]
    peak_places: Mapping[str, Place]
    live: tuple[Live, ...]
    steps: tuple[tuple[Place, int], ...]
    counts: Mapping[str, int]
    unseen: tuple[str, ...] = ()


def sketch(record: AnalysisRecord) -> Sketch:
    """What of a record is compared."""
    memory = record.memory
    nodes = {name: record.node(index) for name, index in memory.peak_node.items()}
    live = sorted(memory.live_at_peak, key=lambda s: (s.birth, s.storage))
    inputs = ", ".join(map(str, record.inputs))
    return Sketch(
        side=Side(record.model.spec, inputs, memory.granularity, record.torch),
        net=memory.net,
        peaks=memory.peak,
        peak_places={name: _place(node) for name, node in nodes.items() if node is not None},
        live=tuple(_live(item, record) for item in live),
        steps=tuple((_place(node), memory.net + node.referenced) for node in record.nodes),
        counts={f.name: int(v) for f in figures.counts() if (v := f.of(record)) is not None},
        unseen=tuple(part.text for part in record.unseen),
    )


def _place(node: NodeRecord) -> Place:
    return Place(node.index, node.op, node.module, node.file, node.line)


def _live(storage: LiveRecord, record: AnalysisRecord) -> Live:
    maker = record.node(storage.birth)
    bound = (storage.variable, storage.function, storage.file, storage.line)
    made_by = "" if maker is None else maker.step
    return Live(*bound, storage.part, storage.bytes, storage.shape, made_by)


def diff(before: AnalysisRecord, after: AnalysisRecord) -> Diff:
    """Compare two analyses."""
    return difference(sketch(before), sketch(after))


def difference(before: Sketch, after: Sketch) -> Diff:
    """Compare two sketches."""
    nodes, same = _step_changes(before.steps, after.steps)
    places = before.peak_places, after.peak_places
    return Diff(
        before=before.side,
        after=after.side,
        peaks=tuple(
            PeakChange(change, *(side.get(change.name) for side in places))
            for change in _changes(before.peaks, after.peaks)
        ),
        net=Change("net", before.net, after.net),
        tensors=_tensor_changes(before.live, after.live),
        nodes=nodes,
        same_nodes=same,
        counts=_changes(before.counts, after.counts),
        notes=tuple(f"{s.side.spec}: {text}" for s in (before, after) for text in s.unseen),
    )


def _changes(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[Change, ...]:
    """The figures that both sides have, in their order."""
    both = (name for name in figures.names() if name in before and name in after)
    return tuple(Change(name, before[name], after[name]) for name in both)


def _tensor_changes(before: Sequence[Live], after: Sequence[Live]) -> tuple[TensorChange, ...]:
    """Pair storages by their keys, in the order in which they were made; the rest came or went.

    The variable and its function go first; then, for a function that has another name now, the
    variable and the step that made its tensor.
    """
    pairs: dict[int, int] = {}
    for level in range(2):
        waiting: dict[tuple[str, ...], list[int]] = {}
        for i, live in enumerate(before):
            if i not in pairs.values() and level < len(live.keys):
                waiting.setdefault(live.keys[level], []).append(i)
        for j, live in enumerate(after):
            if j not in pairs and level < len(live.keys) and waiting.get(live.keys[level]):
                pairs[j] = waiting[live.keys[level]].pop(0)
    went = [TensorChange("went", b, None) for i, b in enumerate(before) if i not in pairs.values()]
    came = [TensorChange("came", None, a) for j, a in enumerate(after) if j not in pairs]
    both = ((before[i], after[j]) for j, i in pairs.items())
    other = ((b, a) for b, a in both if (b.nbytes, b.part) != (a.nbytes, a.part))
    changed = [TensorChange("changed", *pair) for pair in other]
    return tuple(sorted([*changed, *came, *went], key=lambda c: -abs(c.difference)))


def _step_changes(
    before: Sequence[tuple[Place, int]], after: Sequence[tuple[Place, int]]
) -> tuple[tuple[NodeChange, ...], int]:
    """Align the runs by op and module, and compare the bytes referenced at each node's end."""
    keys = [[(place.op, place.module) for place, _ in steps] for steps in (before, after)]
    matcher = SequenceMatcher(None, keys[0], keys[1], autojunk=False)
    both: list[NodeChange] = []
    went: list[NodeChange] = []
    came: list[NodeChange] = []
    for tag, start, stop, start_after, stop_after in matcher.get_opcodes():
        pair = before[start:stop], after[start_after:stop_after]
        if tag == "equal":
            steps = zip(*pair, strict=True)
            both += [NodeChange(b, a, was, now) for (b, was), (a, now) in steps]
        else:
            went += [NodeChange(place, None, nbytes, None) for place, nbytes in pair[0]]
            came += [NodeChange(None, place, None, nbytes) for place, nbytes in pair[1]]
    changed = [step for step in both if step.difference]
    changed.sort(key=lambda change: -abs(change.difference or 0))
    for one in (came, went):
        one.sort(key=lambda change: -(change.after_bytes or change.before_bytes or 0))
    return (*came, *went, *changed), len(both) - len(changed)


# -- in words -------------------------------------------------------------------------------------


def explain(changes: Diff) -> tuple[str, ...]:
    """The differences at the eager peak, one sentence each, the largest first."""
    net = changes.net.difference
    return (
        explain_peak(changes.peak("eager")),
        *((f"parameters and buffers: {signed_size(net)}",) if net else ()),
        *map(explain_tensor, changes.tensors),
    )


def explain_peak(peak: PeakChange) -> str:
    """Whether a peak changed, and where it was and is."""
    change = peak.change
    text = f"the {change.name} peak is {mib_size(change.after)} as before"
    if change.difference:
        text = (
            f"the {change.name} peak went from {mib(change.before)} to {mib_size(change.after)}, "
            f"{signed_size(change.difference)}"
        )
    if peak.moved:
        return f"{text}; it moved from {peak.before or 'no node'} to {peak.after or 'no node'}"
    return f"{text}; at {peak.after}" if peak.after else text


def explain_tensor(change: TensorChange) -> str:
    """`r_c2` in RFDB.forward, line 118, is now held at the peak, +49.61 MiB."""
    live = change.live
    name = f"`{live.variable}`" if live.named else f"the result of {live.made_by or 'the caller'}"
    where = f" in {live.function}" if live.named else ""
    where += f", line {live.line}," if live.line else ""
    alive = "held" if live.part == "held" else f"alive ({live.part})"
    if change.before is None:
        what = f"now {alive} at the peak"
    elif change.after is None:
        what = f"no longer {alive} at the peak"
    elif change.before.part != change.after.part:
        what = f"now {change.after.part} at the peak and was {change.before.part}"
    else:
        what = f"{'larger' if change.difference > 0 else 'smaller'} at the peak"
    return f"{name}{where} is {what}, {signed_size(change.difference)}"


# -- revisions ------------------------------------------------------------------------------------


def relocated(record: T, folder: str, prefix: str) -> T:
    """A record with files of a folder named from `prefix`, as `HEAD~1:net.py`."""
    if isinstance(record, tuple):
        return type(record)(relocated(item, folder, prefix) for item in record)
    if not is_dataclass(record) or isinstance(record, type):
        return record
    changes = {f.name: relocated(getattr(record, f.name), folder, prefix) for f in fields(record)}
    file = changes.get("file")
    if isinstance(file, str) and file.startswith(folder):
        changes["file"] = prefix + file[len(folder) :].lstrip("/\\")
    return replace(record, **changes)
