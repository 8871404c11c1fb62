"""The Pareto plot of a sweep: two metrics against each other, the best configurations joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srprof.errors import InputError
from srprof.output import replacing
from srprof.render.figures import SETTINGS
from srprof.sweeping.grid import METRICS, parse_metrics
from srprof.sweeping.run import Plan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
Point = tuple[float, float]

#: Okabe and Ito's colours, and markers, one for each input.
_LOOKS = tuple(
    zip(
        ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
        ("o", "s", "^", "D", "v", "P", "X"),
        strict=True,
    )
)
#: Most configurations of a front that are named in the plot.
_MOST_NAMES = 16

_TITLES = {
    "params": ("parameters", 1e3, "K"),
    "flops": ("FLOPs as the NTIRE challenge counts", 1e9, "G"),
    "macs": ("multiply-accumulates", 1e9, "G"),
    "activations": ("activations", 1e6, "M"),
    "convs": ("convolutions", 1, ""),
    "planned": ("planned peak", 2**20, "MiB"),
    "eager": ("eager peak", 2**20, "MiB"),
    "allocated": ("allocated peak", 2**20, "MiB"),
    "reserved": ("reserved peak", 2**20, "MiB"),
    "latency_ms": ("predicted latency", 1, "ms"),
}


def axes_of(text: str | None, metrics: Sequence[str], device: object | None) -> tuple[str, str]:
    """The two metrics of the plot: those asked for, else latency or FLOPs, and the eager peak.

    Raises:
        InputError: they are not two of the sweep's metrics.
    """
    if text is None:
        usual = [m for m in ("latency_ms", "flops", "eager", "params", *metrics) if m in metrics]
        chosen = tuple(dict.fromkeys(usual))[:2]
    else:
        chosen = parse_metrics([text], device)
    if len(chosen) != 2 or not set(chosen) <= set(metrics):
        raise InputError(
            f"--pareto {text or ''}: give two of the metrics of this sweep, {', '.join(metrics)}"
        )
    return chosen[0], chosen[1]


def front(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other is better than in both, from left to right.

    Of equal points the first.
    """
    order = sorted(range(len(points)), key=lambda i: (*points[i], i))
    found: list[int] = []
    for index in order:
        if not found or points[index][1] < points[found[-1]][1]:
            found.append(index)
    return found


def write_pareto(plan: Plan, rows: Sequence[Row], axes: tuple[str, str], path: str) -> None:
    """Draw the rows that did not fail, in the format that the file's name ends in.

    Raises:
        InputError: the system refuses to write the file.
    """
    import matplotlib

    ending = Path(path).suffix[1:].lower()
    stable = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(ending)
    with matplotlib.rc_context(SETTINGS):
        figure = pareto(plan, rows, axes)
        with replacing(Path(path), option="--figure") as temporary:
            figure.savefig(temporary, format=ending, dpi=150, metadata=stable)


def pareto(plan: Plan, rows: Sequence[Row], names: tuple[str, str]) -> Figure:
    """A point for each configuration; one front for each input, as no two images compare."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 6.0), layout="constrained")
    axes = figure.add_subplot()
    by_input: dict[str, list[Row]] = {}
    for row in rows:
        if not row["error"]:
            by_input.setdefault(row["input"], []).append(row)
    if len(by_input) > 1:
        for axis, name in zip((axes.xaxis, axes.yaxis), names, strict=True):
            values = [row[name] for members in by_input.values() for row in members]
            if min(values) > 0 and max(values) > 20 * min(values):
                getattr(axes, f"set_{axis.axis_name}scale")("log")
    for number, (size, members) in enumerate(by_input.items()):
        _draw(axes, plan, size, members, names, _LOOKS[number % len(_LOOKS)], len(by_input))
    for axis, name in zip(("x", "y"), names, strict=True):
        title, _, unit = _TITLES[name]
        getattr(axes, f"set_{axis}label")(f"{title} ({unit})" if unit else title)
    count = sum(map(len, by_input.values()))
    axes.set_title(
        f"{plan.spec}: {count} configurations; joined: no other is better in both",
        loc="left",
        fontsize=10,
    )
    axes.grid(visible=True, alpha=0.25, linewidth=0.6)
    axes.margins(0.08)
    if by_input:
        axes.legend(fontsize=9, frameon=False, title="LR input", title_fontsize=9)
    return figure


def _draw(
    axes: Axes,
    plan: Plan,
    size: str,
    rows: Sequence[Row],
    names: tuple[str, str],
    look: tuple[str, str],
    inputs: int,
) -> None:
    color, marker = look
    scale = [_TITLES[name][1] for name in names]
    points = [(row[names[0]] / scale[0], row[names[1]] / scale[1]) for row in rows]
    best = front(points)
    axes.plot(*zip(*points, strict=True), marker, color=color, alpha=0.35, markersize=5)
    axes.plot(
        *zip(*(points[i] for i in best), strict=True), f"-{marker}", color=color, markersize=6,
        linewidth=1.2, label=size,
    )  # fmt: skip
    if not plan.arguments or inputs * len(best) > _MOST_NAMES:
        return
    for index in best:
        axes.annotate(
            ", ".join(f"{name}={rows[index][name]!r}" for name in plan.arguments),
            points[index],
            xytext=(6, -9),
            textcoords="offset points",
            fontsize=7,
        )


assert set(_TITLES) == set(METRICS)
