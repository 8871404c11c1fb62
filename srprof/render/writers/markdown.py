"""Markdown as GitHub draws it: headings, paragraphs and pipe tables."""

from __future__ import annotations

import re

from tabulate import tabulate

from srprof.render.document import Cell, Document, Section, Table
from srprof.render.writers import Style

SUFFIX = ".md"

_WRAP = {"best": "**{}**", "second": "<u>{}</u>", "": "{}"}
#: Names in backticks are code already, and stay.
_CODE = re.compile(r"((?<!`)`[^`|\n]+`(?!`))")
_SPECIAL = re.compile(r"([\\`*\[\]<>|]|(?<![^\W_])_|_(?![^\W_])|~(?=~)|&(?=#?\w+;))")
_LEADING = re.compile(r"^(\s*)([#>+-]|\d+[.)])(?=\s)")


def escaped(text: str) -> str:
    """Text on one line that opens no tag, cell, list, heading or emphasis."""
    parts = _CODE.split(" ".join(text.split()))
    safe = "".join(p if i % 2 else _SPECIAL.sub(r"\\\1", p) for i, p in enumerate(parts))
    return _LEADING.sub(lambda match: f"{match[1]}{match[2][:-1]}\\{match[2][-1]}", safe)


def write(document: Document, style: Style) -> str:
    """The sections; the first's title is the page's."""
    blocks = [
        block
        for level, section in enumerate(document.sections)
        for block in _blocks(section, "#" if level == 0 else "##")
    ]
    return "\n\n".join(blocks) + "\n"


def _blocks(section: Section, heading: str) -> list[str]:
    blocks = [f"{heading} {escaped(section.title)}", *map(escaped, section.lines)]
    if section.table is not None:
        blocks.append(piped(section.table))
        if section.table.marked:
            blocks.append("**Best**, <u>second best</u>.")
    if section.footnotes:
        notes = (f"- <sup>{letter}</sup> {escaped(text)}" for letter, text in section.footnotes)
        blocks.append("\n".join(notes))
    if section.footnotes and section.after:
        blocks.append("\n".join(f"- {escaped(line)}" for line in section.after))
    elif section.after:
        blocks.append(" ".join(map(escaped, section.after)))
    return blocks


def piped(table: Table) -> str:
    """The table alone, without a newline at its end."""
    return tabulate(
        [list(map(_cell, row)) for row in table.cells()],
        headers=list(map(_cell, table.heads())),
        tablefmt="github",
        colalign=["right" if column.right else "left" for column in table.columns],
        disable_numparse=True,
    )


def _cell(cell: Cell) -> str:
    note = f"<sup>{cell.note}</sup>" if cell.note else ""
    return _WRAP[cell.mark].format(escaped(cell.text or "")) + note
