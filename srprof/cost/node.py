"""One node: its kernels by the model, the pass that adds a bias, its launches and its host."""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Literal

from srprof.cost.classes import NodeCost, bias_cost, copy_cost
from srprof.cost.correction import corrected
from srprof.cost.measured import Match
from srprof.cost.profiles import Profile

Bound = Literal["compute", "memory", "launch", "host", "free"]

#: What a node's cost says of its place in a network.
_OF_PLACE = frozenset({"index", "module", "reads", "writes"})


@dataclass(frozen=True, slots=True)
class NodeEstimate:
    """What one node is expected to take, in seconds.

    Attributes:
        cost: what it asks of the device.
        compute: its arithmetic at the speed of its class.
        memory: its reads and writes at the speed of its class.
        bias: the pass over the output that adds a convolution's bias.
        layout: the copies that make a convolution's input contiguous, and that bring its maps into
            the library's layout and back.
        overhead: of its kernel launches, with `wait`: what the device then waits for the host.
        host: what the host needs to launch it, on a device that it runs ahead of; else 0.
        match: what measured operations say of it; None if the profile has none of its kind.
    """

    cost: NodeCost
    compute: float = 0.0
    memory: float = 0.0
    bias: float = 0.0
    layout: float = 0.0
    overhead: float = 0.0
    host: float = 0.0
    match: Match | None = None
    wait: float = 0.0

    @property
    def distance(self) -> float | None:
        """To the nearest measured operation; None if the profile has none of its kind."""
        return None if self.match is None else self.match.distance

    def of(self, cost: NodeCost) -> NodeEstimate:
        """The same for a node that asks for the same."""
        parts = self.compute, self.memory, self.bias, self.layout
        return NodeEstimate(cost, *parts, self.overhead, self.host, self.match, self.wait)

    @property
    def seconds(self) -> float:
        """The longer of `compute` and `memory`, plus `bias`, `layout` and `overhead`."""
        return max(self.compute, self.memory) + self.bias + self.layout + self.overhead

    @property
    def bound(self) -> Bound:
        """What most of `seconds` is; `bias` and `layout` are memory traffic too."""
        if self.cost.family == "view":
            return "free"
        if self.cost.on != "device":
            return "host"
        computes = self.compute > self.memory
        traffic = self.bias + self.layout + (0.0 if computes else self.memory)
        if traffic >= max(self.compute if computes else 0.0, self.overhead):
            return "memory"
        return "compute" if computes and self.compute >= self.overhead else "launch"


class Alike:
    """Predicts nodes on a profile; of those that ask for the same, one."""

    _asked = attrgetter(*(f.name for f in fields(NodeCost) if f.name not in _OF_PLACE))

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._known: dict[tuple[object, ...], NodeEstimate] = {}

    def __call__(self, cost: NodeCost, cached: int = 0) -> NodeEstimate:
        """As `estimate_node`, but for `cost`, which is that of the first that was alike."""
        key = self.key(cost), cached
        if key not in self._known:
            self._known[key] = estimate_node(cost, self.profile, cached)
        return self._known[key]

    def key(self, cost: NodeCost) -> tuple[object, ...]:
        """What nodes have in common that ask for the same."""
        return self._asked(cost), tuple(nbytes for _, nbytes in cost.reads)


def estimate_node(cost: NodeCost, profile: Profile, cached: int = 0) -> NodeEstimate:
    """Predict one node; `cached` bytes of what it reads come from the last-level cache."""
    if cost.family == "view" or cost.on != "device":
        return _off_device(cost, profile)
    compute, memory, layout, kernels, match = corrected(cost, profile, cached)
    bias = 0.0
    if biased := cost.bias > 0 and profile.bias_pass:
        bias = corrected(bias_cost(cost.dtype, cost.bias), profile)[1]
        if profile.cache_bandwidth and cost.bias <= profile.cache:
            bias *= profile.bandwidth / profile.cache_bandwidth  # the result is still there
    if cost.copied:
        _, copying, _, copies, _ = corrected(
            copy_cost(cost.dtype, cost.copied, cost.across), profile
        )
        layout, kernels = layout + copying, kernels + copies
    parts = compute, memory, bias, layout
    if profile.gap is None:
        overhead = (kernels + biased) * profile.launch
        return NodeEstimate(cost, *parts, overhead, match=match)
    host = _host(cost, profile, 1 + biased, kernels + biased)
    return NodeEstimate(cost, *parts, (kernels + biased) * profile.gap, host, match)


def _host(cost: NodeCost, profile: Profile, calls: int, kernels: int) -> float:
    """Seconds that the host needs for a node's calls and kernels, and the modules on the way."""
    op, kernel = (profile.host.get(name, profile.launch) for name in ("op", "kernel"))
    return calls * op + kernels * kernel + cost.entered * profile.host.get("module", 0.0)


def _off_device(cost: NodeCost, profile: Profile) -> NodeEstimate:
    """A node that launches no kernel: a view, or work of the host's own."""
    if cost.family == "view":
        host = profile.host.get("view", 0.0) + cost.entered * profile.host.get("module", 0.0)
        return NodeEstimate(cost, host=host)
    op, rates = _host(cost, profile, 1, 0), profile.host
    if cost.on == "host":
        worked = (cost.read + cost.written) / rates["cpu"] if "cpu" in rates else 0.0
        return NodeEstimate(cost, host=op + worked)
    copied = cost.written / rates["copy"] if "copy" in rates else 0.0
    if cost.on == "to-device":  # of memory that is not pinned, by the host
        return NodeEstimate(cost, host=op + copied)
    return NodeEstimate(cost, memory=copied, host=op)
