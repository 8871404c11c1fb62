"""How far a long run has come: said on a terminal, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from srprof.words import one_line

#: Called with what is being done, how many steps of it are done, and how many there are.
Progress = Callable[[str, int, int], None]

_ERASE = "\r\x1b[K"


def silent(_what: str, _done: int, _total: int) -> None:
    """Say nothing."""


class TerminalProgress:
    """One line on a terminal, written over and over and erased at the end.

    Use as a context manager. On anything but a terminal nothing is written.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream if stream is not None and stream.isatty() else None

    def __call__(self, what: str, done: int, total: int) -> None:
        self._write(f"{_ERASE}srprof: {one_line(what)} {done}/{total}")

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._write(_ERASE)

    def _write(self, text: str) -> None:
        if self._stream is not None:
            with suppress(OSError):  # the terminal has gone
                self._stream.write(text)
                self._stream.flush()
