"""Quantities as people write them, and the growth that they allow.

Every value is a whole number in the smallest unit of its kind: bytes, counts, nanoseconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from srprof.errors import InputError
from srprof.words import MIB, hint

Kind = Literal["bytes", "count", "time"]

#: Units by kind, each in the smallest one.
UNITS: Mapping[Kind, Mapping[str, int]] = {
    "bytes": {
        "B": 1,
        "KiB": 2**10,
        "MiB": 2**20,
        "GiB": 2**30,
        "kB": 10**3,
        "KB": 10**3,
        "MB": 10**6,
        "GB": 10**9,
    },
    "count": {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12},
    "time": {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9},
}
_EXAMPLES: Mapping[Kind, str] = {"bytes": "210 MiB", "count": "350K", "time": "30 ms"}

_QUANTITY = re.compile(r"\s*(\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})\s*([A-Za-z]*)\s*")
_ASPECT = re.compile(r"(\d{1,6}):(\d{1,6})")
_PERCENT = re.compile(r"\s*(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})\s*%\s*")


def parse_quantity(value: object, kind: Kind) -> int:
    """`210 MiB`, `350K` or `30 ms` in the smallest unit; a count may be a plain number.

    An InputError if it is no quantity of this kind.
    """
    if kind == "count" and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise InputError(
            f'{value!r} is no {_NOUNS[kind]}: write a number with its unit, as "{_EXAMPLES[kind]}"'
        )
    number, unit = match.groups()
    units = UNITS[kind]
    if unit not in units:
        what = f"unknown unit {unit!r}" if unit else "the unit is missing"
        known = tuple(u for u in units if u)
        folded = next((u for u in known if u.lower() == unit.lower()), None)
        meant = f"did you mean {folded}?" if folded else hint(unit, known)
        raise InputError(f"{value!r}: {what} of a {_NOUNS[kind]}; {meant}")
    return round(Fraction(number if number[-1] != "." else number[:-1]) * units[unit])


def parse_budget(value: str | int) -> int:
    """`4GiB`, `512 MiB`, `800MB` or, as a number, bytes; an InputError for none or nothing."""
    try:
        nbytes = value if isinstance(value, int) else parse_quantity(value, "bytes")
    except InputError as error:
        raise InputError(f"budget {error}") from error
    if isinstance(value, bool) or nbytes < 1:
        raise InputError(f"budget {value!r}: give a size of at least one byte, as 4GiB")
    return nbytes


def parse_duration(text: str) -> float:
    """Seconds: `60s`, `500ms`. An InputError if it is no time, or none."""
    nanoseconds = parse_quantity(text, "time")
    if not nanoseconds:
        raise InputError(f"{text!r} is no time at all: give one, 60s")
    return nanoseconds / UNITS["time"]["s"]


def parse_aspect(text: str) -> tuple[int, int]:
    """`16:9` as width and height; an InputError if it is no ratio of two positive numbers."""
    match = _ASPECT.fullmatch(text.strip())
    if match is None or 0 in map(int, match.groups()):
        raise InputError(f"aspect {text!r} is no ratio: write width:height, as 16:9")
    return int(match[1]), int(match[2])


_NOUNS: Mapping[Kind, str] = {"bytes": "size", "count": "count", "time": "time"}


def format_quantity(value: int, kind: Kind, sign: bool = False) -> str:
    """As a person reads it: `202.74 MiB`, `341,060`, `28.40 ms`; exact where that shows nothing."""
    plus = "+" if sign else ""
    if kind == "count":
        return f"{value:{plus},}"
    scale, unit = (MIB, "MiB") if kind == "bytes" else (10**6, "ms")
    if value and abs(value) < scale / 200:
        return f"{value:{plus},} {'B' if kind == 'bytes' else 'ns'}"
    return f"{value / scale:{plus}.2f} {unit}"


@dataclass(frozen=True, slots=True)
class Growth:
    """Growth that is allowed: it must exceed both the share and the amount to fail.

    Attributes:
        share: of the baseline, 0.01 is 1%. amount: in the metric's smallest unit.
    """

    share: Fraction = Fraction(0)
    amount: int = 0

    def allowed(self, baseline: int) -> int:
        """The largest growth that passes, in the smallest unit."""
        return max(int(self.share * baseline), self.amount)


def parse_growth(value: object, kind: Kind) -> Growth:
    """`1%`, `5 MiB`, `1%+2MiB`, or 0; an InputError if it is none of these."""
    if value == 0 and not isinstance(value, bool):
        return Growth()
    parts = value.split("+") if isinstance(value, str) else []
    shares = [match[1] for part in parts if (match := _PERCENT.fullmatch(part))]
    amounts = [part for part in parts if not _PERCENT.fullmatch(part)]
    if not parts or len(shares) > 1 or len(amounts) > 1:
        raise InputError(
            f"{value!r} cannot be read: write a share, an amount, or both, as "
            f'"1%", "{_EXAMPLES[kind]}" or "1%+{_EXAMPLES[kind]}"'
        )
    share = Fraction(shares[0].rstrip(".")) / 100 if shares else Fraction(0)
    return Growth(share, parse_quantity(amounts[0], kind) if amounts else 0)
