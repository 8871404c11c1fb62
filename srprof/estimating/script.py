"""What of a trace decides its memory, without the sizes: storages that come and go, in order.

Only nodes that make storages of the device can be a peak: what is alive behind any other was alive
behind the one before it. So lives are counted in such nodes, and two traces are of one graph if
these lives are the same, however many views stand between. Pure; no torch.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

from srprof.inputs import ITEMSIZE
from srprof.memory.model import held_span, last_needed, of_the_run
from srprof.memory.simulation import KEPT_BY
from srprof.memory.workspace import WorkspaceTable
from srprof.ops import row
from srprof.records import Node, Storage, Trace

#: A step of a program: the index of the block that comes (0 and more), ~index of one that goes,
#: and None where the code gives the cache back.
Step = int | None


@dataclass(frozen=True)
class Block:
    """A storage of the run, or what a library takes.

    Attributes:
        nbytes: requested. itemsize: bytes of an element. shape: of the tensor that it was made
            for, () where it is of another size.
        counted: whether the memory model has it: libraries' it has not.
        node: in which a library takes it for as long as that runs.
        birth, needed, death: in nodes that make storages: it is there from `birth` on, needed
            before `needed`, referenced before `death`.
    """

    nbytes: int
    itemsize: int
    shape: tuple[int, ...]
    counted: bool
    birth: int
    needed: int
    death: int
    node: Node | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Script:
    """A run's blocks and when they come and go.

    Attributes:
        nodes: how many make storages.
        ops: which operators did.
    """

    nodes: int
    ops: tuple[str, ...]
    blocks: tuple[Block, ...]
    steps: tuple[Step, ...]

    @cached_property
    def graph(self) -> object:
        """What is equal for two runs that differ in sizes only."""
        return self.alike, tuple(b.itemsize for b in self.blocks)

    @cached_property
    def alike(self) -> object:
        """What is equal for two runs that differ in sizes and dtypes only."""
        lives = tuple((b.counted, b.birth, b.needed, b.death) for b in self.blocks)
        return self.nodes, self.ops, lives, self.steps

    @property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of each block."""
        return tuple(block.nbytes for block in self.blocks)


def script(trace: Trace, workspaces: WorkspaceTable, kept: Mapping[str, int]) -> Script:
    """The script of a trace.

    Args:
        kept: bytes that libraries take at their first call and keep.
    """
    end = len(trace.nodes)
    run = [i for i, storage in enumerate(trace.storages) if of_the_run(storage)]
    makes = sorted({s.birth for s in (trace.storages[i] for i in run) if s.birth >= 0} | {0})

    def rank(node: int) -> int:
        """How many nodes that make storages come before this one."""
        return bisect_right(makes, node - 1)

    shapes = _shapes(trace)
    blocks: list[Block] = []
    number: dict[int, int] = {}
    for index in run:
        storage = trace.storages[index]
        itemsize, shape = shapes.get(index, (1, ()))
        if prod(shape) * itemsize != storage.nbytes:
            itemsize, shape = (itemsize if storage.nbytes % itemsize == 0 else 1), ()
        birth = rank(max(storage.birth, 0))
        needed, death = _lives(storage, end)
        first = birth + (storage.birth >= 0)  # what was there before may go in the first call
        lives = birth, max(rank(needed), first), max(rank(death), first)
        number[index] = len(blocks)
        blocks.append(Block(storage.nbytes, itemsize, shape, True, *lives))
    steps = list(_steps(trace, number, blocks, workspaces, dict(kept)))
    while steps and (steps[-1] is None or steps[-1] < 0):  # no peak comes of what goes at the end
        steps.pop()
    ops = tuple(trace.nodes[i].op for i in makes if i < end)
    return Script(len(makes), ops, tuple(blocks), tuple(steps))


def _lives(storage: Storage, end: int) -> tuple[int, int]:
    """The nodes before which a storage is needed, and referenced."""
    alive = min(storage.death, end)
    held = held_span(storage, end)
    return min(last_needed(storage, end) + 1, alive), max(alive, held.stop)


def _shapes(trace: Trace) -> dict[int, tuple[int, tuple[int, ...]]]:
    """By storage, bytes of an element and shape of the tensor that it was made for."""
    found: dict[int, tuple[int, tuple[int, ...]]] = {}
    infos = [e.info for e in trace.externals]
    for info in (*infos, *(info for node in trace.nodes for info in node.outputs)):
        if info.storage >= 0 and info.storage not in found:
            numel = prod(info.shape)
            itemsize = info.nbytes // numel if numel else ITEMSIZE.get(info.dtype, 1)
            found[info.storage] = itemsize, info.shape
    found |= {held: found[like] for held, like in trace.previous.items() if like in found}
    return found


def _steps(
    trace: Trace,
    number: dict[int, int],
    blocks: list[Block],
    workspaces: WorkspaceTable,
    to_be_kept: dict[str, int],
) -> Iterator[Step]:
    """What comes and goes, as `srprof.memory.simulation` has it; libraries' blocks are added."""
    end = len(trace.nodes)
    births: list[list[int]] = [[] for _ in range(end)]
    deaths: list[list[int]] = [[] for _ in range(end + 1)]
    if trace.warm:
        yield from _kept(to_be_kept, [*to_be_kept], blocks)
    for index, block in number.items():
        storage = trace.storages[index]
        if storage.birth >= 0:
            births[storage.birth].append(index)
        else:
            yield block
        if storage.death < end:
            deaths[max(storage.death, storage.birth + 1)].append(index)
    for place, node in enumerate(trace.nodes):
        for index in deaths[place]:
            yield ~number[index]
        for index in births[place]:
            yield number[index]
        yield from _kept(to_be_kept, KEPT_BY.get(row(node.op).scratch, ()), blocks)
        scratch = workspaces.at_least(node)
        if scratch or _may_take(node, workspaces):
            yield len(blocks)
            yield ~len(blocks)
            blocks.append(Block(scratch, 1, (), False, 0, 0, 0, node))
        if node.emptied is not None:
            gone = sorted(set(deaths[place + 1]).intersection(node.emptied))
            deaths[place + 1] = [i for i in deaths[place + 1] if i not in gone]
            for index in gone:
                yield ~number[index]
            yield None


def _kept(to_be_kept: dict[str, int], names: Iterable[str], blocks: list[Block]) -> Iterator[Step]:
    """What libraries take at their first call and keep."""
    for name in names:
        if nbytes := to_be_kept.pop(name, 0):
            yield len(blocks)
            blocks.append(Block(nbytes, 1, (), False, 0, 0, 0))


def _may_take(node: Node, workspaces: WorkspaceTable) -> bool:
    """Whether a rule says scratch of the node at some sizes."""
    return workspaces.rule is not None and row(node.op).scratch in ("cudnn", "cufft")
