"""Rendered text against a committed file: cell by cell, so that only the widths are free.

Widths of columns follow the paths of source files, so that a table is compared by its cells. No
character of a cell is left out: a sign, a unit or a column in another place is a difference.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from pathlib import Path

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
#: The line under the header of a table in text, which has the columns' places.
_RULE = re.compile(r" *-+(?: +-+)*")
_SOURCE_LINE = re.compile(r"[^\s,|\"]*?(\w+\.py):\d+( {2,}| +(?=\|))?")

Row = tuple[str, ...]


@dataclass(frozen=True)
class Golden:
    """The fixture `golden`: compares, and first rewrites the file under `--update-golden`."""

    update: bool

    def exact(self, text: str, file: str) -> None:
        """Compare with a file of tests/golden, to the character."""
        path = GOLDEN / file
        if self.update:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        kept = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = (kept.splitlines(), text.splitlines(), file, "now")
        difference = "\n".join(difflib.unified_diff(*lines, lineterm="", n=1))
        assert text == kept, f"{difference}\n\nIf that is meant: pytest --update-golden."

    def __call__(self, text: str, file: str | Path, between: tuple[str, str] = ("", "")) -> None:
        """Compare with a file of tests/golden or any other, or with its part between two texts."""
        path = GOLDEN / file  # an absolute path is taken as it is
        whole = path.read_text(encoding="utf-8") if path.exists() else ""
        before, kept, after = _cut(whole, *between)
        if self.update and text != kept:
            path.write_text(before + text + after, encoding="utf-8")
            kept = text
        assert_same_cells(text, kept, str(path.relative_to(ROOT)))


def _cut(text: str, begin: str, end: str) -> tuple[str, str, str]:
    start = text.index(begin) + len(begin)
    stop = text.index(end, start) if end else len(text)
    return text[:start], text[start:stop], text[stop:]


def assert_same_cells(text: str, kept: str, name: str = "the golden file") -> None:
    """Show a unified difference of the cells, unless there is none."""
    ours, theirs = ([" | ".join(row) for row in rows(side)] for side in (text, kept))
    difference = "\n".join(difflib.unified_diff(theirs, ours, name, "now", lineterm="", n=1))
    assert not difference, f"{difference}\n\nIf that is meant: pytest --update-golden."


def rows(text: str) -> Iterator[Row]:
    """Cells of each line; what is in no table is one cell."""
    columns: list[int] = []
    for line, following in pairwise([*text.splitlines(), ""]):
        if _RULE.fullmatch(following) and line.strip():
            columns = [rule.start() for rule in re.finditer("-+", following)]
        elif not line.strip():
            columns = []
        cells = re.split(r"(?<!\\)\|", line) if line.startswith("|") else _cells_at(columns, line)
        yield _unfilled(tuple(" ".join(cell.split()) for cell in cells))


def _cells_at(columns: list[int], line: str) -> Row:
    """The cells that begin at the columns; the line if a word runs across a column's begin."""
    starts = [0, *columns[1:]]
    if any(line[start - 1 : start].strip() for start in starts[1:]):
        return (line,)
    return tuple(line[start:stop] for start, stop in zip_longest(starts, columns[1:]))


def _unfilled(cells: Row) -> Row:
    """Without what fills the line under a header to its columns' widths."""
    under_header = all(re.fullmatch(":?-*:?", cell) for cell in cells)
    return tuple(re.sub("-+", "-", cell) for cell in cells) if under_header else cells


def without_source_lines(text: str) -> str:
    """`models/rfdn_net.py:38` as `rfdn_net.py:N`, as wide: such lines move with every edit."""
    return _SOURCE_LINE.sub(_unnumbered, text)


def _unnumbered(found: re.Match[str]) -> str:
    short = f"{found[1]}:N"
    return short.ljust(len(found[0])) if found[2] else short
