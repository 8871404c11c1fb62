"""Predicted latency: the total, its doubt, classes, the slowest nodes."""

from __future__ import annotations

from srprof.analysis.record import AnalysisRecord, ClassRecord, LatencyRecord
from srprof.render.document import Column, Section, Table
from srprof.render.views import SHAPED


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
    """The total, what its uncertainty comes from, and what the launches take."""
    return (
        f"{latency.predicted_ms:.2f} ms, give or take {latency.uncertainty_ms:.2f} "
        "(one standard deviation)",
        f"uncertainty: {latency.uncertainty_from}",
        f"launch overhead: {latency.overhead_ms:.2f} ms, {latency.overhead_share:.1%}",
    )


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
        (Column("class"), lambda node: node.op_class),
        (Column("us", "time"), lambda node: node.predicted_us),
        (Column("share", "share"), lambda node: _share((node.predicted_us or 0) / 1e3, total)),
        (Column("bound by"), lambda node: node.bound),
    )
    return Section(f"Slowest nodes ({len(table.rows)} of {len(running)})", (), table)


def of_module(record: AnalysisRecord, path: str) -> tuple[float, float]:
    """Milliseconds of a module with all inside it, and their share of the whole."""
    assert record.latency is not None
    ms = record.latency.by_module.get(path, 0.0)  # a module of views takes none
    return ms, _share(ms, record.latency.predicted_ms)


def _share(ms: float, total: float) -> float:
    return ms / total if total else 0.0


def _bound(total: ClassRecord) -> str:
    """`memory`, or `memory (83%)` where other nodes of the class are bound by something else."""
    share = f"{total.bound_share:.0%}"
    return total.bound if share == "100%" else f"{total.bound} ({share})"
