"""Predicted latency: the total, its doubt, classes, the slowest nodes, what could be saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from srprof.analysis.record import AnalysisRecord, AvoidableRecord, ClassRecord, LatencyRecord
from srprof.render.document import Column, Section, Table
from srprof.render.views import SHAPED

#: Avoidable costs that are shown.
MOST = 3


def overview(record: AnalysisRecord) -> Section | None:
    """The total with its uncertainty, and the operation classes; None without a profile."""
    latency = record.latency
    if latency is None:
        return None
    table = Table.build(
        latency.by_class,
        (Column("class"), lambda total: total.op_class),
        (Column("nodes", "count"), lambda total: total.nodes),
        (Column("ms", "time"), lambda total: total.ms),
        (Column("share", "share"), lambda total: total.share),
        (Column("bound by"), _bound),
    )
    return Section(f"Latency on {latency.title}, predicted", headline(latency), table)


def headline(latency: LatencyRecord) -> tuple[str, ...]:
    """The total, what bounds it, what its uncertainty comes from, and what the launches take."""
    return (
        f"{latency.predicted_ms:.2f} ms, give or take {latency.uncertainty_ms:.2f} "
        "(one standard deviation)",
        *bounds(latency.device_ms, latency.host_ms, latency.graph_ms),
        f"uncertainty: {latency.uncertainty_from}",
        *_unmeasured(latency),
        f"launch overhead: {latency.overhead_ms:.2f} ms, {latency.overhead_share:.1%}",
    )


def bounds(device: float | None, host: float | None, graph: float | None) -> Iterator[str]:
    """`device 1.40 ms, host 2.10 ms: bound by the host; with CUDA graphs 1.40`; or nothing."""
    if device is None or host is None:
        return
    bound = "host" if host > device else "device"
    graphs = "" if graph is None or bound == "device" else f"; with CUDA graphs {_ms(graph)}"
    yield f"device {_ms(device)} ms, host {_ms(host)} ms: bound by the {bound}{graphs}"


def _unmeasured(latency: LatencyRecord) -> Iterator[str]:
    """How much of the time no measured operation speaks for."""
    ms, nodes = latency.unmeasured_ms, latency.unmeasured_nodes
    if ms and nodes:
        share = _share(ms, latency.predicted_ms)
        of = f"{nodes} node{'s' * (nodes > 1)}"
        yield f"{_ms(ms)} ms ({share:.1%}) are of {of} that no measured operation is near"


def avoidable(record: AnalysisRecord) -> Section | None:
    """The largest avoidable costs; None without any."""
    costs = () if record.latency is None else record.latency.avoidable
    lines = avoidable_lines(costs)
    return Section("Could be saved, each by itself", lines) if lines else None


def avoidable_lines(costs: Sequence[AvoidableRecord]) -> tuple[str, ...]:
    """The largest costs in words."""
    return tuple(_AVOIDABLE[cost.kind](cost) for cost in costs[:MOST] if cost.kind in _AVOIDABLE)


def _width(cost: AvoidableRecord) -> str:
    many = "1 convolution has" if cost.nodes == 1 else f"{cost.nodes} convolutions have"
    what = f"{many} {cost.width} channels, which cost more than {cost.instead} would"
    return f"{what}: {_ms(cost.ms)} of {_ms(cost.of_ms)} ms"


def _bias(cost: AvoidableRecord) -> str:
    one = "1 bias is added by a kernel of its own"
    many = f"{cost.nodes} biases are added by kernels of their own"
    return f"{one if cost.nodes == 1 else many}: {_ms(cost.ms)} ms"


def _layout(cost: AvoidableRecord) -> str:
    many = "1 convolution" if cost.nodes == 1 else f"{cost.nodes} convolutions"
    copies, saved = _ms(cost.of_ms), _ms(cost.ms)
    them = "them" if copies == saved else f"{saved} ms"
    return f"layout copies around {many}: {copies} ms; channels_last would save {them}"


def _cpu(cost: AvoidableRecord) -> str:
    assert cost.work is not None
    return f"{cost.work.text}: {_ms(cost.ms)} ms; {cost.work.mend}"


def _graph(cost: AvoidableRecord) -> str:
    rest = cost.of_ms - cost.ms
    return f"waiting for the host: {_ms(cost.ms)} ms; with CUDA graphs {_ms(rest)} ms"


def _host(cost: AvoidableRecord) -> str:
    left = f"{_ms(cost.of_ms)} ms that are left without work on the CPU"
    return f"waiting for the host to launch: {_ms(cost.ms)} of {left}"


_AVOIDABLE: Mapping[str, Callable[[AvoidableRecord], str]] = {
    "width": _width,
    "bias": _bias,
    "layout": _layout,
    "cpu": _cpu,
    "graph": _graph,
    "host": _host,
}


def _ms(value: float) -> str:
    """Two decimals, as in the tables; three where those would say little."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def slowest(record: AnalysisRecord, rows: int | None) -> Section | None:
    """The nodes that take longest; None without a profile."""
    if record.latency is None:
        return None
    running = [node for node in record.nodes if node.bound != "free"]
    running.sort(key=lambda node: (-(node.predicted_us or 0), node.index))
    total = record.latency.predicted_ms
    table = Table.build(
        running[:rows],
        (Column("node", "count"), lambda node: node.index),
        *SHAPED,
        (Column("class", spare=1), lambda node: node.op_class),
        (Column("us", "time"), lambda node: node.predicted_us),
        (
            Column("share", "share", spare=2),
            lambda node: _share((node.predicted_us or 0) / 1e3, total),
        ),
        (Column("bound by"), lambda node: node.bound),
    )
    return Section(f"Slowest nodes ({len(table.rows)} of {len(running)})", (), table)


def share_of(record: AnalysisRecord, ms: float | None) -> float | None:
    """What milliseconds are of the whole; None where they are not known."""
    if record.latency is None or ms is None:
        return None
    return _share(ms, record.latency.predicted_ms)


def _share(ms: float, total: float) -> float:
    return ms / total if total else 0.0


def _bound(total: ClassRecord) -> str:
    """`memory`, or `memory (83%)` where other nodes of the class are bound by something else."""
    share = f"{total.bound_share:.0%}"
    return total.bound if share == "100%" else f"{total.bound} ({share})"
