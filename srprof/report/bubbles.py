"""Runtime against memory, the paper's Figure 1: the points, and where their names stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from srprof.compare.results import load_reference
from srprof.words import MIB

#: Where a name may stand, in the words of Plotly, as steps to the right and up.
PLACES: Mapping[str, tuple[float, float]] = {
    "top center": (0.0, 1.0),
    "bottom center": (0.0, -1.0),
    "middle right": (1.0, 0.0),
    "middle left": (-1.0, 0.0),
}
#: A letter's width and a line's height, as shares of the plot's.
_LETTER, _LINE = 0.017, 0.055
#: Radius of the largest bubble.
_RADIUS = 0.05
#: Published rows beyond so many times the models' largest figures would make these a dot.
_FAR = 1.8


def predicted_points(models: Sequence[Mapping[str, Any]], device: int) -> list[dict[str, Any]]:
    """A point a model: predicted milliseconds, allocated MiB, parameters."""
    return placed(
        [
            {
                "name": model["name"],
                "x": model["devices"][device]["predicted_ms"],
                "y": model["peak"]["allocated"] / MIB,
                "params": model["complexity"]["params"],
                "faint": False,
            }
            for model in models
        ]
    )


def published_points(
    models: Sequence[Mapping[str, Any]], references: Sequence[str]
) -> tuple[list[dict[str, Any]], int]:
    """The published figures of these models, among the other rows of the references.

    Returns:
        The points, and how many rows were left out because they lie far beyond the models'.
    """
    own = []
    for model in models:
        figures = model["published"]
        memory = figures.get("memory_MiB", figures.get("memory_256_M"))
        runtime = figures.get("runtime_ms", figures.get("time_ms"))
        if memory is not None and runtime is not None:
            params = model["complexity"]["params"]
            own.append(
                {"name": model["name"], "x": runtime, "y": memory, "params": params, "faint": False}
            )
    there = {(point["x"], point["y"]) for point in own}
    others = []
    for name in references:
        for entry in load_reference(name):
            runtime, memory, params = (
                entry.cells[metric].value for metric in ("runtime_ms", "memory", "params")
            )
            point = {"name": entry.name, "x": runtime, "y": round(memory / MIB, 6)}
            if entry.ranked and (point["x"], point["y"]) not in there:
                others.append({**point, "params": params, "faint": True})
    if not own:
        return [], 0
    limits = tuple(_FAR * max(point[axis] for point in own) for axis in "xy")
    near = [point for point in others if point["x"] <= limits[0] and point["y"] <= limits[1]]
    return placed([*own, *near]), len(others) - len(near)


def placed(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The points, those that are not faint with the `place` of their name.

    It is the place that meets fewest of the other names and points; greedy, from the top down,
    which is good for the dozen names that a figure can hold.
    """
    if not points:
        return []
    named = [index for index, point in enumerate(points) if not point["faint"]]
    width = max(point["x"] for point in points) or 1.0
    height = max(point["y"] for point in points) or 1.0
    dots = [(point["x"] / width, point["y"] / height) for point in points]
    most = max(point["params"] for point in points) or 1
    radii = [0.012 + _RADIUS * (point["params"] / most) ** 0.5 for point in points]
    taken = [
        (dots[i][0] - radii[i], dots[i][1] - radii[i], dots[i][0] + radii[i], dots[i][1] + radii[i])
        for i in named
    ]
    found: dict[int, str] = {}
    for index in sorted(named, key=lambda i: -dots[i][1]):
        boxes = {
            place: _box(dots[index], radii[index], len(points[index]["name"]), step)
            for place, step in PLACES.items()
        }
        best = min(boxes, key=lambda p: _overlap(boxes[p], taken))
        taken.append(boxes[best])
        found[index] = best
    return [{**point, "place": found.get(index)} for index, point in enumerate(points)]


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
