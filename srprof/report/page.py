"""The page of a report: one file that fetches nothing, drawn by jinja2, which escapes by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from srprof.codec import encode
from srprof.errors import InputError
from srprof.render.figures import peak_looks
from srprof.render.writers import html
from srprof.report import tables
from srprof.report.bubbles import Point, panels
from srprof.report.definition import TITLES

if TYPE_CHECKING:
    from srprof.render.charts import DeviceTimes
    from srprof.report.build import Report
    from srprof.report.record import ReportRecord, ShownModel

_HERE = Path(__file__).parent

#: Sections that show one model at a time, which the reader chooses; they stand together.
_OF_ONE = ("memory", "held", "roofline", "modules", "nodes")


@dataclass(frozen=True, slots=True)
class Bubbles:
    """A plot of runtime against memory: its element, points, and what is said of it."""

    id: str
    points: list[Point]
    what: str
    left_out: str = ""


def page(report: Report) -> str:
    """The whole page, Plotly included; an InputError if plotly is not installed."""
    from markupsafe import Markup

    record = report.record
    sections = _ordered(record)
    bubbles = _bubbles(record, record.models, record.input, "plot-bubbles")
    of_figures = [
        _bubbles(record, figure.models, figure.input, f"plot-figure-{i}")
        if figure.kind != "memory"
        else []
        for i, figure in enumerate(record.figures)
    ]
    drawn = {
        "bubbles": encode([*bubbles, *(plot for plots in of_figures for plot in plots)]),
        "looks": html.looks(),
        "paints": {
            name: {"color": color, "pattern": hatch[:1]}
            for name, (color, hatch) in peak_looks(peak.name for peak in record.peaks).items()
        },
        "spent": [[_spent(times) for times in model.devices] for model in record.models],
    }
    return html.template("report.html").render(
        record=record,
        titles=TITLES,
        sections=sections,
        first_of_one=next((name for name in sections if name in _OF_ONE), ""),
        facts=tables.facts(record),
        ranking=report.ranking,
        places=report.places,
        owns=record.ranking and [not values["reference"] for values in record.ranking.values],
        bubbles=bubbles,
        paper_bubbles=of_figures,
        tables=[tables.comparison(table) for table in record.shown_tables],
        peaks=tables.peaks(record),
        environment=tables.environment(record.environment),
        data=Markup(html.script_json(encode(record) | drawn)),
        plotly=Markup(_plotly()),
        css=Markup(html.asset("page.css")),
        js=Markup(html.asset("charts.js") + (_HERE / "page.js").read_text("utf-8")),
    )


def _spent(times: DeviceTimes) -> dict[str, tuple[str, ...]]:
    """What bounds a model on a device, and what could be saved, in words."""
    from srprof.render.views.latency import avoidable_lines, bounds

    bound = tuple(bounds(times.device_ms, times.host_ms, times.graph_ms))
    return {"bounds": bound, "avoidable": avoidable_lines(times.avoidable)}


def _plotly() -> str:
    script = html.plotly_script()
    if script is None:
        raise InputError("the page needs plotly: pip install plotly")
    return script


def _ordered(record: ReportRecord) -> list[str]:
    """The sections that have anything, those of one model together where the first stands."""
    empty = {"tables": not record.tables, "figures": not record.figures}
    sections = [name for name in record.sections if not empty.get(name)]
    of_one = [name for name in sections if name in _OF_ONE]
    first = sections.index(of_one[0]) if of_one else 0
    before = [name for name in sections[:first] if name not in _OF_ONE]
    return [*before, *of_one, *(name for name in sections[first:] if name not in _OF_ONE)]


def _bubbles(
    record: ReportRecord, models: Sequence[ShownModel], size: str, start: str
) -> list[Bubbles]:
    """A plot of predicted points for each device, and one of the published."""
    plots = []
    for name, device, points, beyond in panels(record, models):
        what = "Published: measured on a GPU by those who published it"
        if device is not None:
            of = f"Predicted at LR {size} on {device.title}"
            what = f"{of}: memory is what the allocator gives out"
        left_out = f" {beyond} entries lie far outside and are left out." if beyond else ""
        plots.append(Bubbles(f"{start}-{name}", points, what, left_out))
    return plots
