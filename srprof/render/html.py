"""HTML for a notebook cell: the same sections as the text."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from srprof.render.base import Options, Renderer
from srprof.render.tables import Table, sections, written

if TYPE_CHECKING:
    from srprof.analysis import Analysis


class HtmlRenderer(Renderer):
    """A fragment without scripts or styles of its own, for the notebook's theme."""

    name = "html"
    extension = ".html"

    def render(self, analysis: Analysis, options: Options) -> str:
        parts = []
        for section in sections(analysis, options):
            parts.append(f"<h4>{escape(section.title)}</h4>")
            parts += [f"<p>{escape(line)}</p>" for line in section.lines]
            if section.table is not None:
                parts.append(_table(section.table))
            parts += [f"<p>{escape(line)}</p>" for line in section.after]
        return "<div>" + "\n".join(parts) + "</div>\n"


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(column.name)}</th>" for column in table.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in written(table)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
