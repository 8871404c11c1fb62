"""Text for a person: rich in a terminal, plain when piped."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from tabulate import tabulate

from srprof.render.base import Options, Renderer
from srprof.render.tables import Section, Table, sections, written

if TYPE_CHECKING:
    from srprof.analysis import Analysis

_RIGHT = frozenset({"number", "count", "mib", "giga", "mega", "time", "share"})


class TextRenderer(Renderer):
    """Headings, lines and aligned tables."""

    name = "text"
    extension = ".txt"

    def render(self, analysis: Analysis, options: Options) -> str:
        found = sections(analysis, options)
        if options.color:
            try:
                return _rich(found, options.width)
            except ImportError:  # rich is not installed on some GPU machines
                pass
        return plain_sections(found)


def plain_sections(found: list[Section]) -> str:
    """Sections without colour, ending with a newline."""
    blocks = []
    for section in found:
        lines = [section.title, *section.lines]
        if section.table is not None:
            lines += ["", plain_table(section.table)]
        blocks.append("\n".join([*lines, *([""] if section.after else []), *section.after]))
    return "\n\n".join(blocks) + "\n"


def plain_table(table: Table, style: str = "simple") -> str:
    """A table by tabulate, numbers to the right."""
    return tabulate(
        written(table),
        headers=[column.name for column in table.columns],
        tablefmt=style,
        colalign=["right" if c.kind in _RIGHT else "left" for c in table.columns],
        disable_numparse=True,
    )


def _rich(found: list[Section], width: int) -> str:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table as RichTable

    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, highlight=False)
    for section in found:
        console.print(f"[bold]{escape(section.title)}[/bold]")
        for line in section.lines:
            console.print(escape(line), style="dim")
        if section.table is not None:
            table = RichTable(
                box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim"
            )
            for column in section.table.columns:
                right = column.kind in _RIGHT
                table.add_column(
                    escape(column.name),
                    justify="right" if right else "left",
                    no_wrap=right,
                    overflow="fold",
                )
            for row in written(section.table):
                cells = [escape(cell) for cell in row]
                style = {"held": "red", "eager": "bold"}.get(row[0])
                table.add_row(*cells, style=style)
            console.print(table)
        for line in section.after:
            console.print(escape(line))
        console.print()
    return out.getvalue()
