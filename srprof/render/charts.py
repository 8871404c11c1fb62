"""What pages draw beside their tables, as plain data: one run's nodes and times, bars, lines.

A report's record and a command's document are drawn by the same script, `templates/charts.js`, so
what it takes is made here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from srprof.analysis.compute import avoidable_records, bounds_ms
from srprof.analysis.record import AnalysisRecord, AvoidableRecord, NodeRecord, ReleaseRecord
from srprof.codec import Key, encode, made_of
from srprof.cost.estimate import Estimate
from srprof.cost.node import NodeEstimate
from srprof.paths import place, short_path
from srprof.render.document import Chart
from srprof.words import MIB

if TYPE_CHECKING:
    from srprof.analysis import Analysis

#: Columns of a model's nodes; those from `class` on are of each device.
NODE_COLUMNS = (
    "index", "op", "module", "file", "line", "shape", "inplace", "input", "output", "kept", "held",
    "workspace", "allocated", "macs", "bytes_moved",
)  # fmt: skip
TIME_COLUMNS = ("class", "family", "us", "bound", "intensity", "speed")
#: Okabe and Ito's colours, in which before and after, and one and another, are drawn.
BEFORE, AFTER = "#999999", "#0072B2"

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Rows:
    """A table for programs."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def column(self, name: str) -> list[Any]:
        """The values of a column."""
        index = self.columns.index(name)
        return [row[index] for row in self.rows]


@dataclass(frozen=True)
class DeviceTimes:
    """A model's predicted latency on a device; by node and by module where nodes are shown.

    `peaks` are the roofs in operations per second by what limits them, `bandwidths` in bytes, and
    `modules` has ms by module and family of operations; `device_ms`, `host_ms`, `graph_ms` and
    `avoidable` are as in `srprof.analysis.record.LatencyRecord`.
    """

    device: str
    predicted_ms: float
    uncertainty_ms: float
    uncertainty_from: str
    peaks: Annotated[Mapping[str, float] | None, Key(sparse=True)] = None
    bandwidths: Annotated[Mapping[str, float] | None, Key(sparse=True)] = None
    modules: Annotated[Mapping[str, Mapping[str, float]] | None, Key(sparse=True)] = None
    nodes: Annotated[Rows | None, Key(sparse=True)] = None
    device_ms: Annotated[float | None, Key(sparse=True)] = None
    host_ms: Annotated[float | None, Key(sparse=True)] = None
    graph_ms: Annotated[float | None, Key(sparse=True)] = None
    avoidable: Annotated[tuple[AvoidableRecord, ...], Key(sparse=True)] = ()


def digits(value: float) -> float:
    """A value in as many digits as a page or a report has."""
    return float(f"{value:.6g}")


# -- one run --------------------------------------------------------------------------------------


def held(record: AnalysisRecord) -> tuple[ReleaseRecord, ...]:
    """What variables hold at the eager peak, with short paths."""
    return tuple(replace(r, file=short_path(r.file)) for r in record.memory.releases)


def node_rows(record: AnalysisRecord) -> Rows:
    """The nodes of a run."""
    return Rows(NODE_COLUMNS, tuple(map(_row, record.nodes)))


def _row(node: NodeRecord) -> Row:
    shown = replace(node, file=short_path(node.file))
    return tuple(getattr(shown, name) for name in NODE_COLUMNS)


def times(analysis: Analysis, detailed: bool = True) -> DeviceTimes:
    """The predicted latency of an analysis with a profile, by node and by module if `detailed`."""
    estimate = analysis.latency
    assert estimate is not None
    milliseconds = digits(1e3 * estimate.seconds), digits(1e3 * estimate.uncertainty)
    whole = DeviceTimes(estimate.profile.name, *milliseconds, estimate.uncertainty_from)
    return _by_node(whole, analysis, estimate) if detailed else whole


def _by_node(whole: DeviceTimes, analysis: Analysis, estimate: Estimate) -> DeviceTimes:
    from srprof.render.figures.latency import module_times, roofs

    slopes = {"memory": estimate.profile.bandwidth}
    if estimate.profile.cache_bandwidth is not None:
        slopes["cache"] = estimate.profile.cache_bandwidth
    return made_of(
        DeviceTimes,
        whole,
        peaks=roofs(estimate),
        bandwidths=slopes,
        modules={
            path: {family: digits(1e3 * seconds) for family, seconds in by_family.items()}
            for path, by_family in module_times(analysis).items()
        },
        nodes=Rows(TIME_COLUMNS, tuple(map(_time_row, estimate.nodes))),
        **{name: value and digits(value) for name, value in bounds_ms(estimate).items()},
        avoidable=tuple(map(_shown, avoidable_records(estimate, analysis.trace))),
    )


def _shown(cost: AvoidableRecord) -> AvoidableRecord:
    """A cost in as many digits as a report has, and with short paths."""
    work = cost.work and replace(
        cost.work, file=short_path(cost.work.file), made_in=short_path(cost.work.made_in)
    )
    return replace(cost, ms=digits(cost.ms), of_ms=digits(cost.of_ms), work=work)


def _time_row(node: NodeEstimate) -> Row:
    from srprof.render.figures.latency import point_of

    point = point_of(node)
    return (
        node.cost.op_class,
        node.cost.family,
        digits(1e6 * node.seconds),
        node.bound,
        point and digits(point.intensity),
        point and digits(point.speed),
    )


class RunCharts:
    """The charts of one analysis; `timed` gives its predicted times by node, if it has them."""

    def __init__(self, record: AnalysisRecord, timed: Callable[[], DeviceTimes] | None) -> None:
        self._record = record
        self._timed = timed
        self._subject = cache(self._made)  # all charts of a run are of one object

    def _made(self) -> Mapping[str, Any]:
        record = self._record
        return {
            "name": record.title,
            "net": record.memory.net,
            "map": record.feature_map_bytes,
            "held": encode(held(record)),
            "nodes": encode(node_rows(record)),
            "devices": [] if self._timed is None else [encode(self._timed())],
        }

    def memory(self) -> Chart:
        """The parts of memory over the nodes."""
        caption = (
            "Bytes referenced at the end of each node, by the paper's parts and what is held. "
            "allocated is what CUDA's allocator has given out there. Hover a node for its op, "
            "module and line; drag to zoom; click the legend to hide a part."
        )
        return Chart("memory", caption, self._subject())

    def held(self) -> Chart:
        """What variables hold at the eager peak."""
        return Chart("held", "By the variable that holds it, and its line.", self._subject())

    def nodes(self) -> Chart:
        """All nodes, to sort and to filter; its caption is the heading."""
        return Chart("nodes", f"Nodes ({len(self._record.nodes)})", self._subject())

    def times(self) -> tuple[Callable[[], Chart], ...]:
        """The roofline, and the time by module; nothing without times."""
        return () if self._timed is None else (self._roofline, self._modules)

    def _roofline(self) -> Chart:
        caption = (
            "A point is a node, its area the time that it takes. A multiply-add is two operations; "
            "a node without any counts one for each element that it reads or writes, whichever are "
            "more."
        )
        return Chart("roofline", caption, self._subject())

    def _modules(self) -> Chart:
        return Chart(
            "modules", "Predicted time by module, in the order of the run.", self._subject()
        )


# -- several --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Series:
    """Bars or steps of one colour; `pattern` is a hatch in the words of Plotly."""

    name: str
    values: Sequence[float | None]
    color: str
    pattern: str = ""


def bars(
    title: str, caption: str, categories: Iterable[str], *series: Series, limit: float | None = None
) -> Chart:
    """Bars by category; `title` is their axis' and `limit` where a line stands.

    They lie on their side, as names of lines and variables are long.
    """
    data = {
        "title": title,
        "flat": True,
        "categories": list(categories),
        "series": encode(series),
        "limit": limit,
    }
    return Chart("bars", caption, data)


def over_nodes(runs: Mapping[str, AnalysisRecord]) -> Chart:
    """What several runs reference at the end of each node, in MiB."""
    looks = ((BEFORE, "dash"), (AFTER, "solid"))
    series = [
        {
            "name": name,
            "values": [digits((record.memory.net + n.referenced) / MIB) for n in record.nodes],
            "texts": [_said(node) for node in record.nodes],
            "color": color,
            "dash": dash,
        }
        for (name, record), (color, dash) in zip(runs.items(), looks, strict=True)
    ]
    caption = "Bytes that the program references at the end of each node."
    return Chart("lines", caption, {"title": "eager memory (MiB)", "series": series})


def _said(node: NodeRecord) -> str:
    where = place(node.file, node.line)
    return f"{node.index} {node.step}" + (f", {where}" if where else "")
