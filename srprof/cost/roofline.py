"""Latency without the device: a roofline for each node, summed.

A node takes the longer of its arithmetic and its memory traffic, each at the share of the peak
that its class reaches, and an overhead for each kernel that it launches (Williams, Waterman and
Patterson, "Roofline", CACM 2009). Eager super-resolution networks add four effects:

- Convolutions run in tiles of 32, 64 or 128 output channels by 128 pixels: 50 channels cost
  what 64 do, and narrow tiles reuse what they load less often. The fastest tile is taken.
- Tiles are dealt out to the multiprocessors in waves: a small map leaves most of them idle.
- PyTorch adds a convolution's bias in a kernel of its own, which reads and writes the output.
- A kernel that reads across the grain of what it writes (a transposing copy, a sum of a
  channels-last and a plain map) uses a few bytes of each sector that it fetches.

A GPU with tensor cores adds five, each seen in the kernels of an H100 (docs/latency.md): its
convolutions copy plain maps to channels innermost and back, in pieces of 64 bytes of a pixel, and
stay outside tensor cores below 16 input channels; channels that are no multiple of 32 bytes, and
columns that do not fill tiles of 64, go in smaller pieces; each wave of tiles waits for its first
data and its last (`wave`); resampling and pooling take as long as their reads from the caches
(`gather`); and the host runs ahead, so that kernels follow each other at a short `gap` and a
network takes the longer of what the device needs and what the host needs to launch it.

On a CPU, oneDNN computes convolutions in blocks of channels, as many as fit in a vector register,
and copies their maps into that layout and back; 1x1 convolutions of one image are plain products.

A table of measured operations corrects it where the profile has one, also by what the model cannot
see: Winograd's kernels, and which of its kernels a library picks. One of another device is carried:
arithmetic by the physical model's ratio; traffic by the bandwidth where this device has as much for
each multiprocessor as that one, else by multiprocessors, but no faster than its memory.

What it cannot see without a table: those two, and what a library's version does badly. Linear
layers on permuted maps and attention on windows rest on assumed shares: of published runtimes, two
networks made of them are underestimated, by up to 2.4 times.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property
from math import sqrt
from operator import attrgetter
from typing import Literal, TypeVar

from srprof.cost.classes import TILES, NodeCost, bias_cost, node_costs
from srprof.cost.measured import NEAR, Match, Table
from srprof.cost.profiles import TENSOR_MODES, Profile, parse_profile
from srprof.cost.tables import TableRecord, load_record, rows_of, table_path
from srprof.inputs import ITEMSIZE
from srprof.ops import FEWEST_IN_TENSOR_CORES, Product
from srprof.records import Trace

Bound = Literal["compute", "memory", "launch", "host", "free"]

Key = TypeVar("Key")

#: Rows (output pixels) of a tile; a product with fewer is given a smaller tile.
_ROWS = 128
_FEWEST_ROWS = 32
#: Sides of the smallest tile of a matrix product.
_SMALLEST = 16
#: Families that a library with a layout of its own computes in it. oneDNN takes inputs of fewer
#: channels as they are.
_BLOCKED = frozenset({"conv", "grouped"})
_PRODUCTS = frozenset({*_BLOCKED, "depthwise", "conv1x1", "matmul"})
_FEWEST_CHANNELS = 4
#: Bytes of a pixel's channels, of maps with the channels innermost: handled at once; filled up to
#: with zeros; and a multiple of which is fetched at full speed.
_PIECE = 64
_FILLED = 16
_ALIGNED = 32
#: Bytes of an element as PyTorch's kernels that take one at a time see it: a half is no faster.
_WORD = 4
#: What a node's cost says of its place in a network.
_OF_PLACE = frozenset({"index", "module", "reads", "writes"})
#: Threads that PyTorch's layer norm gives to each row, so a shorter row leaves some idle.
_NORM_THREADS = 256


@dataclass(frozen=True, slots=True)
class NodeEstimate:
    """What one node is expected to take, in seconds.

    Attributes:
        cost: what it asks of the device.
        compute: its arithmetic at the speed of its class.
        memory: its reads and writes at the speed of its class.
        bias: the pass over the output that adds a convolution's bias.
        layout: the copies that bring a convolution's maps into the library's layout and back.
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
    device: float = 0.0
    host: float = 0.0

    @cached_property
    def alike(self) -> Alike:
        """Predicts other nodes on the same device."""
        return Alike(self.profile)

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
        return _sums((node.bound, node.seconds) for node in self.nodes if node.bound != "free")

    @property
    def classes(self) -> tuple[ClassTotal, ...]:
        """The operation classes with what bounds them, longest first."""
        totals = []
        for op_class, seconds in self.by_class.items():
            members = [node for node in self.nodes if node.cost.op_class == op_class]
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
    ahead = _estimated(costs, profile)
    device = sum(node.seconds for node in ahead)
    nodes = _waiting(ahead, profile)
    running = [node for node in nodes if node.bound != "free"]
    by_module: dict[str, float] = {"": 0.0}
    for node in running:
        path = node.cost.module
        while path:
            by_module[path] = by_module.get(path, 0.0) + node.seconds
            path = path.rpartition(".")[0]
        by_module[""] += node.seconds
    overhead = sum(node.overhead for node in nodes)
    by_class = _sums((node.cost.op_class, node.seconds) for node in running)
    host = sum(node.host for node in nodes)
    sums = by_module[""], overhead, by_class, by_module
    return Estimate(profile, tuple(nodes), *sums, *uncertainty(nodes, profile), device, host)


def total_seconds(costs: Sequence[NodeCost], profile: Profile, *, in_a_row: bool = False) -> float:
    """The seconds of `estimate_costs` alone, or of one of many calls in a row."""
    nodes = _estimated(costs, profile)
    if not in_a_row:
        return sum(node.seconds for node in _waiting(nodes, profile))
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
            new = alike(costs[place], _cached(costs, place, profile))
            steps.append((new.seconds, new.host, costs[place].drains))
    return sum(seconds for seconds, _, _ in steps) + sum(_waits(steps, profile))


def _estimated(costs: Sequence[NodeCost], profile: Profile) -> list[NodeEstimate]:
    """The nodes, each as if the device never waited."""
    alike = Alike(profile)
    return [replace(alike(c, _cached(costs, i, profile)), cost=c) for i, c in enumerate(costs)]


def _waiting(nodes: Sequence[NodeEstimate], profile: Profile) -> Sequence[NodeEstimate]:
    """The nodes with what the device waits for the host, at those that the host is busy with."""
    steps = [(node.seconds, node.host, node.cost.drains) for node in nodes]
    return [
        replace(node, overhead=node.overhead + wait, wait=wait) if wait else node
        for node, wait in zip(nodes, _waits(steps, profile), strict=True)
    ]


def _waits(steps: Sequence[tuple[float, float, bool]], profile: Profile) -> list[float]:
    """What the device waits at each node: of its seconds, its host's, and whether that then waits.

    The host launches ahead of the device, and catches up where it needs a result.
    """
    waits = [0.0] * len(steps)
    if profile.gap is None:
        return waits
    busy: deque[tuple[int, float]] = deque()  # what the host did since the device last waited
    host = device = 0.0
    for index, (seconds, launching, drains) in enumerate(steps):
        host += launching
        busy.append((index, host))
        if seconds:
            begins = max(host, device)
            _share_out(waits, busy, device, begins)
            device = begins + seconds
        if drains:
            host = max(host, device)
            busy.clear()
    _share_out(waits, busy, device, host)
    return waits


def _share_out(
    waits: list[float], busy: deque[tuple[int, float]], idle: float, until: float
) -> None:
    """Give the time in which the device was idle to the nodes that the host was busy with."""
    while busy:
        index, end = busy.popleft()
        if end > idle:
            waits[index] += min(end, until) - idle
            idle = min(end, until)


class Alike:
    """Predicts nodes on a profile; of those that ask for the same, one."""

    _asked = attrgetter(*(f.name for f in fields(NodeCost) if f.name not in _OF_PLACE))

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._known: dict[tuple[object, ...], NodeEstimate] = {}

    def __call__(self, cost: NodeCost, cached: int = 0) -> NodeEstimate:
        """As `estimate_node`, but for `cost`, which is that of the first that was alike."""
        key = self.key(cost), cached
        if key not in self._known:
            self._known[key] = estimate_node(cost, self._profile, cached)
        return self._known[key]

    def key(self, cost: NodeCost) -> tuple[object, ...]:
        """What nodes have in common that ask for the same."""
        return self._asked(cost), tuple(nbytes for _, nbytes in cost.reads)


def estimate_node(cost: NodeCost, profile: Profile, cached: int = 0) -> NodeEstimate:
    """Predict one node; `cached` bytes of what it reads come from the last-level cache."""
    if cost.family == "view" or cost.on != "device":
        return _off_device(cost, profile)
    compute, memory, layout, kernels, match = _corrected(cost, profile, cached)
    bias = 0.0
    if biased := cost.bias > 0 and profile.bias_pass:
        bias = _corrected(bias_cost(cost.dtype, cost.bias), profile)[1]
        if profile.cache_bandwidth and cost.bias <= profile.cache:
            bias *= profile.bandwidth / profile.cache_bandwidth  # the result is still there
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


def _corrected(
    cost: NodeCost, profile: Profile, cached: int = 0
) -> tuple[float, float, float, int, Match | None]:
    """What `_modelled` says, as far off as measured operations are, and the nearest's distance."""
    found = measured(profile.table)
    match = None if found is None else found.table.match(cost, _mode(cost, profile))
    if found is None or match is None:
        return *_modelled(cost, profile, cached), None
    base, own = found.base, _modelled(cost, profile, measured=True)
    compute = own[0] * match.ratio
    if profile.bandwidth * base.sms >= base.bandwidth * profile.sms:
        # each multiprocessor has the bandwidth that it had there, or more: it holds up as well
        memory, layout = (t * match.ratio for t in own[1:3])
        return compute, memory, layout, match.kernels, match
    there = _modelled(cost, base, measured=True)
    memory, layout = (t * match.ratio * base.sms / profile.sms for t in there[1:3])
    if profile.bandwidth < base.bandwidth and cost.read + cost.written > profile.cache:
        # what the other device's memory did not hold up, this one's may
        shares = profile.bandwidth_share[cost.family], profile.tensor.get("transpose", 1.0)
        most = profile.bandwidth_share["elementwise"]
        memory, layout = (
            max(carried, t * share / most)
            for carried, t, share in zip((memory, layout), own[1:3], shares, strict=True)
        )
    return compute, memory, layout, match.kernels, match


def _modelled(
    cost: NodeCost, profile: Profile, cached: int = 0, measured: bool = False
) -> tuple[float, float, float, int]:
    """Seconds of arithmetic, of traffic and of layout copies by the physical model, and kernels.

    With `measured` operations at hand, which kernel cuDNN takes is left to them.
    """
    share = profile.bandwidth_share[cost.family]
    if cost.row:
        share *= min(1.0, cost.row / _NORM_THREADS)
    plain = cost.read - cost.strided - cached + cost.written + 2 * cost.copied
    memory = plain / (profile.bandwidth * share)
    memory += _strided(cost, profile)
    if cached and profile.cache_bandwidth:
        memory += cached / (profile.cache_bandwidth * share)
    if profile.gather:
        memory = max(memory, cost.gathered / profile.gather, cost.serial * (profile.serial or 0.0))
    if cost.op == "bias":  # which PyTorch adds one element at a time
        size = ITEMSIZE.get(cost.dtype, _WORD)
        memory *= max(size, _WORD) / size
    compute, layout, copies = _compute(cost, profile, measured)
    if _begins_odd(cost, profile):
        compute, memory = (t / profile.tensor["odd"] for t in (compute, memory))
    start = profile.start or 0.0
    return compute + start, memory + start, layout + start * copies, 1 + copies + (cost.copied > 0)


def _begins_odd(cost: NodeCost, profile: Profile) -> bool:
    """Whether the rows of a 1x1 convolution's product, its maps, begin at odd addresses."""
    if cost.family != "conv1x1" or cost.channels_last or not profile.tensor:
        return False
    row = 0 if cost.product is None else cost.product.rows * ITEMSIZE.get(cost.dtype, _WORD)
    return row % _FILLED > 0


def _mode(cost: NodeCost, profile: Profile) -> str:
    """The fastest mode of arithmetic that a node may compute in."""
    computes = bool(cost.flops) or cost.family in _PRODUCTS
    return profile.modes(cost.dtype, cost.family)[-1] if computes else cost.dtype


@dataclass(frozen=True)
class Measured:
    """The table that a profile names, the device that it was measured on, and that in words."""

    table: Table
    base: Profile
    text: str


@cache
def measured(name: str) -> Measured | None:
    """The measured operations that a profile names; None of ""."""
    return read_table(load_record(table_path(name)), f"table {name}") if name else None


def read_table(record: TableRecord, source: str = "the table") -> Measured:
    """A table by its record; an InputError if the figures in it are none of a profile."""
    base = parse_profile(source, record.profile, source)
    plain = replace(base, peak={k: v for k, v in base.peak.items() if k != "tf32"})

    def model(cost: NodeCost, mode: str) -> float:
        device = plain if mode == "float32" else base
        compute, memory, layout, _ = _modelled(cost, device, measured=True)
        return max(compute, memory) + layout

    text = record.device + (record.torch and f" with torch {record.torch}")
    return Measured(Table(rows_of(record), model), base, text)


def _strided(cost: NodeCost, profile: Profile) -> float:
    """Seconds of the reads across the grain."""
    return cost.strided / (profile.bandwidth * profile.bandwidth_share["strided"])


def _compute(cost: NodeCost, profile: Profile, measured: bool) -> tuple[float, float, int]:
    """Seconds of arithmetic, seconds of the copies that its layout needs, and their kernels.

    Of the tiles and modes, the fastest with its copies is taken.
    """
    ways = []
    for mode in _modes(cost, profile):
        compute = _arithmetic(cost, profile, mode, measured)
        layout, kernels = _layout(cost, profile, mode)
        ways.append((compute + layout + kernels * (profile.gap or 0.0), compute, layout, kernels))
    return min(ways)[1:] if ways else (0.0, 0.0, 0)


def _modes(cost: NodeCost, profile: Profile) -> tuple[str, ...]:
    """The modes that a library may compute a node in; none if there is nothing to compute."""
    if not cost.flops and cost.family not in _PRODUCTS:
        return ()
    outside = cost.product is None or profile.layout
    modes = profile.modes(cost.dtype, "matmul" if outside else cost.family)
    product = _computed(cost, profile)
    narrow = product and product.depth < FEWEST_IN_TENSOR_CORES * cost.taps
    if profile.tensor and (outside or (narrow and cost.family in _BLOCKED)):
        return ("float32" if modes[0] in TENSOR_MODES and "float32" in profile.peak else modes[0],)
    return modes


def _computed(cost: NodeCost, profile: Profile) -> Product | None:
    """The product that is computed: for tensor cores, cuDNN takes groups as if they were one."""
    product = cost.product
    if product is None or not profile.tensor or cost.family != "grouped" or cost.transposed:
        return product
    groups, rows, columns, depth = product
    return Product(1, rows, groups * columns, groups * depth)


def _arithmetic(cost: NodeCost, profile: Profile, mode: str, measured: bool) -> float:
    """Seconds in this mode, in the fastest tile."""
    product = _computed(cost, profile)
    if product is None:
        return cost.flops / (profile.peak[mode] * profile.compute["depthwise"])
    if profile.layout:
        return _blocked(cost, product, profile)
    tiles = [tile for tile in TILES if measured or _takes(cost, product, profile, mode, tile)]
    return min(_tiled(cost, product, profile, mode, tile) for tile in tiles)


def _takes(cost: NodeCost, product: Product, profile: Profile, mode: str, tile: int) -> bool:
    """Whether cuDNN takes a tile: in tensor cores, it leaves no part of a wide one empty."""
    in_tensor_cores = mode in TENSOR_MODES and profile.tensor and cost.family in _BLOCKED
    return not in_tensor_cores or tile == TILES[0] or product.columns % tile == 0


def _tiled(cost: NodeCost, product: Product, profile: Profile, mode: str, tile: int) -> float:
    """Seconds of a product in tiles of so many columns."""
    batch, rows, columns, depth = product
    kind = "tensor" if mode in TENSOR_MODES else "tile"
    speed = profile.peak[mode] * profile.relative.get(cost.family, 1.0)
    speed *= profile.compute[f"{kind}_{tile}"]
    if kind == "tensor" and profile.tensor and cost.family in _BLOCKED:
        depth, share = _in_pieces(cost, depth, profile)
        speed *= share
    height = min(_ROWS, _up(rows, _FEWEST_ROWS))
    if cost.family == "matmul" and min(rows, columns) == 1:
        return cost.flops / speed  # with a vector, which has kernels of its own
    if cost.family == "matmul" and max(rows, columns) <= _SMALLEST:
        height = tile = _SMALLEST
    # Whole waves of one tile for each multiprocessor: the last may be nearly empty.
    waves = -(-batch * -(-rows // height) * -(-columns // tile) // profile.sms)
    work = 2.0 * waves * profile.sms * height * tile * depth
    return waves * (profile.wave or 0.0) + work / speed


def _in_pieces(cost: NodeCost, depth: int, profile: Profile) -> tuple[int, float]:
    """A product's depth with its channels in whole pieces, and the share of the speed reached."""
    size = ITEMSIZE.get(cost.dtype, _WORD)
    nbytes = depth // cost.taps * size
    aligned = _up(nbytes, _FILLED) % _ALIGNED == 0
    return cost.taps * _up(nbytes, _PIECE) // size, 1.0 if aligned else profile.tensor["unaligned"]


def _up(number: int, step: int) -> int:
    """The next multiple of a step."""
    return step * -(-number // step)


def _blocked(cost: NodeCost, product: Product, profile: Profile) -> float:
    """Seconds of a product by a library that fills channels up to blocks in convolutions."""
    (mode,) = profile.modes(cost.dtype, "matmul")
    speed = profile.peak[mode] * profile.relative.get(cost.family, 1.0)
    batch, rows, columns, depth = product
    if cost.family in _BLOCKED:
        block = int(profile.layout["block"])
        speed *= profile.layout["compute"]
        channels = depth // cost.taps
        if channels >= _FEWEST_CHANNELS:
            depth = cost.taps * _up(channels, block)
        columns = _up(columns, block)
    return 2.0 * batch * rows * columns * depth / speed


def _layout(cost: NodeCost, profile: Profile, mode: str) -> tuple[float, int]:
    """Seconds of copying a convolution's maps into the library's layout and back, and kernels."""
    if profile.tensor and mode in TENSOR_MODES and cost.family in _BLOCKED:
        return (0.0, 0) if cost.channels_last else _transposed(cost, profile)
    if not profile.layout or cost.family not in {*_BLOCKED, "depthwise"}:
        return 0.0, 0
    image = cost.reads[0][1]
    if cost.product is not None and cost.product.depth < _FEWEST_CHANNELS * cost.taps:
        image = 0  # an image's three channels are taken as they are
    seconds = 2 * (image + cost.written) / (profile.bandwidth * profile.layout["bandwidth"])
    return seconds, 0


def _transposed(cost: NodeCost, profile: Profile) -> tuple[float, int]:
    """Seconds and kernels of the copies between plain maps and those with channels innermost.

    The image, the filters and the result are copied, in whole pieces; what the kernel counts with
    is set to zero first. If a pixel of the image has channels to be filled up, its copy is too.
    """
    size = ITEMSIZE.get(cost.dtype, _WORD)
    inner, outer = (size * channels for channels in cost.channels)
    image, result = cost.reads[0][1] / inner, cost.written / outer  # pixels
    nbytes = 2 * (image * _up(inner, _PIECE) + result * _up(outer, _PIECE))
    seconds = nbytes / (profile.bandwidth * profile.tensor["transpose"])
    if inner % _FILLED == 0:
        return seconds, 4
    return seconds + image * _up(inner, _FILLED) / profile.bandwidth, 6


def _cached(costs: Sequence[NodeCost], index: int, profile: Profile) -> int:
    """Bytes that a node finds in the cache: what the kernel just before it wrote.

    Nothing unless all that the two read and the earlier wrote, each storage once, fits in it.
    """
    if profile.cache_bandwidth is None:
        return 0
    earlier = index - 1
    while earlier >= 0 and costs[earlier].family == "view":
        earlier -= 1
    if earlier < 0:
        return 0
    before, cost = costs[earlier], costs[index]
    touched = before.written
    if not (before.bias and profile.bias_pass):  # or else its last kernel touched the result alone
        touched += _beside(before.reads, before.writes)
    if cost.strided or touched + _beside(cost.reads, before.writes) > profile.cache:
        return 0
    return sum(nbytes for storage, nbytes in cost.reads if storage in before.writes)


def _beside(reads: Iterable[tuple[int, int]], writes: Sequence[int]) -> int:
    """Bytes that are read of storages that are not written."""
    return sum(nbytes for storage, nbytes in reads if storage not in writes)


def uncertainty(nodes: Sequence[NodeEstimate], profile: Profile) -> tuple[float, str]:
    """One standard deviation of the sum, in seconds, and how it was computed.

    Each family's time is off by the profile's `spread`, independently of the others, and so
    are the launches; all move together by `common`. Families that a fit to whole networks saw
    share the root mean square of its held-out errors instead; a calibration has found the spread
    of each family for itself.
    """
    by_family: dict[str, float] = defaultdict(float)
    by_place: dict[tuple[object, ...], float] = defaultdict(float)
    launches = 0.0
    for node in nodes:
        work = node.seconds - node.overhead
        launches += node.overhead
        if node.match is not None and profile.held_out_rms is None:
            # those of one place are off together
            by_place[node.match.place] += work * node.match.spread
            continue
        strided = min(_strided(node.cost, profile), work)
        by_family["strided"] += strided
        by_family[node.cost.family] += work - strided
    if by_place:
        seconds, host = sum(node.seconds for node in nodes), sum(node.host for node in nodes)
        # a slower host holds up a device that it did not
        waits = max(launches, (host - seconds) / profile.spread["launch"] + host)
        return _of_rows(by_place, by_family, seconds - launches, waits, profile)
    seen = [family for family in by_family if family in profile.fitted]
    unseen = {f: t for f, t in by_family.items() if f not in profile.fitted and t > 0}
    spread = profile.spread
    variance = sum((spread[family] * seconds) ** 2 for family, seconds in unseen.items())
    assumed = f"; assumed spread for {', '.join(sorted(unseen))}, which the fit did not see"
    if profile.held_out_rms is None:
        variance += sum((spread[family] * by_family[family]) ** 2 for family in seen)
        variance += (spread["common"] * sum(by_family.values())) ** 2
        variance += (spread["launch"] * launches) ** 2
        if not profile.fitted:
            return sqrt(variance), "spread assumed for each class and for the profile as a whole"
        words = "held-out errors of the calibration, by class"
        return sqrt(variance), words + (assumed if unseen else "")
    variance += (profile.held_out_rms * (sum(by_family[f] for f in seen) + launches)) ** 2
    words = f"root mean square of the fit's held-out errors ({100 * profile.held_out_rms:.1f} %)"
    return sqrt(variance), words + (assumed if unseen else "")


def _of_rows(
    by_place: Mapping[tuple[object, ...], float],
    by_family: Mapping[str, float],
    working: float,
    waiting: float,
    profile: Profile,
) -> tuple[float, str]:
    """The same where nodes have measured operations near them: standard deviations by place."""
    spread = profile.spread
    variance = sum(deviation**2 for deviation in by_place.values())
    others = {family: time for family, time in by_family.items() if time > 0}
    variance += sum((spread[family] * time) ** 2 for family, time in others.items())
    variance += (spread["common"] * working) ** 2
    variance += (spread["launch"] * waiting) ** 2
    found = measured(profile.table)
    assert found is not None
    words = f"how far measured operations ({found.text}) are off what others say of them"
    if found.base.figures != profile.figures:
        words += "; carried to this device by both datasheets"
    assumed = f"; assumed spread for {', '.join(sorted(others))}" if others else ""
    return sqrt(variance), words + assumed
