"""Latency without the device: the estimates of a network's nodes, and their sum.

`roofline.py` is the physical model of a node, `correction.py` what measured operations say of it,
`node.py` both with launches, `timeline.py` the waiting for the host, `uncertainty.py` the doubt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from srprof.cost.classes import NodeCost, node_costs
from srprof.cost.measured import NEAR
from srprof.cost.node import Alike, Bound, NodeEstimate
from srprof.cost.profiles import Profile
from srprof.cost.roofline import found_in_cache
from srprof.cost.timeline import waiting, waits
from srprof.cost.uncertainty import uncertainty
from srprof.records import Trace

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class ClassTotal:
    """The nodes of one operation class together.

    Attributes:
        seconds: of all; share: of the whole network's.
        bound: what bounds most of them, by time; bound_share: its share of the class's time.
    """

    op_class: str
    nodes: int
    seconds: float
    share: float
    bound: Bound
    bound_share: float


@dataclass(frozen=True)
class Estimate:
    """What one call of a network is expected to take on a profile, in seconds.

    Attributes:
        profile: that was used.
        nodes: one for each node of the trace.
        seconds: their sum. overhead: the launches' part of it, with waiting for the host.
        by_class: seconds by operation class, longest first.
        by_module: seconds by module path, each module with all that is inside it; "" is all.
        uncertainty: one standard deviation of `seconds`, in seconds; see `uncertainty`.
        uncertainty_from: how that was computed, in words.
        alike: predicts other nodes on the same device.
        device: seconds that the device needs by itself, as from a CUDA graph.
        host: seconds that the host needs, on a device that it runs ahead of; else 0.
    """

    profile: Profile
    nodes: tuple[NodeEstimate, ...]
    seconds: float
    overhead: float
    by_class: Mapping[str, float]
    by_module: Mapping[str, float]
    uncertainty: float
    uncertainty_from: str
    alike: Alike = field(repr=False, compare=False)
    device: float = 0.0
    host: float = 0.0

    @property
    def graph(self) -> float | None:
        """What a CUDA graph of it takes; None without a host, and of what a graph cannot hold."""
        held = all(n.cost.on == "device" and not n.cost.drains for n in self.nodes)
        return self.device if held and self.profile.gap is not None else None

    @property
    def unmeasured(self) -> tuple[NodeEstimate, ...] | None:
        """Nodes of the device that no measured operation is near; None without a table."""
        if not self.profile.table:
            return None
        on_device = (n for n in self.nodes if n.bound not in ("free", "host"))
        return tuple(n for n in on_device if n.distance is None or n.distance > NEAR)

    @property
    def overhead_share(self) -> float:
        """Share of the launches in the whole; 0 if nothing runs."""
        return self.share(self.overhead)

    def share(self, seconds: float) -> float:
        """These seconds' share of the whole; 0 if nothing runs."""
        return _share(seconds, self.seconds)

    @property
    def by_bound(self) -> Mapping[Bound, float]:
        """Seconds of the nodes that each resource bounds, longest first."""
        bounds = ((node.bound, node.seconds) for node in self.nodes)
        return _sums((bound, seconds) for bound, seconds in bounds if bound != "free")

    @property
    def classes(self) -> tuple[ClassTotal, ...]:
        """The operation classes with what bounds them, longest first."""
        totals = []
        by_class: dict[str, list[NodeEstimate]] = defaultdict(list)
        for node in self.nodes:
            by_class[node.cost.op_class].append(node)
        for op_class, seconds in self.by_class.items():
            members = by_class[op_class]
            bounds = _sums((node.bound, node.seconds) for node in members)
            bound, most = next(iter(bounds.items()))
            shares = self.share(seconds), bound, _share(most, seconds)
            totals.append(ClassTotal(op_class, len(members), seconds, *shares))
        return tuple(totals)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _sums(pairs: Iterable[tuple[Key, float]]) -> dict[Key, float]:
    """Sum by key, largest first."""
    total: dict[Key, float] = defaultdict(float)
    for key, seconds in pairs:
        total[key] += seconds
    return dict(sorted(total.items(), key=lambda item: -item[1]))


def estimate(trace: Trace, profile: Profile) -> Estimate:
    """Predict the latency of a trace; an InputError if the device has no peak for a dtype of it."""
    return estimate_costs(node_costs(trace), profile)


def estimate_costs(costs: Sequence[NodeCost], profile: Profile) -> Estimate:
    """Predict the latency of these nodes, in order; a storage may be read from the cache."""
    alike = Alike(profile)
    ahead = _estimated(costs, alike)
    device = sum(node.seconds for node in ahead)
    nodes = waiting(ahead, profile)
    running = [node for node in nodes if node.cost.family != "view"]
    by_module: dict[str, float] = {"": 0.0}
    for node in running:
        path, seconds = node.cost.module, node.seconds
        while path:
            by_module[path] = by_module.get(path, 0.0) + seconds
            path = path.rpartition(".")[0]
        by_module[""] += seconds
    overhead = sum(node.overhead for node in nodes)
    by_class = _sums((node.cost.op_class, node.seconds) for node in running)
    host = sum(node.host for node in nodes)
    sums = by_module[""], overhead, by_class, by_module
    doubt = uncertainty(nodes, profile)
    return Estimate(profile, tuple(nodes), *sums, *doubt, alike, device, host)


def total_seconds(costs: Sequence[NodeCost], profile: Profile, *, in_a_row: bool = False) -> float:
    """The seconds of `estimate_costs` alone, or of one of many calls in a row."""
    nodes = _estimated(costs, Alike(profile))
    if not in_a_row:
        return sum(node.seconds for node in waiting(nodes, profile))
    return max(sum(node.seconds for node in nodes), sum(node.host for node in nodes))


def seconds_with(found: Estimate, changes: Mapping[int, NodeCost | None]) -> float:
    """The seconds of a call in which some nodes are otherwise, by their place.

    None is a node that is not there.
    """
    profile, alike = found.profile, found.alike
    steps: list[tuple[float, float, bool]] = []
    costs = [changes.get(place) or node.cost for place, node in enumerate(found.nodes)]
    for place, node in enumerate(found.nodes):
        if place not in changes:
            steps.append((node.seconds - node.wait, node.host, node.cost.drains))
        elif changes[place] is not None:
            new = alike(costs[place], found_in_cache(costs, place, profile))
            steps.append((new.seconds, new.host, costs[place].drains))
    return sum(seconds for seconds, _, _ in steps) + sum(waits(steps, profile))


def _estimated(costs: Sequence[NodeCost], alike: Alike) -> list[NodeEstimate]:
    """The nodes, each as if the device never waited."""
    return [alike(c, found_in_cache(costs, i, alike.profile)).of(c) for i, c in enumerate(costs)]
