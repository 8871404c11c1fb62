"""How far a long run has come: said on a terminal, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

#: Called with what is being done, how many steps of it are done, and how many there are.
Progress = Callable[[str, int, int], None]

_ERASE = "\r\x1b[K"


def silent(_what: str, _done: int, _total: int) -> None:
    """Say nothing."""


class TerminalProgress:
    """One line on a terminal, written over and over and erased at the end.

    Use as a context manager. On anything but a terminal nothing is written.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown = stream.isatty()

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._shown:
            self._stream.write(f"{_ERASE}srprof: {what} {done}/{total}")
            self._stream.flush()

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._stream.write(_ERASE)
            self._stream.flush()
