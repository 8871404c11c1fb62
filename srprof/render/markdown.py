"""Markdown: headings and pipe tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from srprof.render.base import Options, Renderer
from srprof.render.tables import Section, Table, sections
from srprof.render.text import plain_table

if TYPE_CHECKING:
    from srprof.analysis import Analysis


class MarkdownRenderer(Renderer):
    """For a README, an issue or a pull request."""

    name = "markdown"
    extension = ".md"

    def render(self, analysis: Analysis, options: Options) -> str:
        return markdown_sections(sections(analysis, options))


def markdown_sections(found: Sequence[Section]) -> str:
    """Sections with the first's title as the page's, ending with a newline."""
    blocks = []
    for level, section in enumerate(found):
        blocks.append(f"{'#' if level == 0 else '##'} {section.title}")
        blocks.extend(section.lines)
        if section.table is not None:
            blocks.append(plain_table(_escaped(section.table), style="github"))
        if section.after:
            blocks.append(" ".join(section.after))
    return "\n\n".join(blocks) + "\n"


def _escaped(table: Table) -> Table:
    """The table with pipes in its texts escaped."""
    rows = tuple(
        tuple(v.replace("|", "\\|") if isinstance(v, str) else v for v in row) for row in table.rows
    )
    return replace(table, rows=rows)
