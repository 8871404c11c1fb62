"""Frozen dataclasses to JSON and back, each value checked against the field's type.

A reader ignores keys that it does not know, and a field with a default may be missing: so fields
can be added without a new schema number. A field whose name in the file is not its own says so:

    class_: Annotated[str, Key("class")]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from srprof.errors import InputError

T = TypeVar("T")

_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


class DecodeError(ValueError):
    """A value is not of its field's type; the message says which value and what it should be."""


@dataclasses.dataclass(frozen=True)
class Key:
    """How a field stands in the file.

    Attributes:
        name: its key there; the field's own if "".
        sparse: it is left out where it is the field's default.
    """

    name: str = ""
    sparse: bool = False


class _Field(NamedTuple):
    """A field: its name, its key in the file, its type, and what it is where it is missing."""

    name: str
    key: str
    kind: Any
    default: Any
    sparse: bool
    required: bool


@cache
def _fields(cls: type) -> tuple[_Field, ...]:
    kinds = get_type_hints(cls, include_extras=True)
    return tuple(_field(field, kinds[field.name]) for field in dataclasses.fields(cls))


def _field(field: dataclasses.Field[Any], kind: Any) -> _Field:
    notes = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    key = next((note for note in notes if isinstance(note, Key)), Key())
    factory = field.default_factory
    default = field.default if factory is dataclasses.MISSING else factory()
    required = default is dataclasses.MISSING
    return _Field(field.name, key.name or field.name, kind, default, key.sparse, required)


def encode(value: Any) -> Any:
    """What `json` would read back: dataclasses and mappings as dicts, tuples as lists."""
    if dataclasses.is_dataclass(value):
        return {
            field.key: encode(item)
            for field in _fields(type(value))  # type: ignore[arg-type]  # a class is hashable
            if (item := getattr(value, field.name)) != field.default or not field.sparse
        }
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    return value


def decode(cls: type[T], value: Any, where: str = "") -> T:
    """A dataclass from a JSON object.

    Raises:
        DecodeError: a field is missing or of another type.
    """
    if not isinstance(value, dict):
        raise DecodeError(f"{where or 'the record'} is not an object")
    read = {}
    for field in _fields(cls):  # type: ignore[arg-type]  # a class is hashable
        place = f"{where}.{field.key}" if where else field.key
        if field.key in value:
            read[field.name] = _decode(field.kind, value[field.key], place)
        elif field.required:
            raise DecodeError(f"{place} is missing")
    return cls(**read)


def decode_record(cls: type[T], value: Any, schema: int, source: str, again: str) -> T:
    """A dataclass from the JSON object of a record with a `schema`.

    Args:
        schema: that this srprof reads. source: names the record in messages.
        again: what makes another one, "measure again".

    Raises:
        InputError: it is damaged, or of a newer srprof.
    """
    theirs = value.get("schema")
    if type(theirs) is int and theirs > schema:
        raise InputError(
            f"{source} has schema {theirs}, and this srprof reads up to {schema}: update srprof, "
            f"or {again}"
        )
    try:
        if type(theirs) is not int or theirs != schema:
            raise DecodeError(f"schema is {theirs!r:.40}, not {schema}")
        return decode(cls, value)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{source} is damaged: {error}; take another copy of it, or {again}"
        ) from error


def _decode(kind: Any, value: Any, where: str) -> Any:
    generic = _GENERIC.get(get_origin(kind))
    if generic is not None:
        return generic(get_args(kind), value, where)
    if dataclasses.is_dataclass(kind):
        return decode(kind, value, where)  # type: ignore[arg-type]  # of a class, not an instance
    if kind is float and type(value) is int:
        return float(value)
    if kind is Any:
        return value
    if type(value) is not kind:  # exactly: Python takes True for the whole number 1
        raise _mismatch(where, value, _NAMES[kind])
    return value


def _mismatch(where: str, value: Any, wanted: str) -> DecodeError:
    return DecodeError(f"{where} is {value!r:.40}, not {wanted}")


def _decode_annotated(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    return _decode(kinds[0], value, where)


def _decode_optional(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    (kind,) = (k for k in kinds if k is not NoneType)
    return None if value is None else _decode(kind, value, where)


def _decode_literal(allowed: tuple[Any, ...], value: Any, where: str) -> Any:
    if value not in allowed:
        raise _mismatch(where, value, f"one of {', '.join(map(str, allowed))}")
    return value


def _decode_tuple(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if not isinstance(value, list):
        raise _mismatch(where, value, "a list")
    if kinds[-1] is ...:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise DecodeError(f"{where} has {len(value)} entries, not {len(kinds)}")
    return tuple(
        _decode(kind, item, f"{where}[{i}]")
        for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _decode_mapping(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _mismatch(where, value, "an object")
    return {key: _decode(kinds[1], item, f"{where}.{key}") for key, item in value.items()}


_GENERIC: dict[Any, Callable[[tuple[Any, ...], Any, str], Any]] = {
    Annotated: _decode_annotated,
    Union: _decode_optional,
    UnionType: _decode_optional,
    Literal: _decode_literal,
    tuple: _decode_tuple,
    Mapping: _decode_mapping,
}
