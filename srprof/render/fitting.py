"""Text and tables in so many columns of a terminal: lines never longer, words never cut.

What is too long wraps between words. A single word that is too long, as a path or a module's name,
loses whole parts from its middle: `models/…/e_rfdn_net.py:51`. Of a table's columns those that say
least go first (`Column.spare`); what then still has no room is set below, in a second table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from srprof.render.document import Column

#: Between two columns.
GAP = 2
#: How narrow a column of texts may get: first, and once no column can be left out any more.
_LEAST = (28, 20, 14)
#: Where a long word may lose parts, at the first signs that make it short enough: `net.py:51` is
#: one part, and what stands behind the last sign stays.
_CUTS = tuple(
    map(
        re.compile,
        (
            r"(?<=[^/]/)",
            r"(?<=[^/]/)|(?<=\.)(?!py\b)",
            r"(?<=[^/]/)|(?<=[_,;=(+-])|(?<=\.)(?!py\b)|(?<=:)(?!\d)",
        ),
    )
)
#: A word; the lines of a tree before it are a part of it, and so is a number's unit.
_WORD = re.compile(r"(?:[│ ]*[├└]─ )?(?:[-+]?[\d.,]+ (?=[KMG]iB\b|[mu]s\b|dB\b))?\S+")


def wrapped(text: str, width: int) -> list[str]:
    """A text's lines; all have its indentation, and a word that is too long is shortened."""
    tree = _WORD.match(text)
    body = text if tree and tree.group()[0] in "│├└" else text.lstrip(" ")
    indent = min(len(text) - len(body), width // 2)
    lines, room = [""], width - indent
    for word in _WORD.findall(body):
        short = shortened(word, room)
        longer = f"{lines[-1]} {short}" if lines[-1] else short
        if cell_len(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(short)
    return [" " * indent + line for line in lines]


def shortened(word: str, width: int) -> str:
    """A word in so many columns: itself, or with `…` for parts of its middle.

    The last part stays as long as it has room: a file and its line, a module's own name.
    """
    if cell_len(word) <= width:
        return word
    for cut in _CUTS:
        short = _without_middle(_parts(cut, word), width)
        if short is not None:
            return short
    head = max(0, (width - 1) // 2)
    tail = max(0, width - 1 - head)
    return f"{word[:head]}…{word[len(word) - tail :]}"[:width]


def _parts(cut: re.Pattern[str], word: str) -> list[str]:
    return [part for part in cut.split(word) if part]


def _without_middle(parts: list[str], width: int) -> str | None:
    """The last part, and of the others from both ends what has room; None if even that has not."""
    head, tail, room = 0, 1, width - 1 - cell_len(parts[-1])
    if len(parts) < 2 or room < 0:
        return None
    growing = True
    while growing and head + tail < len(parts) - 1:
        growing = False
        if cell_len(parts[head]) <= room:
            room -= cell_len(parts[head])
            head, growing = head + 1, True
        if head + tail < len(parts) - 1 and cell_len(parts[-1 - tail]) <= room:
            room -= cell_len(parts[-1 - tail])
            tail, growing = tail + 1, True
    return "".join([*parts[:head], "…", *parts[len(parts) - tail :]])


def _shortest(word: str, least: int) -> int:
    """Columns that a word needs so that what is left of it says enough: its last part, if short."""
    size = cell_len(word)
    for cut in _CUTS[1:]:
        parts = _parts(cut, word)
        size = min(size, 1 + cell_len(parts[-1])) if len(parts) > 1 else size
        if size <= least:
            break
    return size


@dataclass(frozen=True, slots=True)
class Fitted:
    """A table that fits.

    Attributes:
        blocks: indices of the columns that stand beside each other, a block below the other.
        widths: columns of the terminal by index. left_out: indices of what has no room.
    """

    blocks: tuple[tuple[int, ...], ...]
    widths: dict[int, int]
    left_out: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Sides:
    """How narrow a column can be without harm, and how wide it would like to be."""

    least: int
    most: int
    number: bool


def fitted(columns: Sequence[Column], texts: Sequence[Sequence[str]], width: int) -> Fitted:
    """Where a table's columns go; `texts` are its headings and its rows."""
    spare = sorted(
        (i for i, column in enumerate(columns) if column.spare),
        key=lambda i: (-columns[i].spare, -i),
    )
    for gone in range(len(spare) + 1):
        kept = [i for i in range(len(columns)) if i not in spare[:gone]]
        sides = [_sides(columns[i], [row[i] for row in texts], _LEAST[0]) for i in kept]
        if _total(side.least for side in sides) <= width:
            return _beside(kept, sides, texts, width, spare[:gone])
    for least in _LEAST[1:]:
        sides = [_sides(columns[i], [row[i] for row in texts], least) for i in kept]
        if _total(side.least for side in sides) <= width:
            return _beside(kept, sides, texts, width, spare)
    sides = [_sides(columns[i], [row[i] for row in texts], _LEAST[0]) for i in kept]
    return _stacked(kept, sides, width, tuple(sorted(spare)))


def _beside(
    kept: Sequence[int],
    sides: Sequence[_Sides],
    texts: Sequence[Sequence[str]],
    width: int,
    left_out: Sequence[int],
) -> Fitted:
    """All that is kept in one block; a column is no wider than the lines of its wrapped texts."""
    widths = dict(zip(kept, _spread(sides, width), strict=True))
    for i in kept:
        lines = (line for row in texts for line in wrapped(row[i], widths[i]))
        widths[i] = max(map(cell_len, lines), default=widths[i])
    return Fitted((tuple(kept),), widths, tuple(sorted(left_out)))


def _total(widths: Iterable[int]) -> int:
    listed = list(widths)
    return sum(listed) + GAP * max(len(listed) - 1, 0)


def _sides(column: Column, texts: Sequence[str], least: int) -> _Sides:
    head, *cells = texts
    widest = max(map(cell_len, cells), default=0)
    word = max(map(cell_len, head.split()), default=0)
    if column.right:
        return _Sides(max(widest, word), max(widest, cell_len(head)), True)
    words = (_shortest(word, least) for cell in cells for word in _WORD.findall(cell))
    needed = max(word, max(words, default=0), min(widest, least))
    return _Sides(needed, max(widest, cell_len(head), needed), False)


def _spread(sides: Sequence[_Sides], width: int) -> list[int]:
    """The widths, as near as there is room to what each would like to be.

    Headings of numbers wrap first, which costs nothing; then the widest texts.
    """
    widths = [side.most for side in sides]
    for numbers in (True, False):
        while _total(widths) > width:
            able = [i for i, s in enumerate(sides) if s.number is numbers and widths[i] > s.least]
            if not able:
                break
            widths[max(able, key=lambda i: widths[i])] -= 1
    return widths


def _stacked(
    kept: Sequence[int], sides: Sequence[_Sides], width: int, left_out: tuple[int, ...]
) -> Fitted:
    """Blocks of columns, each behind the first column, which names the rows."""
    by_index = dict(zip(kept, sides, strict=True))
    least = {i: min(side.least, width) for i, side in by_index.items()}
    first, *others = kept
    named = all(least[first] + GAP + least[i] <= width for i in others)
    blocks = [[first]]
    for i in others:
        if _total([*(least[j] for j in blocks[-1]), least[i]]) <= width:
            blocks[-1].append(i)
        else:
            blocks.append([first, i] if named else [i])
    widths = dict(least)
    for block in blocks:
        widths |= dict(zip(block, _spread([by_index[i] for i in block], width), strict=True))
    widths[first] = least[first] if len(blocks) > 1 else widths[first]
    return Fitted(
        tuple(map(tuple, blocks)), {i: min(w, width) for i, w in widths.items()}, left_out
    )
