"""Text for a terminal, with colour, as wide as the terminal."""

from __future__ import annotations

import io

from srprof.render.document import Cell, Document, Section, Table
from srprof.render.writers import Style
from srprof.render.writers import text as plain

SUFFIX = ".ansi"

_MARKS = {"best": "bold green", "second": "underline cyan", "": ""}
#: Styles of rows by what their first cell says.
_ROWS = {"held": "red", "eager": "bold"}


def write(document: Document, style: Style) -> str:
    """The sections; without colour where rich is not installed."""
    try:
        from rich.console import Console
    except ImportError:  # as on some GPU machines
        return plain.write(document, style)
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=True, width=style.width, highlight=False, markup=False, emoji=False
    )
    for section in document.sections:
        console.print(section.title, style="bold")
        for line in section.lines:
            console.print(line, style="dim")
        if section.table is not None:
            console.print(_table(section.table))
        _footnotes(console.print, section)
        for line in section.after:
            console.print(line)
        console.print()
    return out.getvalue()


def _table(table: Table) -> object:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for column, head in zip(table.columns, table.heads(), strict=True):
        drawn.add_column(
            Text(_noted(head)),
            justify="right" if column.right else "left",
            no_wrap=column.right,
            overflow="fold",
        )
    for row in table.cells():
        cells = [Text(_noted(cell), style=_MARKS[cell.mark]) for cell in row]
        drawn.add_row(*cells, style=_ROWS.get(row[0].text or ""))
    return drawn


def _noted(cell: Cell) -> str:
    return f"{cell.text} [{cell.note}]" if cell.note else cell.text or ""


def _footnotes(draw: object, section: Section) -> None:
    from rich.text import Text

    assert callable(draw)
    if not section.footnotes:
        return
    if section.table is not None and section.table.marked:
        best, second = Text("best", _MARKS["best"]), Text("second best", _MARKS["second"])
        draw(best, second, Text(plain.LEGEND), sep="  ")
    else:
        draw(plain.LEGEND)
    for letter, text in section.footnotes:
        draw(f"[{letter}] {text}", style="dim")
