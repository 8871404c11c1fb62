"""What a field's type cannot say of its value: notes for `Annotated`, which the codec obeys.

A note stands around those before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

from srprof import codec
from srprof.codec import DecodeError, Note, Reader, mismatch
from srprof.errors import InputError
from srprof.words import one_line


def rule(
    what: str, holds: Callable[[Any], object] = lambda _: True, scale: float | None = None
) -> Note:
    """What a value must be beyond its type, and `holds`: else refused in these words.

    `scale` is one of the file's unit in the field's.
    """

    def read(inner: Reader, value: Any) -> Any:
        try:
            decoded = inner(value)
        except DecodeError as error:
            if error.path or error.after.startswith(": "):
                raise
            raise mismatch(value, what) from error
        if not holds(decoded):
            raise mismatch(value, what)
        return decoded if scale is None else decoded * scale

    return Note(read, what, scale)


def at_least(least: int) -> Note:
    """Of a whole number."""
    return rule(f"a whole number of at least {least}", lambda value: value >= least)


def positive(unit: str = "", scale: float | None = None) -> Note:
    """Of a number; `unit` is the file's."""
    return rule(f"a positive number{unit and f' of {unit}'}", lambda value: value > 0, scale)


def not_negative(unit: str = "", scale: float | None = None) -> Note:
    """Of a number; `unit` is the file's."""
    what = f"a number of {unit and f'{unit}, '}at least 0"
    return rule(what, lambda value: value >= 0, scale)


def share(most: float) -> Note:
    """Of a number: more than nothing, and at most so much."""
    return rule(f"a share of at most {most:g}", lambda value: 0 < value <= most)


def known(names: Callable[[], Iterable[str]]) -> Note:
    """Of a text: one of those known, which are asked for when they are needed."""
    return Note(lambda inner, value: codec.one_of(inner(value), tuple(names())))


def short(expand: Callable[[Any], Any]) -> Note:
    """A short form that the file may have: `expand` gives the long one, and leaves that alone."""
    return Note(lambda inner, value: inner(expand(value)))


def listed(value: Any) -> Any:
    """A list, for which its only entry may stand if that is a text."""
    return [value] if isinstance(value, str) else value


def read_by(function: Callable[[Any], Any]) -> Note:
    """A field that a function reads, whatever its type; its InputError says what is wrong."""
    return Note(lambda _, value: codec.called(function, value))


def passes(function: Callable[[Any], object]) -> Note:
    """A function that a value of the type must pass; its InputError says what is wrong."""

    def read(inner: Reader, value: Any) -> Any:
        decoded = inner(value)
        codec.called(function, decoded)
        return decoded

    return Note(read)


def distinct(what: str, name_of: Callable[[Any], str] = str) -> Note:
    """Of a list: no two of its entries are called the same."""
    return passes(lambda entries: refuse_twice(what, [name_of(entry) for entry in entries]))


def refuse_twice(what: str, names: Sequence[str]) -> None:
    """An InputError names what two things are called."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"two {what} are called {twice!r}; give one another name")


def entries(kinds: Callable[[], Mapping[str, object]], whole: bool = False) -> Note:
    """Keys of a person's table with the types of their values; if `whole`, all of them or none."""

    def read(_: Reader, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise mismatch(value, "a table")
        of = kinds()
        codec.check_keys(value, of)
        for key in of if whole and value else ():
            if key not in value:
                raise codec.missing(key, of[key])
        return {key: codec.under(key, of[key], item, True) for key, item in value.items()}

    return Note(read)


def each(word: str, *names: str) -> Note:
    """A list of tables: messages call each by a word and what a key of it has, or a number."""

    def title(number: int, table: Any) -> str:
        held = (table.get(key) for key in names if isinstance(table, Mapping))
        name = next((name for name in held if name and isinstance(name, str)), number + 1)
        return one_line(f"{word} {name}")

    def read(inner: Reader, value: Any) -> Any:
        try:
            return inner(value)
        except DecodeError as error:
            place = _ENTRY.fullmatch(error.path)
            if place is None:
                raise
            number = int(place[1])
            raise error.of(title(number, value[number]), place[2]) from error

    return Note(read)


_ENTRY = re.compile(r"\[(\d+)\]\.?(.*)", re.DOTALL)

#: Text that says something; as many as one or more; as many as none or more.
Filled = Annotated[str, rule("a text", lambda text: text.strip() and "\0" not in text)]
Count = Annotated[int, at_least(1)]
Whole = Annotated[int, at_least(0)]
