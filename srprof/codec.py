"""Frozen dataclasses to JSON and back, each value checked against the field's type.

A reader ignores keys that it does not know, and a field with a default may be missing: so fields
can be added without a new schema number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from srprof.errors import InputError

T = TypeVar("T")

_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


class DecodeError(ValueError):
    """A value is not of its field's type; the message says which value and what it should be."""


def encode(value: Any) -> Any:
    """What `json` would read back: dataclasses and mappings as dicts, tuples as lists."""
    if dataclasses.is_dataclass(value):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
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
    kinds = _types(cls)  # type: ignore[arg-type]  # a class is hashable
    found = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # T is a dataclass
        place = f"{where}.{field.name}" if where else field.name
        if field.name in value:
            found[field.name] = _decode(kinds[field.name], value[field.name], place)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise DecodeError(f"{place} is missing")
    return cls(**found)


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


@cache
def _types(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _decode(kind: Any, value: Any, where: str) -> Any:
    generic = _GENERIC.get(get_origin(kind))
    if generic is not None:
        return generic(get_args(kind), value, where)
    if dataclasses.is_dataclass(kind):
        return decode(kind, value, where)  # type: ignore[arg-type]
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:  # exactly: Python takes True for the whole number 1
        raise _mismatch(where, value, _NAMES[kind])
    return value


def _mismatch(where: str, value: Any, wanted: str) -> DecodeError:
    return DecodeError(f"{where} is {value!r:.40}, not {wanted}")


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
    Union: _decode_optional,
    UnionType: _decode_optional,
    Literal: _decode_literal,
    tuple: _decode_tuple,
    Mapping: _decode_mapping,
}
