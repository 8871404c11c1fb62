"""Markdown as GitHub draws it: headings, paragraphs and pipe tables."""

from __future__ import annotations

import re

from tabulate import tabulate

from srprof.render.document import LEGEND, Cell, Document, Section, Table, sentence
from srprof.words import one_line

SUFFIX = ".md"

_WRAP = {"best": "**{}**", "second": "<u>{}</u>", "": "{}"}
#: Names in backticks are code already, and stay.
_CODE = re.compile(r"((?<!`)`[^`|\n]+`(?!`))")
_SPECIAL = re.compile(r"[\\`*\[\]|]|(?<![^\W_])_|_(?![^\W_])|~(?=~)|&(?=#?\w+;)")
#: What begins a quotation, a heading, a list, a rule.
_LEADING = re.compile(r"^(\d*)(>|#{1,6}(?=\s)|[+.)-](?=\s)|-{3,}$|={2,}$)")


def escaped(text: str) -> str:
    """Text on one line that opens no tag, cell, list, heading or emphasis."""
    parts = _CODE.split(one_line(text))
    parts[::2] = (_SPECIAL.sub(r"\\\g<0>", part).replace("<", "&lt;") for part in parts[::2])
    safe = "".join(parts)
    return _LEADING.sub(r"\1\\\2", safe)


def write(document: Document, width: int) -> str:
    """The sections; the first's title is the page's."""
    sections = enumerate(document.page())
    return "\n".join(drawn(section, "##" if level else "#") for level, section in sections)


def drawn(section: Section, heading: str) -> str:
    """One section under a heading of this level; ends with a newline."""
    blocks = [f"{heading} {escaped(section.title)}", *map(escaped, section.lines)]
    if section.table is not None:
        blocks.append(piped(section.table))
        marks = ["**Best**, <u>second best</u>."] if section.table.marked else []
        marks += [f"{LEGEND[:-1]}."] if section.footnotes else []
        blocks += [" ".join(marks)] if marks else []
    if section.footnotes:
        notes = (f"- <sup>{letter}</sup> {escaped(text)}" for letter, text in section.footnotes)
        blocks.append("\n".join(notes))
    if section.footnotes and section.after:
        blocks.append("\n".join(f"- {escaped(line)}" for line in section.after))
    elif section.after:
        blocks.append(" ".join(map(escaped, map(sentence, section.after))))
    return "\n\n".join(blocks) + "\n"


def piped(table: Table) -> str:
    """The table alone, without a newline at its end."""
    return tabulate(
        [list(map(_cell, row)) for row in table.cells()],
        headers=list(map(_cell, table.heads())),
        tablefmt="pipe",
        colalign=["right" if column.right else "left" for column in table.columns],
        disable_numparse=True,
    )


def _cell(cell: Cell) -> str:
    note = f"<sup>{cell.note}</sup>" if cell.note else ""
    return _WRAP[cell.mark].format(escaped(cell.text or "")) + note
