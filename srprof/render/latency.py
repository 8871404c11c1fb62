"""What the reports say of predicted latency: the total, its doubt, classes, the slowest nodes."""

from __future__ import annotations

from srprof.analysis import Analysis
from srprof.cost.roofline import ClassTotal, Estimate
from srprof.paths import place
from srprof.render.base import Options
from srprof.render.tables import Column, Section, Table
from srprof.words import shape_text


def latency_section(analysis: Analysis, _: Options) -> Section:
    """The total with its uncertainty, and the operation classes."""
    found = predicted(analysis)
    columns = (
        Column("class"),
        Column("nodes", "count"),
        Column("ms", "time"),
        Column("share", "share"),
        Column("bound by"),
    )
    rows = tuple(
        (total.op_class, total.nodes, 1e3 * total.seconds, total.share, _bound(total))
        for total in found.classes
    )
    title = f"Latency on {found.device.title}, predicted"
    return Section(title, headline(found), Table(columns, rows))


def headline(found: Estimate) -> tuple[str, ...]:
    """The total, what its uncertainty comes from, and what the launches take."""
    return (
        f"{1e3 * found.seconds:.2f} ms, give or take {1e3 * found.uncertainty:.2f} "
        "(one standard deviation)",
        f"uncertainty: {found.uncertainty_from}",
        f"launch overhead: {1e3 * found.overhead:.2f} ms, {found.overhead_share:.1%}",
    )


def slowest_section(analysis: Analysis, options: Options) -> Section:
    """The nodes that take longest."""
    found, nodes = predicted(analysis), analysis.trace.nodes
    running = [i for i, node in enumerate(found.nodes) if node.bound != "free"]
    slowest = sorted(running, key=lambda i: (-found.nodes[i].seconds, i))[: options.rows]
    columns = (
        Column("node", "count"),
        Column("op"),
        Column("module"),
        Column("line"),
        Column("shape"),
        Column("class"),
        Column("us", "time"),
        Column("share", "share"),
        Column("bound by"),
    )
    rows = tuple(
        (
            i,
            nodes[i].op,
            nodes[i].module,
            place(nodes[i].file, nodes[i].line),
            shape_text(nodes[i].shape),
            found.nodes[i].cost.op_class,
            1e6 * found.nodes[i].seconds,
            found.share(found.nodes[i].seconds),
            found.nodes[i].bound,
        )
        for i in slowest
    )
    return Section(f"Slowest nodes ({len(slowest)} of {len(running)})", (), Table(columns, rows))


def predicted(analysis: Analysis) -> Estimate:
    """The estimate of an analysis that has one."""
    assert analysis.latency is not None
    return analysis.latency


def _bound(total: ClassTotal) -> str:
    """`memory`, or `memory (83%)` where other nodes of the class are bound by something else."""
    share = f"{total.bound_share:.0%}"
    return total.bound if share == "100%" else f"{total.bound} ({share})"
