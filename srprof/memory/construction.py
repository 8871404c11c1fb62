"""What the memory that a constructor takes on the device is made of. No torch here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from srprof.memory.model import counted
from srprof.records import Pass, Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class PassesAtPeak:
    """Calls of one module from one line of a constructor, and what they have at its peak.

    Attributes:
        kind: the module's class; file, line: where it is called.
        calls: how often, on the device. alive: how many of them have something at the peak: what
            runs then, and those whose result, or graph, something holds.
        autograd: whether it recorded.
        bytes: that they made and that are alive.
    """

    kind: str
    file: str
    line: int
    calls: int
    alive: int
    autograd: bool
    bytes: int


def passes_at(construction: Trace, node: int) -> tuple[PassesAtPeak, ...]:
    """The calls that have something on the device in a node, the most bytes first.

    Args:
        construction: trace of a constructor. node: index of the node of its peak.
    """
    groups: dict[tuple[str, str, int, bool], list[Pass]] = {}
    on_device = {storage.birth for storage in filter(counted, construction.storages)}
    for one in construction.passes:
        if on_device.isdisjoint(range(one.first, one.end)):
            continue  # in main memory
        groups.setdefault((one.kind, one.file, one.line, one.autograd), []).append(one)
    alive = [
        (storage.birth, storage.nbytes)
        for storage in filter(counted, construction.storages)
        if storage.birth <= node < max(storage.death, storage.birth + 1)
    ]
    found = (_at_peak(passes, alive) for passes in groups.values())
    return tuple(sorted((one for one in found if one.bytes), key=lambda one: -one.bytes))


def _at_peak(passes: list[Pass], alive: Iterable[tuple[int, int]]) -> PassesAtPeak:
    first = passes[0]
    sizes = [sum(n for birth, n in alive if one.first <= birth < one.end) for one in passes]
    return PassesAtPeak(
        kind=first.kind,
        file=first.file,
        line=first.line,
        calls=len(passes),
        alive=sum(map(bool, sizes)),
        autograd=first.autograd,
        bytes=sum(sizes),
    )


def left_by(trace: Trace) -> int:
    """Bytes that a constructor left on the device besides parameters and buffers."""
    found = () if trace.construction is None else trace.construction.found
    left = (trace.storages[index] for index in found)
    return sum(s.nbytes for s in left if counted(s) and s.role not in ("parameter", "buffer"))
