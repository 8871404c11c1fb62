"""How a person reads sizes, shapes, names and foreign text: each said in one way, here.

Nothing of srprof is imported, so that every part can use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from textwrap import wrap
from typing import Any

MIB = 2**20
#: An indented line up to its second column.
_COLUMNS = re.compile(r" +\S.*?\S {2,}(?=\S)| +\S {2,}(?=\S)")


def mib(nbytes: float) -> str:
    """Bytes as MiB with two decimals, for where the unit stands elsewhere: `49.61`."""
    return f"{nbytes / MIB:.2f}"


def mib_size(nbytes: float) -> str:
    """`49.61 MiB`."""
    return f"{mib(nbytes)} MiB"


def least_size(nbytes: float) -> str:
    """The same rounded up, so that what is said is enough."""
    return f"{-(-nbytes * 100 // MIB) / 100:.2f} MiB"


def size_text(nbytes: int) -> str:
    """`256 MiB` and `49.61 MiB`; bytes where MiB would show nothing."""
    if nbytes < MIB / 200:
        return f"{nbytes:,} B"
    return f"{mib(nbytes).removesuffix('.00')} MiB"


def signed_size(nbytes: int) -> str:
    """`+49.61 MiB`; bytes where MiB would show nothing."""
    if nbytes and abs(nbytes) < MIB / 200:
        return f"{nbytes:+,} B"
    return f"{nbytes / MIB:+.2f} MiB"


def shape_text(sides: Iterable[int]) -> str:
    """`1x50x256x256`; "" for a scalar."""
    return "x".join(map(str, sides))


def tensors_text(tensors: Iterable[Any]) -> str:
    """`1x3x256x256 float32, 1 float32`, of whatever has a shape and a dtype."""
    return ", ".join(f"{shape_text(tensor.shape)} {tensor.dtype}" for tensor in tensors)


def printable(text: object) -> str:
    """Text without line ends and without what would colour or clear a terminal."""
    return "".join(c if c.isprintable() else " " for c in str(text))


def printable_lines(text: object) -> str:
    """The same, but for ends of lines: text of several lines."""
    return "\n".join(map(printable, str(text).split("\n")))


def one_line(text: object) -> str:
    """The same with one space between words."""
    return " ".join(printable(text).split())


def filled(text: str, width: int) -> str:
    """Paragraphs laid out anew for a width.

    A line that is indented stays a line; what stands there in a second column stays in it.
    """
    lines: list[str] = []
    paragraph: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line[:1] not in ("", " "):
            paragraph.append(line)
            continue
        lines += wrap(" ".join(paragraph), width, break_on_hyphens=False)
        paragraph = []
        column = _COLUMNS.match(line)
        indent = " " * (column.end() if column else 4)
        lines += wrap(line, width, subsequent_indent=indent, break_on_hyphens=False) or [""]
    return "\n".join(lines[:-1])


def some(names: Iterable[str], most: int) -> str:
    """`a, b and 3 more` of more names than are shown."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def did_you_mean(word: str, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> str:
    """`did you mean X or Y?` of the known words that look most like one; "" if none does."""
    near = get_close_matches(word, list(known), n=count, cutoff=cutoff)
    return f"did you mean {' or '.join(near)}?" if near else ""


def hint(word: str, known: Iterable[str]) -> str:
    """`did you mean X?`, or all that there is."""
    known = tuple(filter(None, known))
    return did_you_mean(word, known) or f"known: {', '.join(known)}"
