"""Pictures of predicted latency: the roofline, and time by module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import atan2, degrees
from typing import TYPE_CHECKING, Any, NamedTuple

from srprof.analysis import Analysis
from srprof.cost.estimate import Estimate
from srprof.cost.node import NodeEstimate
from srprof.inputs import ITEMSIZE
from srprof.render.figures import LOOKS, annotate, escaped, new_figure, save, stack_bars

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.text import Text


#: Bars of the module figure: the modules are opened level by level up to so many.
MOST_BARS = 24
#: Area of the slowest node's point, in square points, and of those that take hardly any time.
_LARGEST, _SMALLEST = 420.0, 8.0

_CAPTION = (
    "A point is a node, its area the time that it takes. A multiply-add is two operations; a node "
    "without any\ncounts one for each element that it reads or writes, whichever are more."
)
_WIDTH = 9.0
_LEGEND: Any = {"loc": "outside lower center", "fontsize": 9, "frameon": False}


def write_figure(analysis: Analysis, kind: str, path: str) -> None:
    """Draw one of `srprof.render.figures.KINDS` of an analysis that has a prediction."""
    drawings: dict[str, Callable[[Analysis], Figure]] = {"roofline": roofline, "modules": modules}
    save(lambda: drawings[kind](analysis), path)


def _titled(height: float, analysis: Analysis, what: str) -> tuple[Figure, Axes]:
    figure = new_figure(_WIDTH, height)
    axes = figure.add_subplot()
    trace, estimate = analysis.trace, _predicted(analysis)
    axes.set_title(
        f"{escaped(trace.name)} at {trace.inputs_text}: {what}\n"
        f"{1e3 * estimate.seconds:.2f} ms predicted on {escaped(estimate.profile.title)}",
        loc="left",
        fontsize=10,
    )
    return figure, axes


# -- roofline -------------------------------------------------------------------------------------


class Point(NamedTuple):
    """One node in the roofline plot: operations per byte, operations a second, and its time."""

    family: str
    intensity: float
    speed: float
    seconds: float


def points(estimate: Estimate) -> list[Point]:
    """The nodes that run, slowest first, so that small points are drawn over large ones."""
    placed = filter(None, map(point_of, estimate.nodes))
    return sorted(placed, key=lambda point: -point.seconds)


def point_of(node: NodeEstimate) -> Point | None:
    """Of a node: two operations for each multiply-add, else one for each element that it touches.

    None if nothing runs.
    """
    cost = node.cost
    done = cost.flops or max(cost.read, cost.written) / ITEMSIZE.get(cost.dtype, 4)
    moved = cost.read + cost.written
    if not (done and moved and node.seconds):
        return None
    return Point(cost.family, done / moved, done / node.seconds, node.seconds)


def roofline(analysis: Analysis) -> Figure:
    """The nodes as points under the device's roofs; a point's area is the node's time."""
    estimate = _predicted(analysis)
    placed = points(estimate)
    figure, axes = _titled(6.8, analysis, "roofline")
    axes.set_xscale("log")
    axes.set_yscale("log")
    if placed:
        ridge = min(estimate.profile.peak.values()) / estimate.profile.bandwidth
        shown = [ridge, *(p.intensity for p in placed)]
        left, right = min(shown) / 8, 4 * max(shown)
        lowest = min(*(p.speed for p in placed), estimate.profile.bandwidth * left)
        axes.set_xlim(left, right)
        axes.set_ylim(lowest / 2, 4 * max(roofs(estimate).values()))
        entries = _draw_points(axes, placed)
        slopes = _draw_roofs(axes, estimate, left, right)
        figure.legend(handles=entries, title=_CAPTION, title_fontsize=8, ncols=2, **_LEGEND)
        figure.draw_without_rendering()  # only now the slopes' angle is known
        for text, bandwidth in slopes:
            text.set_rotation(_angle(axes, left, right, bandwidth))
    axes.set_xlabel("arithmetic intensity (operations / byte of memory traffic)")
    axes.set_ylabel("speed (operations / s)")
    axes.grid(visible=True, which="major", alpha=0.25, linewidth=0.6)
    return figure


def roofs(estimate: Estimate) -> dict[str, float]:
    """Peaks that the network's dtypes may reach, by mode."""
    modes: dict[str, float] = {}
    for node in estimate.nodes:
        if node.bound != "free" and node.cost.dtype in estimate.profile.peak:
            for mode in estimate.profile.modes(node.cost.dtype, node.cost.family):
                modes[mode] = estimate.profile.peak[mode]
    return modes or dict(estimate.profile.peak)


def _draw_points(axes: Axes, placed: Sequence[Point]) -> list[Line2D]:
    """The legend's entries: a marker of one size for each family."""
    from matplotlib.lines import Line2D

    slowest = placed[0].seconds
    by_family: dict[str, list[Point]] = {}
    for point in placed:
        by_family.setdefault(point.family, []).append(point)
    totals = {family: sum(p.seconds for p in members) for family, members in by_family.items()}
    entries = []
    for order, family in enumerate(sorted(totals, key=lambda family: -totals[family])):
        look, members = LOOKS[family], by_family[family]
        axes.scatter(
            [p.intensity for p in members], [p.speed for p in members],
            s=[max(_SMALLEST, _LARGEST * p.seconds / slowest) for p in members],
            c=look.color, marker=look.marker, alpha=0.55, edgecolors="white", linewidths=0.6,
            zorder=3 + order,
        )  # fmt: skip
        count = f"{len(members)} node{'s' if len(members) > 1 else ''}"
        label = f"{look.label}: {count}, {1e3 * totals[family]:.2f} ms"
        mark: Any = {"marker": look.marker, "color": look.color, "markersize": 8}
        entries.append(Line2D([], [], linestyle="", label=label, **mark))
    return entries


def _draw_roofs(
    axes: Axes, estimate: Estimate, left: float, right: float
) -> list[tuple[Text, float]]:
    """Bandwidths as slopes and peaks as lines from the slope on, each with its figure.

    Gives the slopes' labels, each with its bandwidth; they have no angle yet.
    """
    profile, peaks = estimate.profile, roofs(estimate)
    slopes = {"memory": profile.bandwidth}
    if profile.cache_bandwidth is not None:
        slopes["cache"] = profile.cache_bandwidth
    highest = max(peaks.values())
    labels: list[tuple[Text, float]] = []
    start = left * (right / left) ** 0.02
    for name, bandwidth in slopes.items():
        end, style = highest / bandwidth, "-" if name == "memory" else "--"
        axes.plot([left, end], [bandwidth * left, highest], style, color="black", linewidth=1.2)
        text = f"{name} {bandwidth / 1e9:,.0f} GB/s"
        at = (start, bandwidth * start)
        label = annotate(axes, text, at, -4, 4, rotation_mode="anchor", fontsize=9)
        labels.append((label, bandwidth))
    for peak in set(peaks.values()):
        axes.plot([peak / profile.bandwidth, right], [peak, peak], color="black", linewidth=1.2)
        names = ", ".join(mode for mode, value in peaks.items() if value == peak)
        text = f"{names}\n{peak / 1e12:,.4g} TFLOP/s"
        annotate(axes, text, (right, peak), 5, 0, va="center", fontsize=9)
    return labels


def _angle(axes: Axes, left: float, right: float, bandwidth: float) -> float:
    """Degrees at which a line of this bandwidth rises in the drawn axes."""
    line = [(left, bandwidth * left), (right, bandwidth * right)]
    (x0, y0), (x1, y1) = axes.transData.transform(line)
    return degrees(atan2(y1 - y0, x1 - x0))


# -- time by module -------------------------------------------------------------------------------


def module_times(analysis: Analysis, most: int = MOST_BARS) -> dict[str, dict[str, float]]:
    """Seconds by module and family, in the order in which the modules first run.

    The modules are opened level by level as long as there are at most so many; "" is what runs
    in the model itself.
    """
    running = [node for node in _predicted(analysis).nodes if node.bound != "free"]
    deepest = max((node.cost.module.count(".") + 1 for node in running), default=1)
    bars: dict[str, dict[str, float]] = {}
    for depth in range(1, deepest + 1):
        opened: dict[str, dict[str, float]] = {}
        for node in running:
            path = ".".join(node.cost.module.split(".")[:depth])
            times = opened.setdefault(path, {})
            times[node.cost.family] = times.get(node.cost.family, 0.0) + node.seconds
        if bars and len(opened) > most:
            break
        bars = opened
    return bars


def modules(analysis: Analysis) -> Figure:
    """A bar for each module, its parts the families of operations, from the first to run down."""
    bars = module_times(analysis)
    estimate = _predicted(analysis)
    figure, axes = _titled(1.9 + 0.26 * len(bars), analysis, "time by module")
    families = sorted(
        {family for times in bars.values() for family in times},
        key=lambda family: -sum(times.get(family, 0.0) for times in bars.values()),
    )
    names = [escaped(path) or "(the model itself)" for path in bars]
    times = [{family: 1e3 * s for family, s in parts.items()} for parts in bars.values()]
    ends = stack_bars(axes, names, times, families, 0.72)
    for row, total in enumerate(ends):
        text = f"{total:.2f} ms, {estimate.share(total / 1e3):.0%}"
        annotate(axes, text, (total, row), 4, 0, va="center", fontsize=8)
    axes.set_xlim(0, 1.18 * max(ends, default=1.0))
    axes.set_ylabel("module, in the order of the run")
    figure.legend(ncols=4, **_LEGEND)
    return figure


def _predicted(analysis: Analysis) -> Estimate:
    """The estimate of an analysis that has one."""
    assert analysis.latency is not None
    return analysis.latency
