"""Text for a terminal, with colour, in just as many columns as it has (`srprof.render.fitting`)."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from srprof.render.document import LEGEND, Cell, Document, Section, Table
from srprof.render.writers import text as plain
from srprof.words import printable

if TYPE_CHECKING:
    from rich.text import Text

SUFFIX = ".ansi"

_MARKS = {"best": "bold green", "second": "underline cyan", "": ""}
#: Styles of rows by what their first cell says.
_ROWS = {"held": "red", "eager": "bold"}
#: Styles of lines by how they begin; others above a table are dim.
_LINES = {"FAILED:": "bold red", "warning:": "yellow"}


def write(document: Document, width: int) -> str:
    """The sections; without colour where rich is not installed, or `NO_COLOR` is set."""
    try:
        from rich.console import Console
        from rich.text import Text
    except ImportError:  # as on some GPU machines
        return plain.write(document, width)
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=True, width=width, highlight=False, markup=False, emoji=False
    )
    for section in document.sections:
        for line in (*_section(section, width), Text()):
            console.print(line, soft_wrap=True)
    return out.getvalue()


def _section(section: Section, width: int) -> Iterator[Text]:
    yield from _lines((section.title,), width, "bold")
    for line in section.lines:
        yield from _lines((line,), width, _LINES.get(line.partition(" ")[0], "dim"))
    if section.table is not None:
        yield from _table(section.table, width)
    under = [*_legend(section, width), *_lines(section.after, width)]
    if under and section.table is not None:
        yield from _lines(("",), width)
    yield from under


def _lines(texts: Sequence[str], width: int, style: str = "") -> Iterator[Text]:
    from rich.text import Text

    from srprof.render.fitting import wrapped

    for text in texts:
        for line in wrapped(printable(text), width):
            yield Text(line, style)


def _table(table: Table, width: int) -> Iterator[Text]:
    """The table in as many blocks as it needs, and what was left out of it."""
    from rich.text import Text

    from srprof.render.fitting import GAP, fitted

    cells = [table.heads(), *table.cells()]
    texts = [list(map(plain.noted, row)) for row in cells]
    laid = fitted(table.columns, texts, width)
    for block in laid.blocks:
        yield Text()
        rule = sum(laid.widths[i] for i in block) + GAP * (len(block) - 1)
        for number, (row, words) in enumerate(zip(cells, texts, strict=True)):
            style = _ROWS.get(words[0], "") if number else "dim"
            for line in _row(table, row, words, block, laid.widths):
                line.stylize_before(style)
                yield line
            if not number:
                yield Text("─" * rule, "dim")
    if laid.left_out:
        names = "; ".join(printable(table.columns[i].name) for i in laid.left_out)
        more = f"Left out at {width} columns: {names}."
        yield Text()
        yield from _lines((more,), width, "dim")


def _row(
    table: Table,
    cells: Sequence[Cell],
    texts: Sequence[str],
    block: Sequence[int],
    widths: dict[int, int],
) -> Iterator[Text]:
    """The lines of a row: as many as its longest text has."""
    from rich.text import Text

    from srprof.render.fitting import GAP, wrapped

    parts = [wrapped(texts[i], widths[i]) for i in block]
    for lines in zip_longest(*parts, fillvalue=""):
        line = Text()
        for i, text in zip(block, lines, strict=True):
            room = " " * (widths[i] - Text(text).cell_len)
            said = Text(text, _MARKS[cells[i].mark])
            pair = (room, said) if table.columns[i].right else (said, room)
            line.append_text(Text.assemble(*pair))
            line.append(" " * GAP)
        line.rstrip()
        yield line


def _legend(section: Section, width: int) -> Iterator[Text]:
    from rich.text import Text

    if not section.footnotes:
        return
    if section.table is not None and section.table.marked:
        best: Any = (("best", _MARKS["best"]), "  ", ("second best", _MARKS["second"]))
        yield Text.assemble(*best)
    yield from _lines((LEGEND,), width)
    yield from _lines([f"[{letter}] {text}" for letter, text in section.footnotes], width, "dim")
