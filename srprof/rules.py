"""What a field's type cannot say of its value: notes for `Annotated`, which the codec obeys.

    lr: Annotated[float, positive()] = 5e-4
    data: Annotated[tuple[Filled, ...], Short(listed), Rule("a folder, or a list of such")]

A note stands around those before it. Pure; of `srprof` only the codec.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from srprof.codec import (
    DecodeError,
    Note,
    Reader,
    called,
    check_keys,
    mismatch,
    missing,
    one_of,
    under,
)
from srprof.errors import InputError
from srprof.words import one_line


@dataclass(frozen=True, eq=False)
class Rule(Note):
    """What a value must be beyond its type.

    Attributes:
        holds: whether a value of the type is that. scale: one of the file's unit in the field's.
    """

    what: str
    holds: Callable[[Any], bool] = lambda _: True
    scale: float | None = None

    def read(self, inner: Reader, value: Any) -> Any:
        """Refuses what is not of the type in the rule's words too."""
        try:
            read = inner(value)
        except DecodeError as error:
            if error.path or error.after.startswith(": "):
                raise
            raise mismatch(value, self.what) from error
        if not self.holds(read):
            raise mismatch(value, self.what)
        return read if self.scale is None else read * self.scale


@dataclass(frozen=True, eq=False)
class Known(Note):
    """A text that is one of those known, which are asked for when they are needed."""

    names: Callable[[], Iterable[str]]

    def read(self, inner: Reader, value: Any) -> Any:
        """Names the nearest."""
        return one_of(inner(value), tuple(self.names()))


@dataclass(frozen=True, eq=False)
class Short(Note):
    """A short form that the file may have: `expand` gives the long one, and leaves that alone."""

    expand: Callable[[Any], Any]

    def read(self, inner: Reader, value: Any) -> Any:
        """The long form is what is read."""
        return inner(self.expand(value))


@dataclass(frozen=True, eq=False)
class Read(Note):
    """A field that a function reads, whatever its type; its InputError says what is wrong."""

    function: Callable[[Any], Any]
    what: str = ""

    def read(self, inner: Reader, value: Any) -> Any:
        """The type's own reader is left out."""
        return called(self.function, value)


@dataclass(frozen=True, eq=False)
class Passes(Note):
    """A function that a value of the type must pass; its InputError says what is wrong."""

    function: Callable[[Any], object]

    def read(self, inner: Reader, value: Any) -> Any:
        """The value stays as it is."""
        read = inner(value)
        called(self.function, read)
        return read


@dataclass(frozen=True, eq=False)
class Entries(Note):
    """The keys that a person's table may have, each with the type of its value.

    Attributes:
        kinds: asked for when it is needed. whole: a table that has one of them has all.
    """

    kinds: Callable[[], Mapping[str, object]]
    whole: bool = False

    def read(self, inner: Reader, value: Any) -> Any:
        """Refuses other keys, and names the nearest."""
        if not isinstance(value, Mapping):
            raise mismatch(value, "a table")
        kinds = self.kinds()
        check_keys(value, kinds)
        for key in kinds:
            if self.whole and value and key not in value:
                raise missing(key, kinds[key])
        return {key: under(key, kinds[key], item, True) for key, item in value.items()}


@dataclass(frozen=True, eq=False)
class Each(Note):
    """A list of tables: messages call each by a word and its name or number, `check fmen_s`.

    Attributes:
        word: "check". names: keys that may hold its name, the best first.
    """

    word: str
    names: tuple[str, ...] = ()

    def read(self, inner: Reader, value: Any) -> Any:
        """An error in an entry is said to be of that."""
        try:
            return inner(value)
        except DecodeError as error:
            place = _ENTRY.fullmatch(error.path)
            if place is None:
                raise
            number = int(place[1])
            raise error.of(self._title(number, value[number]), place[2]) from error

    def _title(self, number: int, value: Any) -> str:
        table = value if isinstance(value, Mapping) else {}
        names = (table.get(key) for key in self.names)
        name = next((name for name in names if name and isinstance(name, str)), number + 1)
        return one_line(f"{self.word} {name}")


_ENTRY = re.compile(r"\[(\d+)\]\.?(.*)", re.DOTALL)


def at_least(least: int) -> Rule:
    """Of a whole number."""
    return Rule(f"a whole number of at least {least}", lambda value: value >= least)


def positive(unit: str = "", scale: float | None = None) -> Rule:
    """Of a number; `unit` is the file's."""
    return Rule(f"a positive number{unit and f' of {unit}'}", lambda value: value > 0, scale)


def not_negative(unit: str = "", scale: float | None = None) -> Rule:
    """Of a number; `unit` is the file's."""
    what = f"a number of {unit and f'{unit}, '}at least 0"
    return Rule(what, lambda value: value >= 0, scale)


def share(most: float) -> Rule:
    """Of a number: more than nothing, and at most so much."""
    return Rule(f"a share of at most {most:g}", lambda value: 0 < value <= most)


def distinct(what: str, name_of: Callable[[Any], str] = str) -> Passes:
    """Of a list: no two of its entries are called the same."""
    return Passes(lambda entries: refuse_twice(what, [name_of(entry) for entry in entries]))


def refuse_twice(what: str, names: Sequence[str]) -> None:
    """Refuse a name that two things have.

    Raises:
        InputError: naming it.
    """
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"two {what} are called {twice!r}; give one another name")


def listed(value: Any) -> Any:
    """A list, for which its only entry may stand if that is a text."""
    return [value] if isinstance(value, str) else value


#: Text that says something.
Filled = Annotated[str, Rule("a text", lambda text: bool(text.strip()))]
#: As many as one or more.
Count = Annotated[int, at_least(1)]
#: As many as none or more.
Whole = Annotated[int, at_least(0)]
