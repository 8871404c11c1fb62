"""Pictures by matplotlib, which is loaded when one is drawn: what they share.

The colours are Okabe and Ito's, which people with any common colour blindness tell apart; each
family of operations has its marker too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from srprof.output import replacing
from srprof.words import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

#: What `--figure-kind` takes, and how the name of a figure's file may end.
KINDS = ("roofline", "modules")
ENDINGS = (".svg", ".png", ".pdf")

#: Milliseconds by family of operations.
Times = Mapping[str, float]

SETTINGS: Any = {  # matplotlib's releases type these in different ways
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "srprof",  # the same picture is the same file
    "svg.fonttype": "none",  # text stays text
}


class Look(NamedTuple):
    """How a family of operations is drawn."""

    label: str
    color: str
    marker: str


LOOKS = {
    "conv": Look("dense convolution", "#0072B2", "o"),
    "conv1x1": Look("1x1 convolution", "#56B4E9", "s"),
    "grouped": Look("grouped convolution", "#CC79A7", "D"),
    "depthwise": Look("depthwise convolution", "#D55E00", "v"),
    "matmul": Look("matrix product", "#000000", "P"),
    "elementwise": Look("element-wise", "#009E73", "^"),
    "reduction": Look("reduction", "#F0E442", "p"),
    "resample": Look("resampling, pooling", "#E69F00", "h"),
    "movement": Look("data movement", "#999999", "X"),
    "norm": Look("normalisation", "#882255", "*"),
    "other": Look("other", "#555555", "d"),
}


#: Colours and hatches of the peaks, in their order.
_PEAKS = (
    ("#009E73", ""), ("#D55E00", "///"), ("#0072B2", ""), ("#56B4E9", "xxx"),
    ("#CC79A7", ""), ("#E69F00", "..."), ("#999999", ""),
)  # fmt: skip


def peak_looks(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """A colour and a hatch for each peak, in matplotlib's words."""
    return {name: _PEAKS[i % len(_PEAKS)] for i, name in enumerate(names)}


def new_figure(width: float, height: float) -> Figure:
    """A figure without pyplot, whose global state is the user's."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def escaped(name: str) -> str:
    """A name as matplotlib shows it as it is: `$` would begin a formula."""
    return printable(name).replace("$", r"\$")


def annotate(
    axes: Axes, text: str, at: tuple[float, float], x: float, y: float, **look: Any
) -> Text:
    """Write beside a point, so many typographic points away from it."""
    return axes.annotate(text, at, xytext=(x, y), textcoords="offset points", **look)


def stack_bars(
    axes: Axes, names: Sequence[str], times: Sequence[Times], families: Iterable[str], height: float
) -> list[float]:
    """Bars of ms by family of operations, from the top down; gives where each ends."""
    rows, ends = range(len(times)), [0.0] * len(times)
    for family in families:
        widths, look = [by_family.get(family, 0.0) for by_family in times], LOOKS[family]
        if any(widths):
            axes.barh(
                rows, widths, height, left=ends, color=look.color, edgecolor="white",
                linewidth=0.5, label=look.label,
            )  # fmt: skip
            ends = [a + b for a, b in zip(ends, widths, strict=True)]
    axes.set_yticks(rows, names)
    axes.invert_yaxis()
    axes.set_xlabel("predicted time (ms)")
    return ends


def save(draw: Callable[[], Figure], path: str) -> None:
    """Draw into a file, in the format that its name ends in; the same picture is the same file.

    An InputError if the system refuses to write it.
    """
    import matplotlib

    ending = Path(path).suffix[1:].lower()
    stable = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(ending)
    with matplotlib.rc_context(SETTINGS):
        figure = draw()
        with replacing(Path(path), option="--figure") as temporary:
            figure.savefig(temporary, format=ending, dpi=150, metadata=stable)


def as_svg(draw: Callable[[], Figure]) -> str:
    """The picture as an SVG element, for a page."""
    import io

    import matplotlib

    made = io.StringIO()
    with matplotlib.rc_context(SETTINGS):
        draw().savefig(made, format="svg", metadata={"Date": None})
    return made.getvalue().partition("<svg")[2].join(("<svg", ""))
