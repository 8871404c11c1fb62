"""The journal of a sweep: every finished row at once on the disk, beside the output.

One JSON object a line: the first says by what the rows were computed, each other is a row with its
configuration. A line counts once it is whole; a killed program leaves at most half a line, which
is cut off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from srprof import figures
from srprof.codec import DecodeError, decode, encode
from srprof.errors import InputError
from srprof.files import opened, parse_json
from srprof.rules import Whole, entries
from srprof.sweeping.grid import unit
from srprof.sweeping.record import Row
from srprof.temporary import lock


@dataclass(frozen=True)
class _Heading:
    """The first line: what rows depend on beside their configuration."""

    schema: Literal[1]
    basis: Mapping[str, object]


def _cells() -> Mapping[str, object]:
    """What the cells of a row are by their columns."""
    kinds = {name: float if unit(name) == "ms" else int for name in figures.names()}
    return {"error": str, "exit_code": Whole, **kinds}


@dataclass(frozen=True)
class _Entry:
    """Each other line."""

    configuration: str
    row: Annotated[Mapping[str, object], entries(_cells)]


class Journal:
    """Rows by configuration, those of an earlier run too. Use as a context manager.

    Args:
        path: of the file; None keeps rows in memory only.
        basis: what rows depend on beside their configuration: versions, metrics, definition.
        restart: forget an earlier run.

    Raises:
        InputError: the file is another sweep's, is in use, or cannot be written.
    """

    def __init__(
        self, path: Path | None, basis: Mapping[str, object], restart: bool = False
    ) -> None:
        self.path = path
        self.rows: dict[str, Row] = {}
        self._file: Any = None
        self.found = 0
        if path is None:
            return
        if path.exists():
            opened(path).close()
        try:
            self._file = path.open("a+b")
            if lock(self._file.fileno()) is False:
                what = f"{path} is being written by another sweep"
                raise InputError(f"{what}: wait for it, or give another -o")
            if restart:
                self._file.truncate(0)
            self._read(path, encode(basis))
        except OSError as error:
            self.close()
            raise InputError(f"{path}: cannot be written: {error.strerror}") from error
        except InputError:
            self.close()
            raise
        self.found = len(self.rows)

    def _read(self, path: Path, basis: Mapping[str, object]) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self._file.truncate(len(whole))
        lines = whole.splitlines()
        if not lines:
            self._append(_Heading(1, basis))
            return
        number = 1
        try:
            before = decode(_Heading, parse_json(lines[0])).basis
            for number, line in enumerate(lines[1:], 2):  # noqa: B007  (of the line that is wrong)
                entry = decode(_Entry, parse_json(line))
                self.rows[entry.configuration] = entry.row
        except (InputError, DecodeError) as error:
            what = f"{path} is no journal of a sweep (line {number}: {error})"
            raise InputError(f"{what}: remove it, or give another -o") from error
        changed = [key for key in basis if before.get(key) != basis[key]]
        if changed:
            what = f"{path} has rows of a sweep with another {' and '.join(changed)}"
            raise InputError(f"{what}: --restart forgets them, or give another -o")

    def add(self, configuration: str, row: Row) -> None:
        """Keep a row; it is in the file when this returns."""
        if configuration not in self.rows:
            self.rows[configuration] = row
            self._append(_Entry(configuration, row))

    def _append(self, line: _Heading | _Entry) -> None:
        if self._file is not None:
            try:
                self._file.write(json.dumps(encode(line)).encode() + b"\n")
                self._file.flush()
            except OSError as error:
                raise InputError(f"{self.path}: cannot be written: {error.strerror}") from error

    @property
    def kept(self) -> str:
        """What became of the rows of a sweep that was interrupted."""
        if self.path is None:
            return "nothing was written; with -o FILE rows are kept"
        return f"{len(self.rows)} rows are kept in {self.path}, and the same command goes on"

    def remove(self) -> None:
        """The rows are elsewhere now."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        if self.path is not None and self.path.exists() and not self.rows:
            self.path.unlink()
