"""Runtime against memory, the paper's Figure 1: the points, and where their names stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from srprof.compare.results import load_reference
from srprof.words import MIB

if TYPE_CHECKING:
    from srprof.report.record import NamedDevice, ReportRecord, ShownModel

#: Where a name may stand, in the words of Plotly, as steps to the right and up.
PLACES: Mapping[str, tuple[float, float]] = {
    "top center": (0.0, 1.0),
    "bottom center": (0.0, -1.0),
    "middle right": (1.0, 0.0),
    "middle left": (-1.0, 0.0),
}
#: A letter's width and a line's height, as shares of the plot's.
_LETTER, _LINE = 0.017, 0.055
_METRICS = ("runtime_ms", "memory", "params")
#: Radius of the largest bubble.
_RADIUS = 0.05
#: Published rows beyond so many times the models' largest figures would make these a dot.
_FAR = 1.8


@dataclass(frozen=True, slots=True)
class Point:
    """A bubble: ms, MiB, parameters. A faint one has no name; else it stands at one of `PLACES`."""

    name: str
    x: float
    y: float
    params: float
    faint: bool = False
    place: str | None = None


def panels(
    record: ReportRecord, models: Sequence[ShownModel]
) -> Iterator[tuple[str, NamedDevice | None, list[Point], int]]:
    """The plots: a name, the device, the points, and how many were left out.

    One is of each device's predictions, and one, of no device, of what is published.
    """
    for index, device in enumerate(record.devices):
        yield str(index), device, predicted_points(models, index), 0
    published, left_out = published_points(models, record.references)
    if published:
        yield "published", None, published, left_out


def predicted_points(models: Sequence[ShownModel], device: int) -> list[Point]:
    """A point a model: predicted milliseconds, allocated MiB, parameters."""
    points = []
    for model in models:
        runtime, memory = model.devices[device].predicted_ms, model.peak["allocated"] / MIB
        points.append(Point(model.name, runtime, memory, model.complexity.params or 0))
    return placed(points)


def published_points(
    models: Sequence[ShownModel], references: Sequence[str]
) -> tuple[list[Point], int]:
    """What is published, among the references' other rows, and how many far ones are left out."""
    own = []
    for model in models:
        figures = model.published
        memory = figures.get("memory_MiB", figures.get("memory_256_M"))
        runtime = figures.get("runtime_ms", figures.get("time_ms"))
        if memory is not None and runtime is not None:
            own.append(Point(model.name, runtime, memory, model.complexity.params or 0))
    if not own:
        return [], 0
    there, others = {(point.x, point.y) for point in own}, []
    for name in references:
        for entry in load_reference(name):
            runtime, memory, params = (entry.cells[m].value for m in _METRICS)
            point = Point(entry.name, runtime, round(memory / MIB, 6), params, faint=True)
            if entry.ranked and (point.x, point.y) not in there:
                others.append(point)
    right, top = (_FAR * max(values) for values in zip(*((p.x, p.y) for p in own), strict=True))
    near = [point for point in others if point.x <= right and point.y <= top]
    return placed([*own, *near]), len(others) - len(near)


def placed(points: list[Point]) -> list[Point]:
    """The points, each that is not faint with the `place` where its name meets fewest others.

    Greedy, from the top down, which is good for the dozen names that a figure can hold.
    """
    if not points:
        return []
    named = [index for index, point in enumerate(points) if not point.faint]
    width = max(point.x for point in points) or 1.0
    height = max(point.y for point in points) or 1.0
    dots = [(point.x / width, point.y / height) for point in points]
    most = max(point.params for point in points) or 1
    radii = [0.012 + _RADIUS * (point.params / most) ** 0.5 for point in points]
    taken = [(x - r, y - r, x + r, y + r) for (x, y), r in ((dots[i], radii[i]) for i in named)]
    places: dict[int, str] = {}
    for index in sorted(named, key=lambda i: -dots[i][1]):
        boxes = {
            place: _box(dots[index], radii[index], len(points[index].name), step)
            for place, step in PLACES.items()
        }
        best = min(boxes, key=lambda p: _overlap(boxes[p], taken))
        taken.append(boxes[best])
        places[index] = best
    return [replace(point, place=places.get(index)) for index, point in enumerate(points)]


Box = tuple[float, float, float, float]


def _box(dot: tuple[float, float], radius: float, letters: int, step: tuple[float, float]) -> Box:
    """The box of a name beside its point."""
    half, line = letters * _LETTER / 2, _LINE / 2
    x = dot[0] + step[0] * (half + radius)
    y = dot[1] + step[1] * (line + radius)
    return x - half, y - line, x + half, y + line


def _overlap(box: Box, taken: Sequence[Box]) -> float:
    """Area that a box shares with others, and what of it leaves the plot."""
    shared = sum(
        max(0.0, min(box[2], b[2]) - max(box[0], b[0]))
        * max(0.0, min(box[3], b[3]) - max(box[1], b[1]))
        for b in taken
    )
    outside = max(0.0, -box[0]) + max(0.0, box[2] - 1.08) + max(0.0, -box[1])
    return shared + outside
