"""Files that srprof reads: text, TOML and JSON. One line says what is wrong with one. No torch.

`source` names a file in messages, "report my.toml", the path alone if "". `mend` ends the message
of one that cannot be read.
"""

from __future__ import annotations

import json
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from srprof.codec import JsonObject, decode_record, decode_table, encode
from srprof.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


def read_text(path: str | Path, source: str = "", mend: str = "") -> str:
    """A file's text, in UTF-8; an InputError if it is none, or a pipe, which never ends."""
    source, mend, file = source or str(path), mend and f"; {mend}", Path(path)
    try:
        if not file.is_dir() and not stat.S_ISREG(file.stat().st_mode):
            raise InputError(f"{source} cannot be read: it is no regular file{mend}")
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}{mend}") from error
    except ValueError as error:  # bytes that are no UTF-8, a path with a zero byte
        raise InputError(f"{source} is no text in UTF-8{mend}") from error


def parse_toml(text: str, source: str = "the text") -> dict[str, object]:
    """What a TOML text says; an InputError if it is none."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{source} is not valid TOML: {reason}") from error


def quoted(text: str) -> str:
    """A text as TOML and Python have it between double quotes."""
    # JSON leaves the one control character that TOML does not take
    return json.dumps(text).replace("\x7f", "\\u007f")


def parse_json(text: str | bytes, source: str = "the text", mend: str = "") -> Any:
    """What a JSON text says; an InputError if it is none, or has a key twice or NaN."""
    try:
        return json.loads(text, parse_constant=_no_number, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source} is not whole JSON ({error}){mend and f'; {mend}'}") from error


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    read = dict(pairs)
    if len(read) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"{twice!r:.40} is there twice")
    return read


def read_toml(path: str | Path, source: str = "", mend: str = "") -> dict[str, object]:
    """What a TOML file says; raises as `read_text` and `parse_toml` do."""
    return parse_toml(read_text(path, source, mend), source or str(path))


def read_json(path: str | Path, mend: str = "") -> Any:
    """What a JSON file says; raises as `read_text` and `parse_json` do."""
    return parse_json(read_text(path, mend=mend), str(path), mend)


def load_table(kind: type[T], path: str | Path, source: str) -> T:
    """A dataclass from a person's TOML file; raises as `read_toml` and `decode_table` do."""
    return decode_table(kind, read_toml(path, source), source)


@dataclass(frozen=True)
class RecordFile(Generic[T]):
    """A kind of JSON file that srprof writes and reads again: a dataclass under a heading.

    `kind` and `schema` stand in that; `again` makes another, "measure again", by `command`.
    """

    cls: type[T]
    kind: str
    schema: int
    again: str
    command: str

    def encode(self, record: T) -> JsonObject:
        """The JSON object."""
        return {"schema": self.schema, "kind": self.kind, **encode(record)}

    def load(self, path: str | Path) -> T:
        """The record in a file; an InputError if it is none, damaged, or of a newer srprof."""
        return self.parse(read_text(path, mend=f"name a record, or {self.again}"), str(path))

    def parse(self, text: str, source: str = "the record") -> T:
        """The record in a JSON text; raises as `load` does."""
        value = parse_json(text, source, f"take another copy of it, or {self.again}")
        if not self._claimed(value):
            name = self.kind.removeprefix("srprof ")
            raise InputError(f"{source} is no {name}; `{self.command}` writes one")
        return decode_record(self.cls, value, self.schema, source, self.again)

    def is_one(self, path: str | Path) -> bool:
        """Whether a file says to be such a record; what cannot be read does not."""
        try:
            return self._claimed(read_json(path))
        except InputError:
            return False

    def _claimed(self, value: Any) -> bool:
        return isinstance(value, dict) and value.get("kind") == self.kind
