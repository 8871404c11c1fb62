"""The figures of a report as files, by matplotlib, drawn from its record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from srprof.paths import place
from srprof.render.figures import (
    LOOKS,
    SETTINGS,
    annotate,
    escaped,
    new_figure,
    peak_looks,
    stack_bars,
)
from srprof.report.bubbles import PLACES, Point, panels
from srprof.words import MIB

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from srprof.report.record import NamedDevice, ReportRecord, ShownModel

#: Parts of the memory model from the bottom of the stack up: Okabe and Ito's colours, and a hatch
#: for what is held.
PARTS: Mapping[str, tuple[str, str]] = {
    "net": ("#999999", ""),
    "kept": ("#009E73", ""),
    "input": ("#56B4E9", ""),
    "output": ("#0072B2", ""),
    "held": ("#D55E00", "///"),
    "workspace": ("#CC79A7", ""),
}
#: How a name is aligned that stands so many steps to the right of its point, or above it.
_ACROSS: Mapping[float, str] = {0: "center", 1: "left", -1: "right"}
_ALONG: Mapping[float, str] = {0: "center", 1: "bottom", -1: "top"}
#: Largest area of a bubble, in square points.
_BUBBLE = 900.0
#: Variables that the figure of held memory shows for a model; the page and data.json have all.
_MOST_HELD = 8
#: Letters of a name that a figure shows.
_LONGEST = 48

Drawing = Callable[[], "Figure"]


def drawings(record: ReportRecord) -> dict[str, Drawing]:
    """The figures by file name without ending; each is made when it is called."""
    drawn: dict[str, Drawing] = {}
    models, sections = record.models, record.sections
    if "runtime-memory" in sections:
        drawn["runtime_memory"] = partial(bubbles, record, models, record.input)
    if "peaks" in sections:
        drawn["peaks"] = partial(peaks, record)
    if "memory" in sections:
        drawn["memory"] = partial(memory, models, record.input)
    if "held" in sections and any(model.held for model in models):
        drawn["held"] = partial(held, models, record.input)
    for index, device in enumerate(record.devices if "modules" in sections else ()):
        name = f"modules_{_plain(device.name)}"
        drawn[name] = partial(families, models, device, index, record.input)
    for figure in record.figures if "figures" in sections else ():
        if figure.kind == "memory":
            drawn[figure.name] = partial(memory, figure.models, figure.input, figure.unit)
        else:
            drawn[figure.name] = partial(bubbles, record, figure.models, figure.input)
    return drawn


def _plain(name: str) -> str:
    """A name that a file may have."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)


def save(drawing: Drawing, path: Path) -> None:
    """Draw and write as SVG and PNG, ending apart; the same figure is the same SVG."""
    import matplotlib

    with matplotlib.rc_context(SETTINGS):
        figure = drawing()
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
        figure.savefig(path.with_suffix(".png"), dpi=150)


def _grid(count: int, width: float, height: float, columns: int = 2) -> tuple[Figure, list[Axes]]:
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = new_figure(width * columns, height * rows + 0.5)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for empty in axes[count:]:
        empty.set_axis_off()
    return figure, axes[:count]


def text(name: str) -> str:
    """A name as it is shown.

    Of a longer one, such as a SPEC with its path, the end: axes would have no room.
    """
    shown = name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"
    return escaped(shown)


def memory(models: Sequence[ShownModel], size: str, unit: str = "MiB") -> Figure:
    """A stacked area of the parts for each model, all to one scale, with the peak marked."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _grid(len(models), 5.6, 3.1)
    highest = 0.0
    for model, box in zip(models, axes, strict=True):
        highest = max(highest, _stack(box, model, unit))
        box.set_title(f"{text(model.name)} at {size}", loc="left", fontsize=10)
        box.set_xlabel("node, in the order of the run")
        box.xaxis.set_major_locator(MaxNLocator(integer=True))
        box.set_ylabel("memory (MiB)" if unit == "MiB" else "feature maps, without net")
    for box in axes:
        box.set_ylim(0, 1.2 * highest or 1)
    _legend(figure, axes)
    return figure


def _stack(box: Axes, model: ShownModel, unit: str) -> float:
    """Draw the parts of one model; gives the eager peak in the unit."""
    nodes = model.nodes
    if nodes is None or not nodes.rows:
        return 0.0
    one = MIB if unit == "MiB" else model.map
    assert one is not None
    net = model.net if unit == "MiB" else 0
    index = nodes.column("index")
    # a step a node: each value holds from its node to the next
    edges = [i - 0.5 for i in index] + [index[-1] + 0.5]
    base = [0.0] * (len(edges) - 1)
    eager = base
    for part, (color, hatch) in PARTS.items():
        values = [net] * len(base) if part == "net" else [v or 0 for v in nodes.column(part)]
        if not any(values):
            continue
        top = [b + v / one for b, v in zip(base, values, strict=True)]
        box.fill_between(
            edges, [*base, base[-1]], [*top, top[-1]], step="post", facecolor=color, label=part,
            hatch=hatch, edgecolor="white", linewidth=0.0,
        )  # fmt: skip
        base = top
        if part != "workspace":
            eager = top
    if unit == "MiB":
        allocated = [value / one for value in nodes.column("allocated")]
        box.step(
            edges, [*allocated, allocated[-1]], where="post", color="black", linewidth=0.9,
            linestyle=":", label="allocated",
        )  # fmt: skip
    peak = max(range(len(eager)), key=lambda i: eager[i])
    right = peak > 0.6 * len(eager)
    said = f"peak {eager[peak]:.2f} at {peak} {text(nodes.column('op')[peak])}"
    annotate(
        box, said, (index[peak], eager[peak]), -18 if right else 18, 14,
        ha="right" if right else "left", fontsize=8,
        arrowprops={"arrowstyle": "-|>", "color": "black", "shrinkB": 0},
    )  # fmt: skip
    box.set_xlim(edges[0], edges[-1])
    return max(eager)


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend under all axes."""
    labelled: dict[str, Artist] = {}
    for box in axes:
        for handle, label in zip(*box.get_legend_handles_labels(), strict=True):
            labelled.setdefault(str(label), handle)
    handles, columns = list(labelled.values()), max(len(labelled), 1)
    figure.legend(
        handles, list(labelled), loc="outside lower center", ncols=columns,
        fontsize=8, frameon=False, handlelength=1.6, columnspacing=1.2,
    )  # fmt: skip


def bubbles(record: ReportRecord, models: Sequence[ShownModel], size: str) -> Figure:
    """Runtime against memory, predicted on each device and published; bubbles by parameters."""
    plots = list(panels(record, models))
    figure, axes = _grid(len(plots), 5.2, 4.2)
    for (_, device, points, left_out), box in zip(plots, axes, strict=True):
        among = f", among {', '.join(record.references)}" if record.references else ""
        beyond = f"{left_out} entries far outside left out" if left_out else ""
        title = f"predicted at {size}\n{device.title}" if device else f"published{among}\n{beyond}"
        _scatter(box, points)
        box.set_title(title, loc="left", fontsize=9)
        box.set_xlabel("runtime (ms)")
        box.set_ylabel("memory (MiB)")
    figure.supxlabel("a bubble's area is the network's parameters", fontsize=8)
    return figure


def _scatter(box: Axes, points: Sequence[Point]) -> None:
    most = max(point.params for point in points) or 1
    for point in sorted(points, key=lambda p: not p.faint):
        area = _BUBBLE * point.params / most
        color = "#999999" if point.faint else "#0072B2"
        box.scatter(
            point.x, point.y, s=max(area, 6.0), color=color,
            alpha=0.35 if point.faint else 0.65, edgecolors="white", linewidths=0.6,
        )  # fmt: skip
        if point.place is None:
            continue
        right, up = PLACES[point.place]
        gap = 3 + (max(area, 6.0) / 3.14) ** 0.5
        look = {"ha": _ACROSS[right], "va": _ALONG[up], "fontsize": 8}
        annotate(box, text(point.name), (point.x, point.y), right * gap, up * gap, **look)
    box.set_xlim(0, 1.15 * max(point.x for point in points) or 1)
    box.set_ylim(0, 1.15 * max(point.y for point in points))
    box.grid(visible=True, alpha=0.25, linewidth=0.6)


def peaks(record: ReportRecord) -> Figure:
    """Bars of the peaks of each model."""
    models, looks = record.models, peak_looks(peak.name for peak in record.peaks)
    figure, (box,) = _grid(1, max(5.0, 1.2 * len(models)), 3.6, columns=1)
    width = 0.8 / len(looks)
    middle = (len(looks) - 1) / 2
    for order, (kind, (color, hatch)) in enumerate(looks.items()):
        box.bar(
            [i + (order - middle) * width for i in range(len(models))],
            [model.peak[kind] / MIB for model in models],
            width, color=color, hatch=hatch, edgecolor="white", linewidth=0.5, label=kind,
        )  # fmt: skip
    names = [text(model.name) for model in models]
    box.set_xticks(range(len(models)), names, rotation=30, ha="right", rotation_mode="anchor")
    box.set_ylabel("peak memory (MiB)")
    box.set_title(f"Peaks at {record.input}", loc="left", fontsize=10)
    _legend(figure, [box])
    return figure


def held(models: Sequence[ShownModel], size: str) -> Figure:
    """What variables hold at the eager peak, for each model that holds anything."""
    holding = [(model, model.held) for model in models if model.held]
    most = max(min(len(held), _MOST_HELD) for _, held in holding)
    figure, axes = _grid(len(holding), 6.4, 0.9 + 0.26 * most)
    widest = max(entry.bytes for _, held in holding for entry in held) / MIB
    for (model, held), box in zip(holding, axes, strict=True):
        shown = held[:_MOST_HELD]
        names = [text(f"{h.variable}  {place(h.file, h.line) or h.function}") for h in shown]
        rows = range(len(shown))
        box.barh(rows, [h.bytes / MIB for h in shown], 0.7, color="#D55E00")
        box.set_yticks(rows, names, fontsize=8)
        box.set_ylim(most - 0.5, -0.5)
        box.set_xlim(0, 1.05 * widest)
        box.set_xlabel("held (MiB)")
        more = len(held) - len(shown)
        left_out = f", {more} smaller left out" if more else ""
        box.set_title(f"{text(model.name)} at {size}{left_out}", loc="left", fontsize=10)
    return figure


def families(models: Sequence[ShownModel], device: NamedDevice, index: int, size: str) -> Figure:
    """The predicted time of every model, by family of operations."""
    figure, (box,) = _grid(1, 9.0, 0.9 + 0.34 * len(models), columns=1)
    times: list[dict[str, float]] = []
    for model in models:
        by_family = dict.fromkeys(LOOKS, 0.0)
        for parts in (model.devices[index].modules or {}).values():
            for family, milliseconds in parts.items():
                by_family[family] += milliseconds
        times.append(by_family)
    ends = stack_bars(box, [text(model.name) for model in models], times, LOOKS, 0.7)
    for row, total in enumerate(ends):
        annotate(box, f"{total:.2f}", (total, row), 4, 0, va="center", fontsize=8)
    box.set_xlim(0, 1.1 * max(ends) or 1)
    box.set_title(f"Time at {size} on {device.title}", loc="left", fontsize=10)
    _legend(figure, [box])
    return figure
