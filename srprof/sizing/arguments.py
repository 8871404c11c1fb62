"""Budgets and aspect ratios as people write them. No torch."""

from __future__ import annotations

import re

from srprof.errors import InputError
from srprof.quantities import parse_quantity

_ASPECT = re.compile(r"(\d{1,6}):(\d{1,6})")


def parse_budget(value: str | int) -> int:
    """`4GiB`, `512 MiB`, `800MB` or, as a number, bytes.

    Raises:
        InputError: it is none of these, or nothing.
    """
    try:
        nbytes = value if isinstance(value, int) else parse_quantity(value, "bytes")
    except InputError as error:
        raise InputError(f"budget {error}") from error
    if isinstance(value, bool) or nbytes < 1:
        raise InputError(f"budget {value!r}: give a size of at least one byte, as 4GiB")
    return nbytes


def parse_aspect(text: str) -> tuple[int, int]:
    """`16:9` as width and height.

    Raises:
        InputError: it is no ratio of two positive whole numbers.
    """
    match = _ASPECT.fullmatch(text.strip())
    if match is None or 0 in map(int, match.groups()):
        raise InputError(f"aspect {text!r} is no ratio: write width:height, as 16:9")
    return int(match[1]), int(match[2])
