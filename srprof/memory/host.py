"""Work in main memory: what a network makes on the CPU in a call, and copies to its device.

A mask that is made without `device=` costs a GPU nothing and its user a lot: the kernels wait while
one core makes it, and then for the copy. No torch here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from srprof.paths import place
from srprof.records import Node, Trace, Where
from srprof.words import size_text


@dataclass(frozen=True, slots=True, kw_only=True)
class HostWork:
    """What one line of the user's has made in main memory, or copies to or from there.

    Attributes:
        copied: "to" the device, "from" it, or "" for what is made on the CPU and stays there.
        function: where most of it is made; file, line: of the copy, or of its first call.
        module: path of the module that was running then.
        times: how often it happens in a call. bytes: that are copied, or else made.
        made: bytes of all tensors in main memory that it takes to make it.
        made_in, made_at: file and line of its first call; "" and 0 where another line made it.
        of_device: it depends on data that came from the device.
    """

    copied: str
    function: str
    file: str
    line: int
    module: str
    times: int
    bytes: int
    made: int
    made_in: str = ""
    made_at: int = 0
    of_device: bool = False

    @property
    def text(self) -> str:
        """`on the CPU, then copied: calculate_mask, SwinT.py:161, 4 times, 256 MiB`."""
        what = {"to": "on the CPU, then copied", "from": "copied to the CPU"}
        times = f"{self.times} times" if self.times > 1 else "once"
        name = self.function.rpartition(".")[2] or "torch"
        where = filter(None, (name, place(self.file, self.line), times, size_text(self.bytes)))
        return f"{what.get(self.copied, 'on the CPU')}: {', '.join(where)}"

    @property
    def mend(self) -> str:
        """What to write in its place."""
        if self.copied == "from" or self.of_device:
            return "leave it on the device, where its data is: take what is there, without the copy"
        at = place(self.made_in, self.made_at)
        where = f" at {at}" if at else ""
        on_device = f"make it on the device (device=x.device{where})"
        return f"{on_device}, or once for each size, and keep it there from call to call"


_COPIED: Mapping[Where, str] = {"to-device": "to", "to-host": "from"}


def host_work(trace: Trace) -> tuple[HostWork, ...]:
    """All of a trace's work in main memory, the most bytes first; none of a trace on the CPU."""
    return tuple(work for work, _ in host_calls(trace))


def host_calls(trace: Trace) -> tuple[tuple[HostWork, frozenset[int]], ...]:
    """The same, each with the indices of its calls: those that make it, their views, its copies."""
    away = [node for node in trace.nodes if node.on != "device"]
    makers: dict[int, list[Node]] = defaultdict(list)
    for node in away:
        for storage in (*node.created, *node.written):
            makers[storage].append(node)
    groups: dict[tuple[str, str, str, int], list[tuple[Node, list[Node]]]] = defaultdict(list)
    used: set[int] = set()
    for node in away:
        if node.on == "host":
            continue
        chain = _chain(node, makers) if node.on == "to-device" else []
        used.update(maker.index for maker in chain)
        name = _most(chain) or node.function
        groups[_COPIED[node.on], name, node.file, node.line].append((node, chain))
    rest: dict[tuple[str, str], list[Node]] = defaultdict(list)
    for node in away:
        alone = node.index not in used and node.created and node.shape  # a scalar costs nothing
        if node.on == "host" and alone:
            rest[node.function, node.file].append(node)
    found = [
        (_copied(trace, key, group), [node for copy, chain in group for node in (*chain, copy)])
        for key, group in groups.items()
    ]
    found += [(_left(trace, nodes), nodes) for nodes in rest.values()]
    found.sort(key=lambda pair: -pair[0].bytes)
    return tuple((work, _with_views(away, calls)) for work, calls in found if work.bytes)


def _with_views(away: Iterable[Node], calls: Iterable[Node]) -> frozenset[int]:
    """Indices of calls, and of others in main memory that look at what they make there alone."""
    calls = tuple(calls)
    made = {storage for node in calls if node.on != "to-device" for storage in node.created}
    views = (
        node
        for node in away
        if node.on == "host" and node.inputs and {i.storage for i in node.inputs} <= made
    )
    return frozenset(node.index for node in (*calls, *views))


def _chain(copy: Node, makers: Mapping[int, list[Node]]) -> list[Node]:
    """The calls in main memory, and copies to it, that made what is copied; in order."""
    chain: dict[int, Node] = {}
    wanted = [(info.storage, copy.index) for info in copy.inputs]
    while wanted:
        storage, before = wanted.pop()
        for node in makers.get(storage, ()):
            if node.index < before and node.index not in chain and node.on != "to-device":
                chain[node.index] = node
                wanted += [(info.storage, node.index) for info in node.inputs]
    return [chain[index] for index in sorted(chain)]


def _most(nodes: Iterable[Node]) -> str:
    """The function that makes most of the calls, "" without any."""
    return next((name for name, _ in Counter(n.function for n in nodes).most_common(1)), "")


def _made(trace: Trace, nodes: Iterable[Node]) -> int:
    storages = {storage for node in nodes if node.on != "to-device" for storage in node.created}
    return sum(trace.storages[storage].nbytes for storage in storages)


def _copied(
    trace: Trace, key: tuple[str, str, str, int], group: list[tuple[Node, list[Node]]]
) -> HostWork:
    """A line's copies, each with the calls that made what it copies."""
    copied, function, file, line = key
    made = list(_without_repeats(node for _, chain in group for node in chain))
    first = made[0] if made else None
    return HostWork(
        copied=copied,
        function=function,
        file=file,
        line=line,
        module=group[0][0].module,
        times=len(group),
        bytes=sum(output.nbytes for node, _ in group for output in node.outputs[:1]),
        made=_made(trace, made),
        made_in=first.file if first else "",
        made_at=first.line if first else 0,
        of_device=any(node.on == "to-host" for node in made),
    )


def _left(trace: Trace, nodes: list[Node]) -> HostWork:
    """What a function makes in main memory, of which nothing is copied."""
    first = nodes[0]
    same = [node for node in nodes if (node.op, node.line) == (first.op, first.line)]
    made = _made(trace, nodes)
    return HostWork(
        copied="",
        function=first.function,
        file=first.file,
        line=first.line,
        module=first.module,
        times=len(same),
        bytes=made,
        made=made,
        made_in=first.file,
        made_at=first.line,
    )


def _without_repeats(nodes: Iterable[Node]) -> Iterator[Node]:
    yield from {node.index: node for node in nodes}.values()
