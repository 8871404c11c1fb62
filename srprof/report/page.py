"""The page of a report: one file that fetches nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from srprof.codec import encode
from srprof.render.figures import LOOKS
from srprof.report.bubbles import Point, predicted_points, published_points
from srprof.report.figures import peak_looks
from srprof.report.tables import (
    comparison_table,
    environment_table,
    how_lines,
    html_table,
    peaks_table,
)

if TYPE_CHECKING:
    from srprof.report.build import Report
    from srprof.report.record import RankedCell, ReportRecord, ShownModel

_HERE = Path(__file__).parent

#: matplotlib's markers in the words of Plotly.
_SYMBOLS = {
    "o": "circle", "s": "square", "D": "diamond", "v": "triangle-down", "P": "cross",
    "^": "triangle-up", "p": "pentagon", "h": "hexagon", "X": "x", "*": "star", "d": "diamond-tall",
}  # fmt: skip

_TITLES = {
    "ranking": "Ranking",
    "runtime-memory": "Runtime against memory",
    "tables": "Published figures beside ours",
    "figures": "The paper's figures",
    "peaks": "Peak memory, by way of counting",
    "memory": "Memory over the nodes",
    "held": "Held at the eager peak, by variable and line",
    "roofline": "Roofline",
    "modules": "Time by module",
    "nodes": "Nodes",
    "environment": "How this was made",
}
#: Sections that show one model at a time, which the reader chooses.
_OF_ONE = ("memory", "held", "roofline", "modules", "nodes")


@dataclass(frozen=True, slots=True)
class Bubbles:
    """A plot of runtime against memory: its element, its points, and what they are."""

    id: str
    points: list[Point]
    what: str


def page(report: Report) -> str:
    """The whole page, Plotly included.

    Raises:
        InputError: plotly is not installed.
    """
    record = report.record
    bubbles: list[Bubbles] = []
    body = _body(report, bubbles)
    shown = [name for name in record.sections if f'id="{name}"' in body]
    navigation = "".join(f'<a href="#{name}">{escape(_TITLES[name])}</a>' for name in shown)
    looks = {
        family: {"label": look.label, "color": look.color, "symbol": _SYMBOLS[look.marker]}
        for family, look in LOOKS.items()
    }
    paints = {
        name: {"color": color, "pattern": hatch[:1]}
        for name, (color, hatch) in peak_looks(record).items()
    }
    drawn = {"bubbles": encode(bubbles), "looks": looks, "paints": paints}
    return Template((_HERE / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(record.title),
        note=f"<p>{escape(record.note)}</p>" if record.note else "",
        facts=_facts(record),
        navigation=navigation,
        css=(_HERE / "page.css").read_text(encoding="utf-8"),
        body=body,
        record=script_json(encode(record) | drawn),
        plotly=_plotly(),
        js=(_HERE / "page.js").read_text(encoding="utf-8"),
    )


def script_json(value: object) -> str:
    """JSON that no text in it can end the script element that holds it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plotly() -> str:
    # Imported here: plotly takes part of a second, and only the page needs it.
    from srprof.errors import InputError

    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise InputError("the page needs plotly: pip install plotly") from error
    text: str = get_plotlyjs()
    return text


def _facts(record: ReportRecord) -> str:
    facts = [f"{len(record.models)} models at LR {record.input}"]
    facts += [f"time predicted on {device.title}" for device in record.devices]
    return escape("; ".join(facts)) + ". Sizes in MiB are 2<sup>20</sup> bytes."


# -- sections -------------------------------------------------------------------------------------


def _body(report: Report, bubbles: list[Bubbles]) -> str:
    """The sections in order; the points of the bubble plots go to the list."""
    makers: Mapping[str, Callable[[Report, list[Bubbles]], str]] = {
        "ranking": _ranking,
        "runtime-memory": _runtime_memory,
        "tables": _tables,
        "figures": _figures,
        "peaks": _peaks,
        "environment": _environment,
    }
    sections = report.record.sections
    parts = []
    of_one = [name for name in sections if name in _OF_ONE]
    for name in sections:
        if name in makers:
            inside = makers[name](report, bubbles)
            if inside:
                parts.append(_section(name, inside))
        elif name == of_one[0]:
            parts.append(_of_one(report.record, of_one))
    return "\n".join(parts)


def _section(name: str, inside: str) -> str:
    return f'<section id="{name}">\n<h2>{escape(_TITLES[name])}</h2>\n{inside}\n</section>'


def _ranking(report: Report, _: list[Bubbles]) -> str:
    ranking = report.record.ranking
    assert ranking is not None
    head = "".join(
        f'<th scope="col"{" class=number" if i != 1 else ""}>{_noted(cell)}</th>'
        for i, cell in enumerate(ranking.head)
    )
    rows = "".join(
        ("<tr>" if values["reference"] else '<tr class="own">')
        + "".join(
            f"<td{' class=number' if i != 1 else ''}>{_marked(cell)}</td>"
            for i, cell in enumerate(row)
        )
        + "</tr>\n"
        for row, values in zip(ranking.rows, ranking.values, strict=True)
    )
    notes = [f"<sup>{escape(a)}</sup> {escape(b)}" for a, b in ranking.footnotes]
    notes += [escape(note) for note in ranking.notes]
    lines = '<ul class="after">' + "".join(f"<li>{note}</li>" for note in notes) + "</ul>"
    return (
        f"<p>{escape(ranking.title)}. "
        '<span class="best">Best</span>, <span class="second">second best</span>.</p>'
        '<div class="scroll tall" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>{lines}"
    )


def _noted(cell: RankedCell) -> str:
    note = f"<sup>{escape(cell.note)}</sup>" if cell.note else ""
    return escape(cell.text) + note


def _marked(cell: RankedCell) -> str:
    if not cell.mark:
        return _noted(cell)
    return f'<span class="{cell.mark}">{_noted(cell)}</span>'


def _runtime_memory(report: Report, bubbles: list[Bubbles]) -> str:
    record = report.record
    plots = _bubbles(record, record.models, record.input, "plot-bubbles", bubbles)
    return f'<div class="pair">{plots}</div>'


def _bubbles(
    record: ReportRecord,
    models: Sequence[ShownModel],
    size: str,
    start: str,
    bubbles: list[Bubbles],
) -> str:
    """A plot of predicted points for each device, and one of the published."""
    parts = []
    for index, device in enumerate(record.devices):
        what = f"Predicted at LR {size} on {device.title}: memory is what the allocator gives out"
        points = predicted_points(models, index)
        bubbles.append(Bubbles(f"{start}-{index}", points, what))
        parts.append(_figure(f"{start}-{index}", f"{what}. A bubble's area is its parameters."))
    published, left_out = published_points(models, record.references)
    if published:
        what = "Published: measured on a GPU by those who published it"
        caption = f"{what}. A bubble's area is its parameters."
        if left_out:
            caption += f" {left_out} entries lie far outside and are left out."
        bubbles.append(Bubbles(f"{start}-published", published, what))
        parts.append(_figure(f"{start}-published", caption))
    return "".join(parts)


def _figure(name: str, caption: str) -> str:
    return (
        f'<figure><div class="plot" id="{name}"></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _tables(report: Report, _: list[Bubbles]) -> str:
    parts = []
    for table in report.record.tables:
        parts.append(f"<h3>{escape(table.title)}</h3>")
        if table.note:
            parts.append(f"<p>{escape(table.note)}</p>")
        parts.append(html_table(comparison_table(table)))
        lines = "".join(f"<li>{escape(line)}</li>" for line in how_lines(table))
        parts.append(f'<ul class="after">{lines}</ul>')
    return "\n".join(parts)


def _figures(report: Report, bubbles: list[Bubbles]) -> str:
    record, parts = report.record, []
    for i, figure in enumerate(record.figures):
        parts.append(f"<h3>{escape(figure.title)}</h3>")
        if figure.note:
            parts.append(f"<p>{escape(figure.note)}</p>")
        if figure.kind == "memory":
            plots = "".join(
                _figure(f"plot-figure-{i}-{j}", f"{model.name} at {figure.input}")
                for j, model in enumerate(figure.models)
            )
        else:
            start = f"plot-figure-{i}"
            plots = _bubbles(record, figure.models, figure.input, start, bubbles)
        parts.append(f'<div class="pair">{plots}</div>')
    return "\n".join(parts)


def _peaks(report: Report, _: list[Bubbles]) -> str:
    meanings = "; ".join(f"{peak.name}: {peak.meaning}" for peak in report.record.peaks)
    caption = f"{meanings}. All of one image, without scratch inside nodes."
    return _figure("plot-peaks", caption) + html_table(peaks_table(report.record))


def _environment(report: Report, _: list[Bubbles]) -> str:
    return html_table(environment_table(report.record.environment))


def _of_one(record: ReportRecord, sections: list[str]) -> str:
    """The sections of one model, under the choice of it."""
    choices = "".join(
        f'<option value="{i}">{escape(model.name)}</option>'
        for i, model in enumerate(record.models)
    )
    choose = f'<label>Model <select id="choose-model">{choices}</select></label>'
    if len(record.devices) > 1:
        devices = "".join(
            f'<option value="{i}">{escape(device.title)}</option>'
            for i, device in enumerate(record.devices)
        )
        choose += f'<label>Device <select id="choose-device">{devices}</select></label>'
    parts = [_section(name, _OF_ONE_BODY[name]) for name in sections]
    return f'<div class="choose">{choose}</div>\n' + "\n".join(parts)


_NAME = '<b class="model-name"></b>'
_OF_ONE_BODY = {
    "memory": '<figure><div class="plot" id="plot-memory"></div><figcaption>'
    f"{_NAME}: bytes referenced at the end of each node, by the paper's parts and what is held. "
    "allocated is what CUDA's allocator has given out there. Hover a node for its op, module and "
    "line; drag to zoom; click the legend to hide a part.</figcaption></figure>",
    "held": '<figure><div class="plot" id="plot-held"></div><figcaption>'
    f"{_NAME}: tensors that nothing needs any more at the eager peak, by the variable that still "
    "references them and the line where it got them.</figcaption></figure>"
    f'<p id="none-held" hidden>{_NAME} holds nothing at its eager peak: all that is referenced '
    "there is still needed.</p>",
    "roofline": '<figure><div class="plot" id="plot-roofline"></div><figcaption>'
    f"{_NAME}: a point is a node, its area the time that it takes. A multiply-add is two "
    "operations; a node without any counts one for each element that it reads or writes, "
    "whichever are more.</figcaption></figure>",
    "modules": '<figure><div class="plot" id="plot-modules"></div><figcaption>'
    f"{_NAME}: predicted time by module, in the order of the run.</figcaption></figure>",
    "nodes": f'<p>Every ATen call of {_NAME}. <label>Filter <input type="search" '
    'id="nodes-filter" placeholder="op, module or line"></label> '
    '<span id="nodes-count" aria-live="polite"></span></p>'
    '<div class="scroll tall" id="nodes-table" tabindex="0"></div>',
}
