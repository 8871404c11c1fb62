"""Dataclasses to JSON and back: names of the file, defaults, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest

from srprof.codec import DecodeError, Key, decode, decode_record, encode
from srprof.errors import InputError


@dataclass(frozen=True)
class Part:
    class_: Annotated[str, Key("class")]
    nbytes: Annotated[int, Key("bytes")] = 0


@dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...]
    by_name: Mapping[str, float] = field(default_factory=dict)
    note: Annotated[str | None, Key(sparse=True)] = None
    mode: Literal["cold", "warm"] = "cold"


def test_a_field_has_the_name_that_the_file_gives_it() -> None:
    assert encode(Part("conv", 3)) == {"class": "conv", "bytes": 3}
    assert decode(Part, {"class": "conv", "bytes": 3}) == Part("conv", 3)
    with pytest.raises(DecodeError, match=r"^parts\[0\].class is 3, not text$"):
        decode(Whole, {"parts": [{"class": 3}]})
    with pytest.raises(DecodeError, match=r"^parts\[0\].class is missing$"):
        decode(Whole, {"parts": [{"class_": "conv"}]})


def test_a_default_stands_in_for_what_is_missing() -> None:
    assert decode(Whole, {"parts": []}) == Whole(())
    assert encode(Whole(())) == {"parts": [], "by_name": {}, "mode": "cold"}
    assert encode(Whole((), note="n"))["note"] == "n"


def test_a_newer_schema_is_one_line() -> None:
    with pytest.raises(InputError) as caught:
        decode_record(Whole, {"schema": 3, "parts": 1}, 2, "a.json", "analyze again")
    assert str(caught.value) == (
        "a.json has schema 3, and this srprof reads up to 2: update srprof, or analyze again"
    )
    with pytest.raises(InputError, match=r"^a.json is damaged: parts is 1, not a list; take"):
        decode_record(Whole, {"schema": 2, "parts": 1}, 2, "a.json", "analyze again")
