"""HTML by jinja2, which escapes by itself: a page of its own, or a notebook's cell.

A page fetches nothing. Charts are drawn by Plotly, which is put into it where there are any.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from srprof.render.document import LEGEND, Chart, Document, Section
from srprof.words import printable

if TYPE_CHECKING:
    from jinja2 import Template

SUFFIX = ".html"

#: matplotlib's markers in the words of Plotly.
_SYMBOLS = {
    "o": "circle", "s": "square", "D": "diamond", "v": "triangle-down", "P": "cross",
    "^": "triangle-up", "p": "pentagon", "h": "hexagon", "X": "x", "*": "star", "d": "diamond-tall",
}  # fmt: skip


def write(document: Document, width: int) -> str:
    """A self-contained page, with the charts of its sections if plotly is installed."""
    from markupsafe import Markup

    sections = document.page()
    plotly = plotly_script() if any(section.charts for section in sections) else None
    made = [[chart() for chart in section.charts if plotly] for section in sections]
    page = _Drawings(sections, made)
    return template("document.html").render(
        sections=sections,
        title=sections[0].title if sections else "srprof",
        headings=[*map(_heading, sections, made)],
        legend=LEGEND,
        drawings=page.shown,
        pictures=[
            [(picture.caption, Markup(picture.svg())) for picture in section.pictures]
            for section in sections
        ],
        css=Markup(asset("page.css")),
        data=plotly and Markup(script_json(page.data())),
        plotly=Markup(plotly or ""),
        scripts=Markup(asset("charts.js") + asset("document.js")),
    ).rstrip() + "\n"  # fmt: skip


def fragment(document: Document) -> str:
    """The sections without scripts or styles of their own, for a notebook's theme."""
    return template("sections.html").render(sections=document.sections, legend=LEGEND) + "\n"


def _heading(section: Section, charts: Sequence[Chart]) -> str:
    """A section's title; where the reader gets all nodes, theirs."""
    return next((chart.caption for chart in charts if chart.kind == "nodes"), section.title)


class _Drawings:
    """The charts of a page: where each stands, and the data, each of which is held once."""

    def __init__(self, sections: Sequence[Section], charts: Sequence[Sequence[Chart]]) -> None:
        self._subjects: list[Mapping[str, Any]] = []
        self._listed: list[dict[str, Any]] = []
        self.shown = [
            [self._placed(section, chart) for chart in of_section]
            for section, of_section in zip(sections, charts, strict=True)
        ]

    def _placed(self, section: Section, chart: Chart) -> dict[str, str]:
        name = f"plot-{len(self._listed)}"
        alone = chart.kind in ("bars", "lines")
        known = [i for i, subject in enumerate(self._subjects) if subject is chart.data]
        if not alone and not known:
            self._subjects.append(chart.data)
        of = None if alone else (known or [len(self._subjects) - 1])[0]
        label = f"{section.title}: {chart.caption}"
        drawing = {"kind": chart.kind, "id": name, "label": label, "of": of}
        self._listed.append({**drawing, "chart": chart.data if alone else None})
        return {"kind": chart.kind, "id": name, "caption": chart.caption}

    def data(self) -> dict[str, Any]:
        """What the script draws."""
        return {"looks": looks(), "subjects": self._subjects, "charts": self._listed}


def looks() -> dict[str, dict[str, str]]:
    """How the script draws each family of operations."""
    from srprof.render.figures import LOOKS

    return {
        family: {"label": look.label, "color": look.color, "symbol": _SYMBOLS[look.marker]}
        for family, look in LOOKS.items()
    }


def script_json(value: object) -> str:
    """JSON that no text in it can end the script element that holds it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def plotly_script() -> str | None:
    """Plotly's own script; None if it is not installed."""
    try:  # it takes part of a second, and only pages with charts need it
        from plotly.offline import get_plotlyjs
    except ImportError:
        return None
    return str(get_plotlyjs())


def asset(name: str) -> str:
    """A style or a script of `srprof/render/templates`."""
    return (files("srprof.render") / "templates" / name).read_text("utf-8")


@cache
def template(name: str) -> Template:
    """A template of `srprof/render/templates`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("srprof.render", "templates"), autoescape=True, finalize=_finalized,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(name)


def _finalized(value: object) -> object:
    """Text without control characters; markup stays as it is."""
    return value if hasattr(value, "__html__") else printable(value)
