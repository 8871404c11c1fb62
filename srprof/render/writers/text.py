"""Text without colour: headings, lines and aligned tables."""

from __future__ import annotations

from tabulate import tabulate

from srprof.render.document import Cell, Column, Document, Section, Table
from srprof.render.writers import Style

SUFFIX = ".txt"

_SIGNS = {"best": "*", "second": "+", "": " "}
LEGEND = "Letters, at a value, else its row, else its column, say where it comes from:"


def write(document: Document, style: Style) -> str:
    """The sections, one blank line between them."""
    return "\n\n".join(map(_section, document.sections)) + "\n"


def _section(section: Section) -> str:
    lines = [section.title, *section.lines]
    if section.table is not None:
        lines += ["", aligned(section.table)]
    notes = [f"[{letter}] {text}" for letter, text in section.footnotes]
    if notes:
        best = "* best, + second best. " if section.table and section.table.marked else ""
        notes.insert(0, best + LEGEND)
    for block in (notes, section.after):
        lines += ["", *block] if block else []
    return "\n".join(lines)


def aligned(table: Table) -> str:
    """The table alone, without a newline at its end."""
    signs = _SIGNS if table.marked else dict.fromkeys(_SIGNS, "")

    def cell(column: Column, shown: Cell) -> str:
        note = f"[{shown.note}]" if shown.note else ""
        if column.right:
            return f"{shown.text}{signs[shown.mark]}{note}"
        return f"{shown.text} {note}" if note else shown.text or ""

    return tabulate(
        [list(map(cell, table.columns, row)) for row in table.cells()],
        headers=[f"{h.text} [{h.note}]" if h.note else h.text for h in table.heads()],
        tablefmt="simple",
        colalign=["right" if column.right else "left" for column in table.columns],
        disable_numparse=True,
    )
