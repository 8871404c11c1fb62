"""Files that srprof reads: bytes, text, TOML and JSON. One line says what is wrong with one.

`source` names a file in messages, "report my.toml", the path alone if "". `mend` ends the message
of one that cannot be read. No torch.
"""

from __future__ import annotations

import ast
import gzip
import io
import json
import os
import stat
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from srprof.codec import JsonObject, decode_record, decode_table, encode
from srprof.errors import InputError
from srprof.words import MIB

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")

#: Bytes that a packed file may hold.
_MOST_UNPACKED = 64 * MIB


def opened(path: str | Path, source: str = "", mend: str = "") -> BinaryIO:
    """A file to read bytes from, at once; all that srprof reads for a user is opened here.

    An InputError if there is none, or it is no regular file: a pipe or a device may never end.
    """
    source, mend = source or str(path), mend and f"; {mend}"
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # of a folder the system says so
            raise InputError(f"{source} cannot be read: it is no regular file{mend}")
        return open(path, "rb")
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}{mend}") from error
    except ValueError as error:  # a path with a zero byte
        raise InputError(f"{source} cannot be read: that is no path{mend}") from error


def check_file(path: str, mend: str) -> None:
    """An InputError if there is no such file, or `opened` refuses it."""
    if not os.path.exists(path):
        raise InputError(f"there is no file {path!r}: {mend}")
    opened(path).close()


def read_bytes(path: str | Path, source: str = "", mend: str = "") -> bytes:
    """What a file holds; raises as `opened` does, and if the system does not give it."""
    with opened(path, source, mend) as file:
        try:
            return file.read()
        except OSError as error:
            what = f"{source or path} cannot be read: {error.strerror}"
            raise InputError(what + (mend and f"; {mend}")) from error


def read_text(path: str | Path, source: str = "", mend: str = "") -> str:
    """A file's text, in UTF-8, unpacked if its name ends in `.gz`.

    Raises as `read_bytes` does, and if it is none.
    """
    data = io.BytesIO(read_bytes(path, source, mend))
    if str(path).endswith(".gz"):
        data = _unpacked(data, source or str(path), mend)
    try:
        return io.TextIOWrapper(data, encoding="utf-8-sig").read()
    except UnicodeDecodeError as error:
        what = f"{source or path} is no text in UTF-8"
        raise InputError(what + (mend and f"; {mend}")) from error


def _unpacked(data: io.BytesIO, source: str, mend: str) -> io.BytesIO:
    try:
        whole = gzip.GzipFile(fileobj=data).read(_MOST_UNPACKED + 1)
    except (OSError, EOFError, zlib.error) as error:
        what = f"{source} is no whole gzip file ({error})"
        raise InputError(what + (mend and f"; {mend}")) from error
    if len(whole) > _MOST_UNPACKED:
        what = f"{source} holds more than {_MOST_UNPACKED // MIB} MiB"
        raise InputError(what + (mend and f"; {mend}"))
    return io.BytesIO(whole)


def parse_python(text: str, file: str = "<unknown>", mode: str = "exec") -> Any:
    """The syntax tree of Python's source; a SyntaxError, whatever Python raises where it is none.

    Zero bytes, and nesting that is too deep for it, it says in three other ways.
    """
    try:
        return ast.parse(text, file, mode)
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error) or "it is nested too deeply") from error


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
