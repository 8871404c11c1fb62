"""How far predicted figures are off published ones: how many networks are within how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from srprof.render.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What is drawn at the left edge: less than any table prints.
_LEAST, _MOST = 1e-4, 1.0
#: Okabe and Ito's, with dashes for who sees no colours.
_LOOKS = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", ":"))


def draw(errors: Mapping[str, Sequence[float]]) -> Figure:
    """The share of networks within an error, by what it is of; errors are sizes, 0.01 for 1 %."""
    figure = new_figure(7, 3.2)
    axes = figure.subplots()
    for (name, sizes), (color, dash) in zip(errors.items(), _LOOKS, strict=False):
        ordered = sorted(min(max(size, _LEAST), _MOST) for size in sizes)
        shares = [(n + 1) / len(ordered) for n in range(len(ordered))]
        label = f"{name} ({len(ordered)})"
        x, y = [_LEAST, *ordered, _MOST], [0.0, *shares, 1.0]
        axes.step(x, y, where="post", color=color, linestyle=dash, linewidth=1.8, label=label)
    axes.set_xscale("log")
    axes.set_xlim(_LEAST, _MOST)
    axes.set_ylim(0, 1.02)
    axes.set_xticks(
        [1e-4, 1e-3, 1e-2, 1e-1, 1], ["0.01 %\nor less", "0.1 %", "1 %", "10 %", "100 %"]
    )
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_xlabel("predicted against published")
    axes.set_ylabel("networks within that")
    if errors:
        axes.legend(frameon=False, loc="lower right")
    return figure
