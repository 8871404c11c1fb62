"""Files that cannot be read, or are not what they should be: one line each, with the file in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

from srprof.codec import DecodeError, decode, decode_table
from srprof.errors import InputError
from srprof.files import RecordFile, load_table, parse_json, parse_toml, read_json, read_text
from srprof.rules import (
    Count,
    Filled,
    distinct,
    each,
    entries,
    known,
    listed,
    not_negative,
    passes,
    positive,
    read_by,
    rule,
    share,
    short,
)

# -- the file -------------------------------------------------------------------------------------


def test_text_with_and_without_a_mark_of_utf_8(tmp_path: Path):
    path = tmp_path / "a.txt"
    for content in (b"\xc3\xbc", b"\xef\xbb\xbf\xc3\xbc"):
        path.write_bytes(content)
        assert read_text(path) == "ü"


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(InputError, match=r"^.*pipe\.json cannot be read: it is no regular file$"):
        read_json(tmp_path / "pipe.json")


def test_what_cannot_be_read(tmp_path: Path):
    with pytest.raises(InputError, match=r"^report no\.toml cannot be read: No such .*; name one$"):
        read_text("no.toml", "report no.toml", "name one")
    with pytest.raises(InputError, match=r"cannot be read: Is a directory$"):
        read_text(tmp_path)
    (tmp_path / "bytes").write_bytes(b"\x89PNG\xff")
    with pytest.raises(InputError, match=r"bytes is no text in UTF-8$"):
        read_text(tmp_path / "bytes")
    with pytest.raises(InputError, match=r"cannot be read: that is no path$"):
        read_text("zero\0byte")


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "Expecting value"),
        ("[" * 100_000, "recursion"),
        ('{"a": 1, "b": 2, "a": 1}', "'a' is there twice"),
        ("[NaN]", "NaN is no number"),
        ("[-Infinity]", "-Infinity is no number"),
        ("[" + "9" * 5000 + "]", "4300 digits"),
    ],
)
def test_what_is_no_json(text: str, reason: str):
    with pytest.raises(InputError, match=rf"^a\.json is not whole JSON \(.*{reason}.*\); again$"):
        parse_json(text, "a.json", "again")


@pytest.mark.parametrize("text", ["a = ", "a = 1\na = 2", "a = " + "[" * 10_000])
def test_what_is_no_toml(text: str):
    with pytest.raises(InputError, match=r"^my\.toml is not valid TOML: ") as caught:
        parse_toml(text, "my.toml")
    assert "\n" not in str(caught.value)


# -- a record -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    x: int
    y: float = 0.0


POINTS = RecordFile(Point, "srprof point", 2, "draw again", "srprof draw")


def test_a_record_comes_back(tmp_path: Path):
    path = tmp_path / "p.json"
    path.write_text('{"schema": 2, "kind": "srprof point", "x": 3, "new": [1]}')
    assert POINTS.load(path) == Point(3)
    assert POINTS.encode(Point(3)) == {"schema": 2, "kind": "srprof point", "x": 3, "y": 0.0}
    assert POINTS.is_one(path)
    path.write_text('{"kind": "srprof line"}')
    assert not POINTS.is_one(path) and not POINTS.is_one(tmp_path / "no.json")


@pytest.mark.parametrize(
    "text, message",
    [
        ("[]", "p is no point; `srprof draw` writes one"),
        (
            '{"kind": "srprof point", "schema": 3}',
            "p has schema 3, and this srprof reads up to 2: update srprof, or draw again",
        ),
        (
            '{"kind": "srprof point", "schema": 2, "x": 1e400}',
            "p is damaged: x is inf, not a whole number; take another copy of it, or draw again",
        ),
        (
            '{"kind": "srprof point", "schema": 2, "x": 1, "y": 1e400}',
            "p is damaged: y is inf, not a number; take another copy of it, or draw again",
        ),
    ],
)
def test_a_record_that_cannot_be(text: str, message: str):
    with pytest.raises(InputError) as caught:
        POINTS.parse(text, "p")
    assert str(caught.value) == message


# -- a person's table -----------------------------------------------------------------------------

WHEELS = ("front", "rear")


def of_metal(text: str) -> str:
    if text == "wood":
        raise InputError("'wood' is no metal")
    return text.upper()


@dataclass(frozen=True)
class Wheel:
    name: Annotated[str, known(lambda: WHEELS)]
    spokes: Count = 32


@dataclass(frozen=True)
class Bicycle:
    title: Filled
    weight: Annotated[float, positive("kg", 1000)]
    wheels: Annotated[
        tuple[Wheel, ...], each("wheel", "name"), distinct("wheels", lambda wheel: wheel.name)
    ] = ()
    colours: Annotated[tuple[Filled, ...], short(listed), rule("a colour, or a list", bool)] = (
        "red",
    )
    frame: Annotated[str, read_by(of_metal)] = "STEEL"
    bell: Annotated[str, passes(of_metal)] = "brass"
    gears: Literal["hub", "derailleur"] | None = None
    slack: Annotated[float, not_negative("mm")] = 0.0
    shares: Annotated[
        Mapping[str, float],
        entries(lambda: dict.fromkeys(WHEELS, Annotated[float, share(1)]), whole=True),
    ] = None  # type: ignore[assignment]  # shows that a default is not checked


LEAST = {"title": "t", "weight": 1}


def test_a_table_is_read():
    bicycle = decode_table(
        Bicycle,
        {
            **LEAST,
            "weight": 12,
            "colours": "blue",
            "frame": "iron",
            "wheels": [{"name": "rear"}],
            "shares": {"front": 0.25, "rear": 1},
        },
        "b.toml",
    )
    assert (bicycle.weight, bicycle.colours, bicycle.frame) == (12000.0, ("blue",), "IRON")
    assert bicycle.wheels == (Wheel("rear"),)
    assert bicycle.shares == {"front": 0.25, "rear": 1.0}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"titel": 1}, "unknown key titel; did you mean title?"),
        ({"a\nb": 1}, "unknown key a b; known: title, weight, wheels, colours, frame, bell, gears, "
         "slack, shares"),
        ({"title": " "}, "title is ' ', not a text"),
        ({"title": "\ud800"}, "title is '\\ud800', not a text"),
        ({"weight": True}, "weight is True, not a positive number of kg"),
        ({"weight": 10**5000}, "weight is beyond 10^30, not a positive number of kg"),
        ({"weight": float("nan")}, "weight is nan, not a positive number of kg"),
        ({"slack": -1}, "slack is -1, not a number of mm, at least 0"),
        ({"colours": []}, "colours is [], not a colour, or a list"),
        ({"colours": ["a", 3]}, "colours[1] is 3, not a text"),
        ({"frame": "wood"}, "frame: 'wood' is no metal"),
        ({"bell": "wood"}, "bell: 'wood' is no metal"),
        ({"gears": "hubb"}, "gears is 'hubb', not one of hub, derailleur; did you mean hub?"),
        ({"gears": 1}, "gears is 1, not one of hub, derailleur"),
        ({"wheels": {}}, "wheels is {}, not a list"),
        ({"wheels": [3]}, "wheel 1: it is 3, not a table"),
        ({"wheels": [{"name": "rear", "spoke": 1}]},
         "wheel rear: unknown key spoke; did you mean spokes?"),
        ({"wheels": [{"name": "rear"}, {"name": "rear", "spokes": 0}]},
         "wheel rear: spokes is 0, not a whole number of at least 1"),
        ({"wheels": [{"spokes": 3}]}, "wheel 1: name is missing; give text"),
        ({"wheels": [{"name": "x"}]}, "wheel x: name is 'x', not one of front, rear"),
        ({"wheels": [{"name": "rear"}] * 2},
         "wheels: two wheels are called 'rear'; give one another name"),
        ({"shares": 3}, "shares is 3, not a table"),
        ({"shares": {"fron": 1}}, "unknown key shares.fron; did you mean front?"),
        ({"shares": {"front": 1}}, "shares.rear is missing; give a share of at most 1"),
        ({"shares": {"front": 1, "rear": 2}}, "shares.rear is 2, not a share of at most 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_names_the_file_and_the_key(changes: dict[str, object], message: str):
    with pytest.raises(InputError) as caught:
        decode_table(Bicycle, {**LEAST, **changes}, "b.toml")
    assert str(caught.value) == f"b.toml: {message}"


def test_a_key_that_is_missing_says_what_to_give(tmp_path: Path):
    path = tmp_path / "b.toml"
    path.write_text('title = "t"')
    with pytest.raises(InputError) as caught:
        load_table(Bicycle, path, "bicycle b.toml")
    assert str(caught.value) == "bicycle b.toml: weight is missing; give a positive number of kg"


def test_a_field_that_is_given_is_no_key():
    assert decode(Wheel, {"spokes": 4}, strict=True, name="rear") == Wheel("rear", 4)
    with pytest.raises(DecodeError, match=r"^unknown key name; known: spokes$"):
        decode(Wheel, {"name": "front"}, strict=True, name="rear")
