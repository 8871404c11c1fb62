"""Values of an argument as people write them: ranges, lists of them and literals; no torch."""

from __future__ import annotations

import ast
import re
from decimal import Decimal
from typing import Any

from srprof.errors import InputError

#: Of one range.
MOST_VALUES = 1_000_000

_NUMBER = r"-?\d{1,15}(?:\.\d{1,15})?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?::({_NUMBER}))?")
_FORMS = "write 32,40,48 or 2..6 or 64..1024:64"


def parse_range(text: str) -> list[Any]:
    """`a..b` or `a..b:step`, both ends included where the steps meet them.

    Raises:
        InputError: it is no range, or an empty one.
    """
    text = text.strip()
    match = _RANGE.fullmatch(text)
    if match is None:
        raise InputError(f"{text!r} is no range: {_FORMS}")
    start, stop = Decimal(match[1]), Decimal(match[2])
    step = Decimal(match[3] or 1)
    whole = not any("." in part for part in match.groups() if part)
    if not whole and match[3] is None:
        raise InputError(f"range {text!r}: give its step, {match[1]}..{match[2]}:0.1")
    if step <= 0:
        raise InputError(f"range {text!r}: the step must be positive")
    if stop < start:
        raise InputError(f"range {text!r} ends before it begins: exchange its ends")
    count = int((stop - start) / step) + 1
    if count > MOST_VALUES:
        raise InputError(f"range {text!r} has {count:,} values, which are too many")
    convert = int if whole else float
    return [convert(start + i * step) for i in range(count)]


def parse_values(text: str, option: str = "--set") -> tuple[str, tuple[Any, ...]]:
    """`nf=32,40,48`, `num_blocks=2..6` or `up_blocks=[2,1],[3,2]`: a name and its values.

    Raises:
        InputError: it is none of these, with the name of the option; nothing is evaluated.
    """
    name, equals, listed = text.partition("=")
    name = name.strip()
    if not equals or not name.isidentifier():
        raise InputError(f"{option} {text!r}: write NAME=VALUES, nf=32,40,48 or num_blocks=2..6")
    values: dict[str, object] = {}
    for piece in _pieces(listed):
        for value in _values(piece, text, option):
            values.setdefault(repr(value), value)
    return name, tuple(values.values())


def _values(piece: str, text: str, option: str) -> list[Any]:
    if not piece:
        raise InputError(f"{option} {text!r}: a value is missing; {_FORMS}")
    if ".." in piece and piece[0] not in "'\"([{":
        try:
            return parse_range(piece)
        except InputError as error:
            raise InputError(f"{option} {text!r}: {error}") from None
    try:
        return [ast.literal_eval(piece)]
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        what = f"{option} {text!r}: {piece!r} is no number, range or other literal"
        quoted = f"{option} \"{text.partition('=')[0]}='{piece}'\""
        raise InputError(f"{what}; strings are quoted for Python too: {quoted}") from None


def _pieces(text: str) -> list[str]:
    """The parts between commas that are in no brackets or quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        if character == "," and not quote and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
