"""The Pareto plot of a sweep: two metrics against each other, the best configurations joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from srprof.errors import InputError
from srprof.figures import find, peak_names
from srprof.render.figures import annotate, escaped, new_figure
from srprof.sweeping.grid import parse_metrics
from srprof.sweeping.record import SweepPlan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
Point = tuple[float, float]

#: Okabe and Ito's colours, and markers, one for each input.
_LOOKS = (
    ("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"),
    ("#56B4E9", "P"), ("#000000", "X"),
)  # fmt: skip
#: What the plot's axes are if nobody says: the first of each that the sweep has.
_COSTS = ("latency_ms", "eager", "allocated")
_CAPACITIES = ("params", "flops", "macs", "convs")
#: Most configurations of a front that are named in the plot.
_MOST_NAMES = 20


class Axis(NamedTuple):
    """A metric, and whether more of it is better."""

    metric: str
    more: bool


def axes_of(text: str | None, metrics: Sequence[str], profile: object | None) -> tuple[Axis, Axis]:
    """The two metrics of the plot, `eager,params:max`.

    Those asked for, else a cost (latency, memory) against what a network has for it (parameters),
    of which more is better: of two costs the smallest network would always be best in both. An
    InputError if they are not two of the sweep's metrics.
    """
    if text is None:
        costs = (*_COSTS, *peak_names(), "activations")
        cost = next((m for m in costs if m in metrics), "")
        capacity = next((m for m in _CAPACITIES if m in metrics), "")
        chosen = [Axis(cost, more=False), Axis(capacity, more=True)]
    else:
        chosen = []
        for piece in text.split(","):
            name, _, direction = piece.partition(":")
            if direction not in ("", "min", "max"):
                raise InputError(f"--pareto {text}: after a metric stands :max, :min or nothing")
            (metric,) = parse_metrics([name], profile)
            chosen.append(Axis(metric, direction == "max"))
    if len(chosen) != 2 or len({axis.metric for axis in chosen} & set(metrics)) != 2:
        raise InputError(
            "--pareto takes two of this sweep's metrics, as in eager,params:max; there are "
            + ", ".join(metrics)
        )
    return chosen[0], chosen[1]


def front(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other is below in one coordinate and not above in the other.

    From left to right; of equal points the first.
    """
    order = sorted(range(len(points)), key=lambda i: (*points[i], i))
    best: list[int] = []
    for index in order:
        if not best or points[index][1] < points[best[-1]][1]:
            best.append(index)
    return best


def pareto(plan: SweepPlan, rows: Sequence[Row], chosen: tuple[Axis, Axis]) -> Figure:
    """A point for each row that did not fail; one front an input, as no two images compare."""
    figure = new_figure(9.0, 6.0)
    axes = figure.add_subplot()
    by_input: dict[str, list[Row]] = {}
    for row in rows:
        if not row["error"] and all(row[axis.metric] is not None for axis in chosen):
            by_input.setdefault(row["input"], []).append(row)
    for number, (size, members) in enumerate(by_input.items()):
        best = _draw(axes, size, members, chosen, *_LOOKS[number % len(_LOOKS)])
        few = plan.arguments and len(by_input) * len(best) <= _MOST_NAMES
        for index, point in best.items() if few else ():
            text = ", ".join(f"{name}={members[index][name]!r}" for name in plan.arguments)
            annotate(axes, escaped(text), point, 6, -9, fontsize=7)
    for axis, way in zip(chosen, ("x", "y"), strict=True):
        title, unit = find(axis.metric).title, find(axis.metric).unit
        getattr(axes, f"set_{way}label")(f"{title} ({unit})" if unit else title)
        values = [row[axis.metric] for members in by_input.values() for row in members]
        if len(by_input) > 1 and 0 < 20 * min(values) < max(values):
            _logarithmic(axes, way)
    count = sum(map(len, by_input.values()))
    better = " and ".join(f"{'more' if a.more else 'less'} {find(a.metric).title}" for a in chosen)
    title = f"{escaped(plan.call.spec)}: {count} configurations; joined: none other has {better}"
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(visible=True, alpha=0.25, linewidth=0.6)
    axes.margins(0.08)
    if by_input:
        axes.legend(fontsize=9, frameon=False, title="LR input", title_fontsize=9)
    return figure


def _logarithmic(axes: Axes, way: str) -> None:
    """Powers of ten and what lies between, as plain numbers: 4 and not 4 x 10^0."""
    from matplotlib.ticker import LogFormatter

    getattr(axes, f"set_{way}scale")("log")
    scale = getattr(axes, f"{way}axis")
    scale.set_major_formatter(LogFormatter())
    scale.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))


def _draw(
    axes: Axes, size: str, rows: Sequence[Row], chosen: tuple[Axis, Axis], color: str, marker: str
) -> dict[int, Point]:
    """All points of an input, and its front joined: its points by their rows, left to right."""
    x, y = ([row[axis.metric] / find(axis.metric).factor for row in rows] for axis in chosen)
    points = list(zip(x, y, strict=True))
    signs = [-1 if axis.more else 1 for axis in chosen]
    best = front([(signs[0] * a, signs[1] * b) for a, b in points])
    best.sort(key=lambda i: points[i])
    axes.plot(*zip(*points, strict=True), marker, color=color, alpha=0.35, markersize=5)
    axes.plot(
        *zip(*(points[i] for i in best), strict=True), f"-{marker}", color=color, markersize=6,
        linewidth=1.2, label=size,
    )  # fmt: skip
    return {i: points[i] for i in best}
