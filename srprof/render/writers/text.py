"""Text without colour: headings, lines and aligned tables."""

from __future__ import annotations

from tabulate import tabulate

from srprof.render.document import LEGEND, Cell, Column, Document, Section, Table
from srprof.words import printable

SUFFIX = ".txt"

_SIGNS = {"best": "*", "second": "+", "": " "}


def write(document: Document, width: int) -> str:
    """The sections, one blank line between them."""
    return "\n\n".join(map(_section, document.sections)) + "\n"


def _section(section: Section) -> str:
    table, notes = section.table, [f"[{letter}] {text}" for letter, text in section.footnotes]
    if notes:
        best = "* best, + second best. " if table and table.marked else ""
        notes.insert(0, best + LEGEND)
    blocks = ["\n".join(map(printable, (section.title, *section.lines)))]
    blocks += [aligned(table)] if table is not None else []
    blocks += ["\n".join(map(printable, lines)) for lines in (notes, section.after) if lines]
    return "\n\n".join(blocks)


def aligned(table: Table) -> str:
    """The table alone, without a newline at its end."""
    signs = _SIGNS if table.marked else dict.fromkeys(_SIGNS, "")

    def cell(column: Column, shown: Cell) -> str:
        if not column.right:
            return noted(shown)
        note = f"[{shown.note}]" if shown.note else ""
        return f"{printable(shown.text)}{signs[shown.mark]}{note}"

    return tabulate(
        [list(map(cell, table.columns, row)) for row in table.cells()],
        headers=list(map(noted, table.heads())),
        tablefmt="simple",
        colalign=["right" if column.right else "left" for column in table.columns],
        disable_numparse=True,
    )


def noted(cell: Cell) -> str:
    """A cell's text with the letter of its footnote."""
    text = printable(cell.text)
    return f"{text} [{cell.note}]" if cell.note else text
