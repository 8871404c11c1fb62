"""A document as terminals of three widths show it: what must hold of any, and the captures kept.

Results that are measured differ from run to run: of these a document is kept once, and drawn from
then on; that a fresh one has the same columns says whether it is still what the command shows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from srprof.render.document import Cell, Column, Document, Section, Table
from srprof.render.writers import render
from srprof.words import printable
from tests.golden_files import GOLDEN, Golden

WIDTHS = (80, 100, 120)
#: Commands whose results differ from run to run, or from machine to machine.
MEASURED = frozenset(
    "evaluate measure spectrum time validate ablate calibrate merge train".split()
) | {"analyze --train"}
_FOLDER = "terminals"
#: Behind these a word may be shortened.
_SEPARATORS = "/._-:,;=(+"


def check_terminals(name: str, document: Document, golden: Golden) -> None:
    """What holds of every capture holds of a document's, and they are as they were."""
    for width in WIDTHS:
        check_lines(document, width)
    shown = _kept(name, document, golden) if name in MEASURED else document
    captures = (f"== {width} columns\n{capture(shown, width)}" for width in WIDTHS)
    golden.exact("\n".join(captures), f"{_FOLDER}/{_file(name)}.txt")


def capture(document: Document, width: int) -> str:
    """What a terminal shows, without its colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", render(document, "rich", width))


def check_lines(document: Document, width: int) -> None:
    """No line is over the width, no word is cut, and what is left out is said."""
    shown = capture(document, width)
    lines = shown.splitlines()
    assert [line for line in lines if cell_len(line) > width] == []
    words = {word for text in _texts(document) for word in printable(text).split()}
    left_out = re.compile(r"Left out at \d+ columns: (.*)\.$")
    told = [found[1] for line in _unwrapped(lines) if (found := left_out.match(line))]
    for line in lines:
        if line.startswith("Left out at"):
            continue
        for word in line.split():
            known = word in words or set(word) <= set("─│├") or not _strange(word, words, told)
            assert known, f"{word!r} of {line!r}"
    for section in document.sections:
        gone = next((names.split("; ") for names in told if _of(section, names)), [])
        for column, texts in _columns(section):
            if column.right and column.name not in gone:
                assert [text for text in texts if text not in shown] == []


def _unwrapped(lines: list[str]) -> Iterator[str]:
    """Lines, those that `Left out` begins joined up to their end."""
    joined = ""
    for line in lines:
        if line.startswith("Left out at") or joined:
            joined = f"{joined} {line}".strip()
            if joined.endswith("."):
                yield joined
                joined = ""
        else:
            yield line


def _of(section: Section, names: str) -> bool:
    heads = [] if section.table is None else [column.name for column in section.table.columns]
    return set(names.split("; ")) <= set(heads)


def _strange(word: str, words: set[str], told: list[str]) -> bool:
    """Whether a word is neither one of the document's, shortened, nor of a line that is told."""
    head, sign, tail = word.partition("…")
    if not sign:
        return word.rstrip(";.") not in " ".join(told)
    return not any(
        whole.startswith(head)
        and whole.endswith(tail)
        and len(whole) > len(head) + len(tail)
        and (whole[-len(tail) - 1] in _SEPARATORS or not head or head[-1] in _SEPARATORS)
        for whole in words
    )


def _texts(document: Document) -> Iterator[str]:
    from srprof.render.document import LEGEND

    yield f"{LEGEND} best second best"
    for section in document.sections:
        yield from (section.title, *section.lines, *section.after)
        yield from (f"[{letter}] {text}" for letter, text in section.footnotes)
        for _, texts in _columns(section):
            yield from texts
        if section.table is not None:
            yield from (f"{head.text} [{head.note}]" for head in section.table.heads())


def _columns(section: Section) -> Iterator[tuple[Column, list[str]]]:
    if section.table is None:
        return
    rows = list(section.table.cells())
    for i, column in enumerate(section.table.columns):
        notes = (f" [{row[i].note}]" if row[i].note else "" for row in rows)
        yield column, [f"{row[i].text}{note}" for row, note in zip(rows, notes, strict=True)]


def _file(name: str) -> str:
    return re.sub(r"\W+", "_", name)


# -- kept documents -------------------------------------------------------------------------------


def _kept(name: str, document: Document, golden: Golden) -> Document:
    """The document that is kept of a command, whose columns must be those of this one.

    An update makes it anew only if they are not: a measurement differs each time.
    """
    file = GOLDEN / _FOLDER / f"{_file(name)}.json"
    if golden.update and not (file.exists() and _alike(_read(file), document)):
        text = json.dumps(list(map(_encoded, document.sections)), indent=1)
        file.write_text(text + "\n", encoding="utf-8")
    kept = _read(file)
    assert _alike(kept, document), f"{file} has other columns; if that is meant: --update-golden"
    return kept


def _read(file: Path) -> Document:
    return Document(tuple(map(_decoded, json.loads(file.read_text(encoding="utf-8")))))


def _alike(kept: Document, now: Document) -> bool:
    """Whether the first table, and each that both have, has the same columns."""
    then, here = _heads(kept), _heads(now)
    both = then.keys() & here.keys()
    return next(iter(then)) == next(iter(here)) and all(then[t] == here[t] for t in both)


def _heads(document: Document) -> dict[tuple[str, ...], tuple[Column, ...]]:
    """The columns of its tables by their names."""
    tables = (section.table for section in document.sections if section.table is not None)
    return {tuple(column.name for column in t.columns): t.columns for t in tables}


def _encoded(section: Section) -> dict[str, Any]:
    table = section.table and {
        "columns": [asdict(column) for column in section.table.columns],
        "notes": section.table.notes,
        "rows": [[[c.text, c.mark, c.note] for c in row] for row in section.table.cells()],
    }
    lines = {"lines": section.lines, "after": section.after, "footnotes": section.footnotes}
    return {"title": section.title, **lines, "table": table}


def _decoded(kept: dict[str, Any]) -> Section:
    table = kept["table"] and Table(
        tuple(Column(**column) for column in kept["table"]["columns"]),
        tuple(
            tuple(Cell(text, text, mark, note) for text, mark, note in row)
            for row in kept["table"]["rows"]
        ),
        tuple(kept["table"]["notes"]),
    )
    texts = (tuple(kept[name]) for name in ("lines", "after"))
    lines, after = texts
    footnotes = tuple((letter, text) for letter, text in kept["footnotes"])
    return Section(kept["title"], lines, table or None, after, footnotes)
