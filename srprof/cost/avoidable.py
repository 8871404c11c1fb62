"""What a call's time is spent on that another form of the same network would not need.

Each cost is what the same model says of the network without it, as a whole: in a network that waits
for its host anyway, faster kernels save nothing. The costs do not add up: filling up channels and
leaving out the copies around the same convolutions saves less than one and the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from srprof.cost.classes import NodeCost
from srprof.cost.estimate import Estimate, seconds_with
from srprof.cost.node import Alike, NodeEstimate
from srprof.memory.host import HostWork
from srprof.ops import CONVOLUTIONS

#: Share of a call below which a cost is none.
LEAST = 0.01
#: Convolutions that compute with all channels of their maps.
_DENSE = frozenset({"conv", "conv1x1"})
#: Multiples that libraries and people fill channels up to.
_WHOLE = (16, 32, 64)
#: Channels of an image at most: nobody chooses those.
_IMAGE = 4

Kind = Literal["width", "bias", "layout", "cpu", "graph", "host"]
Calls = tuple[HostWork, Iterable[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Avoidable:
    """A cost of one call.

    Attributes:
        kind: `width`, convolutions with channels that cost more than a larger number would; `bias`,
            added by kernels of their own; `layout`, copies around convolutions that channels-last
            maps do not need; `cpu`, work in main memory; `graph`, waiting for the host, which a
            CUDA graph does not; `host`, the same beside work that no graph can hold.
        nodes: that have it. seconds: by which the call is shorter without it.
        of: seconds of these nodes; with `layout` of their copies, with `graph` of the call, with
            `host` of the call without what no graph can hold.
        width, instead: channels, and as how many they would be faster; else 0.
        work: in main memory.
    """

    kind: Kind
    nodes: int
    seconds: float
    of: float
    width: int = 0
    instead: int = 0
    work: HostWork | None = None


def avoidable(found: Estimate, calls: Iterable[Calls] = ()) -> tuple[Avoidable, ...]:
    """The costs of an estimate, largest first; `calls` are those of `memory.host.host_calls`."""
    costs = (*_widths(found), *_biases(found), *_copies(found), *_on_cpu(found, calls))
    every = (*costs, *_waiting(found))
    counted = (cost for cost in every if cost.seconds > LEAST * found.seconds)
    return tuple(sorted(counted, key=lambda cost: -cost.seconds))


def _seconds(nodes: Iterable[NodeEstimate]) -> float:
    return sum(node.seconds for node in nodes)


def _saved(found: Estimate, changes: Mapping[int, NodeCost | None]) -> float:
    return found.seconds - seconds_with(found, changes)


# -- widths ---------------------------------------------------------------------------------------


def _widths(found: Estimate) -> Iterator[Avoidable]:
    """Channels that would be faster as more, with what wider maps cost their other nodes."""
    kinds: dict[object, list[NodeEstimate]] = {}
    for node in found.nodes:
        if node.cost.family in _DENSE:
            kinds.setdefault(found.alike.key(node.cost), []).append(node)
    widths = {n for nodes in kinds.values() for n in nodes[0].cost.channels if n > _IMAGE}
    least = LEAST * found.seconds
    for width in sorted(widths):
        having = [nodes for nodes in kinds.values() if width in nodes[0].cost.channels]
        if sum(map(_seconds, having)) <= least:
            continue
        gains = {to: _gains(having, width, to, found.alike) for to in _wider(width)}
        to = max(gains, key=lambda to: sum(gains[to]), default=0)
        if not to or sum(gains[to]) <= least:
            continue
        faster = [
            n for nodes, gain in zip(having, gains[to], strict=True) if gain > 0 for n in nodes
        ]
        saved = _saved(found, _widened([node.cost for node in found.nodes], width, to))
        yield Avoidable(
            kind="width",
            nodes=len(faster),
            seconds=saved,
            of=_seconds(faster),
            width=width,
            instead=to,
        )


def _wider(width: int) -> tuple[int, ...]:
    """Whole numbers of channels above a width that are less than twice as many."""
    above = {-(-width // step) * step for step in _WHOLE}
    return tuple(sorted(n for n in above if width < n < 2 * width))


def _gains(
    kinds: Sequence[Sequence[NodeEstimate]], width: int, to: int, alike: Alike
) -> list[float]:
    """What convolutions that are alike gain together with `to` channels in the place of `width`."""
    gains = []
    for nodes in kinds:
        cost = nodes[0].cost
        gain = alike(cost).seconds - alike(_refilled(cost, width, to)).seconds
        gains.append(len(nodes) * gain)
    return gains


def _refilled(cost: NodeCost, width: int, to: int) -> NodeCost:
    """A dense convolution with `to` channels where it has `width`, on either side."""
    inner, outer = (to / width if n == width else 1.0 for n in cost.channels)
    factors = inner, inner * outer, outer  # of its map, its filters and its bias
    reads = zip(cost.reads, factors, strict=False)
    product = cost.product
    if product is not None:
        columns, depth = round(product.columns * outer), round(product.depth * inner)
        product = product._replace(columns=columns, depth=depth)
    before, after = cost.channels
    return replace(
        cost,
        channels=(to if before == width else before, to if after == width else after),
        product=product,
        flops=round(cost.flops * inner * outer),
        reads=tuple((storage, round(n * factor)) for (storage, n), factor in reads),
        written=round(cost.written * outer),
        bias=round(cost.bias * outer),
        copied=round(cost.copied * inner),
    )


def _widened(costs: Sequence[NodeCost], width: int, to: int) -> dict[int, NodeCost]:
    """A network's nodes with wider maps, by place: its convolutions, and what works on their maps.

    That is what reads a map of that width, and what makes another of its size from one.
    """
    changed: dict[int, NodeCost] = {}
    maps: set[int] = set()
    for place, cost in enumerate(costs):
        same = False
        if cost.family in _DENSE:
            same = cost.channels[1] == width
            if width in cost.channels:
                changed[place] = _refilled(cost, width, to)
        elif cost.family not in ("view", "grouped") and cost.on == "device":
            sizes = [nbytes for storage, nbytes in cost.reads if storage in maps]
            same = cost.written in sizes
            if sizes:
                changed[place] = _enlarged(cost, maps, to / width, same)
        if same:
            maps.update(cost.writes)
    return changed


def _enlarged(cost: NodeCost, maps: set[int], factor: float, same: bool) -> NodeCost:
    """A node that reads wider maps, and makes one too if its result is of the same size."""
    larger: dict[str, Any] = {
        name: round(getattr(cost, name) * factor) for name in ("strided", "copied")
    }
    if same:
        larger |= {name: round(getattr(cost, name) * factor) for name in ("written", "flops")}
    if cost.family == "depthwise":
        larger["channels"] = tuple(round(n * factor) for n in cost.channels)
    reads = tuple((s, round(n * factor) if s in maps else n) for s, n in cost.reads)
    return replace(cost, reads=reads, **larger)


# -- biases, layout -------------------------------------------------------------------------------


def _biases(found: Estimate) -> Iterator[Avoidable]:
    having = {i: node for i, node in enumerate(found.nodes) if node.bias}
    if having:
        without = {i: replace(node.cost, bias=0) for i, node in having.items()}
        saved = _saved(found, without)
        yield Avoidable(kind="bias", nodes=len(having), seconds=saved, of=_seconds(having.values()))


def _copies(found: Estimate) -> Iterator[Avoidable]:
    """The copies around convolutions of plain maps; channels-last ones are asked of them all."""
    copying = [node for node in found.nodes if node.layout and not node.cost.channels_last]
    if not copying:
        return
    innermost: dict[int, NodeCost] = {}
    sizes: dict[int, int] = {}
    for place, node in enumerate(found.nodes):
        if node.cost.family in CONVOLUTIONS and node.cost.channels[0] > 1:
            innermost[place] = _innermost(node.cost, sizes)
        for storage in node.cost.writes:
            sizes[storage] = max(sizes.get(storage, 0), node.cost.written)
    copies = sum(node.layout for node in copying)
    saved = _saved(found, innermost)
    yield Avoidable(kind="layout", nodes=len(copying), seconds=saved, of=copies)


def _innermost(cost: NodeCost, sizes: Mapping[int, int]) -> NodeCost:
    """A convolution of a map with channels innermost; `sizes` are bytes of maps, by storage.

    Some channels of a larger map are then copied first, and PyTorch's depthwise kernel, which adds
    a bias as it goes, gives way to cuDNN's.
    """
    storage, nbytes = cost.reads[0]
    copied = nbytes if nbytes < sizes.get(storage, 0) else 0
    bias = cost.written if cost.family == "depthwise" and len(cost.reads) > 2 else cost.bias
    return replace(cost, channels_last=True, copied=copied, across=False, bias=bias)


# -- the host -------------------------------------------------------------------------------------


def _on_cpu(found: Estimate, calls: Iterable[Calls]) -> Iterator[Avoidable]:
    """Work in main memory: made once, or on the device where it needs what is there."""
    places = {node.cost.index: place for place, node in enumerate(found.nodes)}
    for work, indices in calls:
        nodes = {places[index]: found.nodes[places[index]] for index in indices}
        changes: dict[int, NodeCost | None] = dict.fromkeys(nodes)
        if work.of_device:
            there = {i: n.cost for i, n in nodes.items() if n.cost.on == "host"}
            changes |= {i: replace(cost, on="device") for i, cost in there.items()}
        yield Avoidable(
            kind="cpu",
            nodes=len(nodes),
            seconds=_saved(found, changes),
            of=_seconds(nodes.values()),
            work=work,
        )


def _waiting(found: Estimate) -> Iterator[Avoidable]:
    """What the device waits for launches."""
    if found.profile.gap is None:
        return
    kind: Kind = "host" if found.graph is None else "graph"
    changes: dict[int, NodeCost | None] = {}
    for place, node in enumerate(found.nodes):
        if node.cost.on != "device":
            changes[place] = None
        elif node.cost.waits:
            changes[place] = replace(node.cost, waits=False)
    left = [node for place, node in enumerate(found.nodes) if changes.get(place, node)]
    whole, device = seconds_with(found, changes), sum(node.seconds - node.wait for node in left)
    launched = sum(node.cost.family != "view" for node in left)
    yield Avoidable(kind=kind, nodes=launched, seconds=whole - device, of=whole)
