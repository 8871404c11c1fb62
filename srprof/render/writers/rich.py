"""Text for a terminal, with colour, as wide as the terminal."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from srprof.render.document import LEGEND, Document, Section, Table
from srprof.render.writers import text as plain
from srprof.words import printable

SUFFIX = ".ansi"

_MARKS = {"best": "bold green", "second": "underline cyan", "": ""}
#: Styles of rows by what their first cell says.
_ROWS = {"held": "red", "eager": "bold"}


def write(document: Document, width: int) -> str:
    """The sections; without colour where rich is not installed."""
    try:
        from rich.console import Console
    except ImportError:  # as on some GPU machines
        return plain.write(document, width)
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=True, width=width, highlight=False, markup=False, emoji=False
    )
    for section in document.sections:
        console.print(printable(section.title), style="bold")
        for line in section.lines:
            console.print(printable(line), style="dim")
        if section.table is not None:
            console.print(_table(section.table, width))
        for note in _footnotes(section):
            console.print(note)
        for line in section.after:
            console.print(printable(line))
        console.print()
    return out.getvalue()


def _table(table: Table, width: int) -> object:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    rows = [list(map(plain.noted, cells)) for cells in (table.heads(), *table.cells())]
    longest = [max(map(len, cells)) + 1 for cells in zip(*rows, strict=True)]
    right = [column.right for column in table.columns]
    # numbers stay whole while they leave room for texts; else all wrap, rather than be cut
    whole = sum(n for n, is_right in zip(longest, right, strict=True) if is_right) < 0.8 * width
    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for head, is_right in zip(rows[0], right, strict=True):
        side: Any = "right" if is_right else "left"
        drawn.add_column(Text(head), justify=side, no_wrap=is_right and whole, overflow="fold")
    for row, cells in zip(rows[1:], table.cells(), strict=True):
        marked = [Text.assemble((t, _MARKS[c.mark])) for t, c in zip(row, cells, strict=True)]
        drawn.add_row(*marked, style=_ROWS.get(row[0]))
    return drawn


def _footnotes(section: Section) -> Iterator[object]:
    from rich.text import Text

    if section.footnotes:
        best = (("best", _MARKS["best"]), "  ", ("second best", _MARKS["second"]), "  ")
        marked = section.table is not None and section.table.marked
        yield Text.assemble(*(best if marked else ()), LEGEND)
    for letter, text in section.footnotes:
        yield Text(f"[{letter}] {printable(text)}", style="dim")
