"""Frozen dataclasses from what JSON and TOML hold, and back: each value checked against its type.

A field's type says what is read, and notes in its `Annotated` say what the type cannot:

    class_: Annotated[str, Key("class")]
    batch: Annotated[int, at_least(1)] = 64
    input: Annotated[str, passes(parse_size)] = "256x256"

`Key` is here, the other notes in `srprof.rules`.

A program's record may have keys that its reader does not know, and a field with a default may be
missing: so fields can be added without a new schema number. In a person's file (`strict`) an
unknown key is refused, and the nearest that there is named.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from math import isfinite
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, cast

from srprof.errors import InputError
from srprof.words import did_you_mean, hint, one_line

T = TypeVar("T")

#: What `json` reads and writes: only at the edge, where a record is encoded or decoded.
JsonObject = dict[str, Any]

#: The largest whole number that is read: no figure of a network comes near.
MOST = 10**30


class DecodeError(ValueError):
    """A value cannot be; the message says which one, and what it should be.

    Attributes:
        after: what follows the value's place in the message, or the whole of it after a ": ".
        path: the value's place. before: what precedes it. entry: names the table of a list that
            it belongs to, instead of what is further out.
    """

    def __init__(self, after: str, path: str = "", before: str = "", entry: str = "") -> None:
        itself = "" if after.startswith(": ") else "it" if entry else "the record"
        super().__init__(entry + before + f"{path or itself}{after}".removeprefix(": "))
        self.after, self.path, self.before, self.entry = after, path, before, entry

    def under(self, key: str) -> DecodeError:
        """The same of what stands under a key, or under `[3]` in a list."""
        if self.entry:
            return self
        dot = "." if self.path and self.path[0] != "[" else ""
        return DecodeError(self.after, f"{key}{dot}{self.path}", self.before)

    def of(self, entry: str, path: str) -> DecodeError:
        """The same of an entry of a list that has a name, and of a place within that."""
        return DecodeError(self.after, path, self.before, f"{entry}: ")


Reader = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Note:
    """What is said of a field beside its type; it stands around the reader of the type.

    Attributes:
        read: gives a value of the field from what the file has, and the reader of what the notes
            before this one say. what: such a value in words; "" leaves that to the type.
        scale: one of the file's unit in the field's.
    """

    read: Callable[[Reader, Any], Any]
    what: str = ""
    scale: float | None = None


@dataclasses.dataclass(frozen=True)
class Key:
    """How a field stands in the file.

    Attributes:
        name: its key there; the field's own if "".
        sparse: it is left out where it is the field's default.
        older: a key that files had for it, which is read too.
    """

    name: str = ""
    sparse: bool = False
    older: str = ""


class _Field(NamedTuple):
    """A field: its name, its key in the file, its type, and what it is where it is missing."""

    name: str
    key: str
    kind: Any
    default: Any
    sparse: bool
    required: bool
    older: str


@cache
def _fields(cls: type) -> tuple[_Field, ...]:
    # with locals given, names are looked up in the module of each class, also within a lambda
    kinds = typing.get_type_hints(cls, localns={}, include_extras=True)
    return tuple(_field(field, kinds[field.name]) for field in dataclasses.fields(cls))


def keys_of(cls: type) -> tuple[str, ...]:
    """The keys that a dataclass has in a file, the older ones too."""
    fields = _fields(cls)
    return (*(field.key for field in fields), *(field.older for field in fields if field.older))


def _field(field: dataclasses.Field[Any], kind: Any) -> _Field:
    notes = typing.get_args(kind)[1:] if typing.get_origin(kind) is Annotated else ()
    key = next((note for note in notes if isinstance(note, Key)), Key())
    factory = field.default_factory
    default = field.default if factory is dataclasses.MISSING else factory()
    key_name, required = key.name or field.name, default is dataclasses.MISSING
    return _Field(field.name, key_name, kind, default, key.sparse, required, key.older)


def encode(value: Any) -> Any:
    """What `json` would read back: dataclasses and mappings as dicts, tuples as lists."""
    kind = type(value)
    if kind in _SAME:  # most values: the nodes of a network have thousands
        return value
    if kind is str:
        return _whole_text(value)
    if isinstance(value, (tuple, list)):
        return [item if type(item) in _SAME else encode(item) for item in value]
    if dataclasses.is_dataclass(kind):
        return {
            field.key: item if type(item) in _SAME else encode(item)
            for field in _fields(kind)
            for item in (getattr(value, field.name),)
            if not field.sparse or item != field.default
        }
    if isinstance(value, Mapping):
        return {encode(key): encode(item) for key, item in value.items()}
    return value


def pick(record: object, names: str) -> JsonObject:
    """Of a record the fields and properties with these names, encoded, in their order."""
    return {name: encode(getattr(record, name)) for name in names.split()}


def made_of(cls: type[T], *sources: object, **given: object) -> T:
    """A dataclass whose other fields are what the first source that has them has by their name."""
    for field in dataclasses.fields(cast(Any, cls)):
        for source in sources if field.name not in given else ():
            if hasattr(source, field.name):
                given[field.name] = getattr(source, field.name)
                break
    return cls(**given)


def decode(kind: type[T], value: object, *, strict: bool = False, **given: object) -> T:
    """A value of a type, most often a dataclass, from what JSON or TOML holds; or a DecodeError.

    `strict` refuses keys that the dataclass has not; `given` are fields that the file has not.
    """
    whole = _decode_object(kind, value, strict, **given) if given else _decode(kind, value, strict)
    return cast(T, whole)


def decode_table(kind: type[T], table: object, where: str, **given: object) -> T:
    """A dataclass from a person's table, which `where` names; an InputError says what is wrong."""
    try:
        return decode(kind, table, strict=True, **given)
    except DecodeError as error:
        raise InputError(f"{where}: {error}") from error


def decode_record(kind: type[T], value: Any, schema: int, source: str, again: str) -> T:
    """A dataclass from the JSON object of a record with a `schema`.

    It is the `schema` that this srprof reads, `source` names it in messages, and `again` makes
    another, "measure again". An InputError says that it is damaged, or of a newer srprof.
    """
    theirs = value.get("schema") if isinstance(value, dict) else None
    if type(theirs) is int and schema < theirs < MOST:
        what = f"{source} has schema {theirs}, and this srprof reads up to {schema}"
        raise InputError(f"{what}: update srprof, or {again}")
    try:
        if isinstance(value, dict) and (type(theirs) is not int or theirs != schema):
            raise mismatch(theirs, str(schema)).under("schema")
        return decode(kind, value)
    except DecodeError as error:
        what = f"{source} is damaged: {error}"
        raise InputError(f"{what}; take another copy of it, or {again}") from error


def _decode(kind: Any, value: Any, strict: bool) -> Any:
    generic = _GENERIC.get(typing.get_origin(kind))
    if generic is not None:
        return generic(kind, value, strict)
    if kind in _PLAIN:
        return _decode_plain(kind, value)
    return _decode_object(kind, value, strict) if dataclasses.is_dataclass(kind) else value


def _decode_plain(kind: Any, value: Any) -> Any:
    what, fits = _PLAIN[kind]
    if kind is float and type(value) is int and abs(value) <= MOST:
        value = float(value)
    if type(value) is not kind or not fits(value):  # exactly: Python takes True for the number 1
        raise mismatch(value, what)
    return value


def _whole_text(text: str) -> str:
    """Text that a file takes: the name of a file may have bytes that are none."""
    return text if _is_whole(text) else text.encode("utf-8", "backslashreplace").decode()


def _is_whole(text: str) -> bool:
    """JSON may hold half a character, which no file and no terminal takes."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


#: What JSON and TOML have: in words, and which of them are read.
_PLAIN: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    int: ("a whole number", lambda value: abs(value) <= MOST),
    float: ("a number", isfinite),
    str: ("text", _is_whole),
    bool: ("true or false", lambda _: True),
}
#: Types of values that JSON has too.
_SAME = frozenset({*_PLAIN, NoneType}) - {str}


def _decode_object(kind: Any, value: Any, strict: bool, /, **given: Any) -> Any:
    if not isinstance(value, Mapping):
        raise mismatch(value, _wanted(kind, strict))
    fields = [field for field in _fields(kind) if field.name not in given]
    value = _of_today(fields, value)
    if strict:
        check_keys(value, [field.key for field in fields])
    read = {}
    for field in fields:
        if field.key in value:
            read[field.name] = under(field.key, field.kind, value[field.key], strict)
        elif field.required:
            raise missing(field.key, field.kind, strict)
    return called(kind, **read, **given)


def _of_today(fields: Sequence[_Field], table: Mapping[str, object]) -> Mapping[str, object]:
    """The table with its older keys as they are called today."""
    older = {field.older: field.key for field in fields if field.older in table}
    for key, now in older.items():
        if now in table:
            raise DecodeError(f" is the older name of {now}: give one of them", key)
    return {older.get(key, key): item for key, item in table.items()} if older else table


def missing(key: str, kind: Any, strict: bool = True) -> DecodeError:
    """A key that should be there, and with `strict` what to give."""
    return DecodeError(f" is missing{f'; give {_wanted(kind, strict)}' if strict else ''}", key)


def called(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """What a function gives; if it refuses, its reason is what is wrong with the value."""
    try:
        return function(*args, **kwargs)
    except DecodeError:
        raise
    except (InputError, ValueError, OverflowError) as error:
        raise DecodeError(f": {error}") from error


def under(key: str, kind: Any, value: Any, strict: bool) -> Any:
    """What stands under a key, read; an error in it says so."""
    try:
        return _decode(kind, value, strict)
    except DecodeError as error:
        raise error.under(one_line(key)) from error


def check_keys(table: Mapping[str, object], known: Iterable[str]) -> None:
    """Refuse a key that is none of these, and name the nearest that there is."""
    known = tuple(known)
    for key in table:
        if key not in known:
            raise DecodeError(f"; {hint(key, known)}", one_line(key), "unknown key ")


def mismatch(value: Any, wanted: str) -> DecodeError:
    """A value that is not what it should be."""
    # a number of thousands of digits has no `repr`
    shown = "beyond 10^30" if type(value) is int and abs(value) > MOST else repr(value)
    return DecodeError(f" is {shown:.40}, not {wanted}")


def _wanted(kind: Any, strict: bool) -> str:
    """What a value must be, in words."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        said = [note.what for note in args[1:] if isinstance(note, Note) and note.what]
        return said[-1] if said else _wanted(args[0], strict)
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin in (Union, UnionType):
        return " or ".join(_wanted(k, strict) for k in args if k is not NoneType)
    if origin is tuple:
        return "a list"
    return _PLAIN[kind][0] if kind in _PLAIN else "a table" if strict else "an object"


def _decode_annotated(kind: Any, value: Any, strict: bool) -> Any:
    base, *notes = typing.get_args(kind)
    reader = partial(_decode, base, strict=strict)
    for note in notes:
        reader = partial(note.read, reader) if isinstance(note, Note) else reader
    return reader(value)


def _decode_union(kind: Any, value: Any, strict: bool) -> Any:
    kinds = tuple(k for k in typing.get_args(kind) if k is not NoneType)
    if value is None and NoneType in typing.get_args(kind):
        return None
    if len(kinds) == 1:
        return _decode(kinds[0], value, strict)
    for other in kinds:
        with suppress(DecodeError):
            return _decode(other, value, strict)
    raise mismatch(value, _wanted(kind, strict))


def one_of(value: Any, known: tuple[Any, ...]) -> Any:
    """The value, if it is one of those known."""
    if not any(value == one and type(value) is type(one) for one in known):
        near = did_you_mean(value, known) if isinstance(value, str) else ""
        raise mismatch(value, f"one of {', '.join(map(str, known))}{near and f'; {near}'}")
    return value


def _decode_tuple(kind: Any, value: Any, strict: bool) -> Any:
    if not isinstance(value, (list, tuple)):
        raise mismatch(value, "a list")
    kinds = typing.get_args(kind)
    if kinds[-1] is ...:
        if kinds[0] in _PLAIN and {kinds[0]}.issuperset(map(type, value)):
            _, fits = _PLAIN[kinds[0]]  # long columns are read at once
            if all(map(fits, value)):
                return tuple(value)
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise DecodeError(f" has {len(value)} entries, not {len(kinds)}")
    pairs = enumerate(zip(kinds, value, strict=True))
    return tuple(under(f"[{i}]", one, item, strict) for i, (one, item) in pairs)


def _decode_mapping(kind: Any, value: Any, strict: bool) -> Any:
    if not isinstance(value, Mapping):
        raise mismatch(value, _wanted(kind, strict))
    item_kind = typing.get_args(kind)[1]
    return {key: under(key, item_kind, item, strict) for key, item in value.items()}


_GENERIC: dict[Any, Callable[[Any, Any, bool], Any]] = {
    Annotated: _decode_annotated,
    Union: _decode_union,
    UnionType: _decode_union,
    Literal: lambda kind, value, strict: one_of(value, typing.get_args(kind)),
    tuple: _decode_tuple,
    Mapping: _decode_mapping,
    dict: _decode_mapping,
}
