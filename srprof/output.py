"""Writing results: to stdout, or to a file that is either whole or not there.

Stdout belongs to the result and stderr to messages, whatever a network does to either: while a
command runs, both have streams of their own (`own_streams`).
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from srprof.errors import InputError
from srprof.temporary import temporary
from srprof.words import printable_lines, some

#: How characters are written that the output cannot hold.
_ERRORS = "backslashreplace"
#: Names of this process's stdout: the result goes there, and not where the descriptor leads.
_STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
#: So many files are named.
_NAMED = 4
#: Columns of a table where no terminal says how many it has.
_WIDTH = 100


def check_output(path: str | None, option: str = "-o") -> None:
    """An InputError if a path cannot be written, before any work; `option` named it."""
    if path is None:
        return
    named, target = f"{option} {path}".lstrip(), Path(path)
    if "\0" in path:
        raise InputError(f"{named}: a file's name has no zero byte; choose another name")
    try:
        if not target.parent.is_dir():
            raise InputError(f"{named}: there is no folder {str(target.parent)!r}; make it first")
        if target.is_dir():
            raise InputError(f"{named}: that is a folder; name a file in it")
        there = target.exists()
    except OSError as error:
        raise InputError(f"{named}: {error.strerror}; choose another name") from error
    needed = [target.parent, *([target] if there else [])]
    if there and not target.is_file():
        needed = [target]  # a pipe or a device is written to, not replaced
    if not all(os.access(place, os.W_OK) for place in needed):
        raise InputError(f"{named}: no permission to write there; choose another place")


@dataclass(frozen=True)
class _Streams:
    """What a command writes to; None is closed.

    `width` is of the result's terminal, `written` has the files that the command wrote.
    """

    result: TextIO | None
    messages: TextIO | None
    width: int
    written: dict[str, None] = field(default_factory=dict)


#: Those of the command that runs; None outside.
_own: _Streams | None = None


def _streams() -> _Streams:
    if _own is not None:
        return _own
    return _Streams(sys.stdout, sys.stderr, shutil.get_terminal_size((_WIDTH, 24)).columns)


@contextmanager
def own_streams() -> Iterator[None]:
    """Keep stdout for the result: what anything else writes there meanwhile goes to stderr.

    `sys.stdout`, `sys.stderr` and descriptors 1 and 2 are the network's until the end, which may
    print to them, rebind and close them. Where stdout is no descriptor of the process, as in a
    notebook, the descriptors stay as they are.
    """
    global _own  # noqa: PLW0603  (as the process's streams are)
    if _own is not None:  # a command within another
        yield
        return
    stdout, stderr = sys.stdout, sys.stderr
    with ExitStack() as stack:
        width, shared = _streams().width, _is_on(stdout, 1)
        result, messages = _own_stream(stack, stdout, 1), _own_stream(stack, stderr, 2)
        if shared:
            _lead_to_stderr(stack, stdout)
        _own = _Streams(result, messages, width)
        sys.stdout, sys.stderr = _NetworksStream(stdout, 1), _NetworksStream(stderr, 2)
        try:
            yield
        finally:
            sys.stdout, sys.stderr, _own = stdout, stderr, None


def _is_on(stream: TextIO | None, descriptor: int) -> bool:
    """Whether a stream writes to a descriptor of the process."""
    try:
        return stream is not None and os.path.sameopenfile(stream.fileno(), descriptor)
    except (AttributeError, OSError, ValueError):
        return False


def _own_stream(stack: ExitStack, stream: TextIO | None, descriptor: int) -> TextIO | None:
    """A stream to the same place on a descriptor that nobody else knows; itself if it has none."""
    if stream is None or not _is_on(stream, descriptor):
        return stream
    with suppress(OSError):
        stream.flush()
    own = open(  # noqa: SIM115  (closed below)
        os.dup(descriptor), "w", encoding=stream.encoding, errors=stream.errors
    )
    stack.callback(_ended, own)
    return own


def _lead_to_stderr(stack: ExitStack, stdout: TextIO) -> None:
    """Have descriptor 1 lead where 2 does: C code and child programs write there."""
    before = os.dup(1)
    try:
        os.dup2(2, 1)
    except OSError:  # stderr is closed
        _lead_nowhere(1)

    def back() -> None:
        _ended(stdout, close=False)
        with suppress(OSError):  # a network that closes every descriptor closes this too
            os.dup2(before, 1)
            os.close(before)

    stack.callback(back)


def _ended(stream: TextIO, *, close: bool = True) -> None:
    """Flush a stream, whose reader may have gone or whose disk may be full, and close it."""
    for end in (stream.flush, stream.close) if close else (stream.flush,):
        with suppress(OSError, ValueError):
            end()


def _lead_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


class _NetworksStream(io.TextIOWrapper):
    """`sys.stdout` or `sys.stderr` as a network has it: it leads to stderr.

    Closing it does nothing: loggers that were made meanwhile go on with it.
    """

    def __init__(self, stream: TextIO | None, descriptor: int) -> None:
        raw: Any = _ToMessages(descriptor if _is_on(stream, descriptor) else None)
        super().__init__(raw, encoding="utf-8", errors=_ERRORS, write_through=True)

    def close(self) -> None:
        self.flush()


class _ToMessages(io.RawIOBase):
    """Bytes on their way to stderr."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        _print(bytes(data).decode("utf-8", _ERRORS))
        return len(data)

    def fileno(self) -> int:
        return super().fileno() if self._descriptor is None else self._descriptor

    def isatty(self) -> bool:
        stream = message_stream()
        return stream is not None and stream.isatty()


def message_stream() -> TextIO | None:
    """Where messages go; None if stderr is closed."""
    return _streams().messages


def say(text: str) -> None:
    """Print a line, or several, for the user, on stderr; nobody may be there to read it.

    Names and messages in it are a network's: none reaches a terminal with its control characters.
    """
    _print(f"{printable_lines(text)}\n")


def say_written() -> None:
    """Say which files the command has written, on stderr."""
    written = _streams().written
    if written:
        say(f"srprof: wrote {some(written, _NAMED)}")
        written.clear()


def _print(text: str) -> None:
    stream = message_stream()
    if stream is None:
        return
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):  # a network has closed it, or nobody reads it
        with suppress(OSError):
            os.write(2, text.encode("utf-8", _ERRORS))


def to_terminal() -> bool:
    """Whether a result that goes to no file is read on a terminal."""
    stream = _streams().result
    return stream is not None and stream.isatty()


def width() -> int:
    """Columns of the result's terminal."""
    return _streams().width


def write(content: str | bytes, path: str | None, option: str = "-o") -> None:
    """Write text or bytes to the file, or to stdout if there is no path; `option` named it.

    A file is written beside its place and then renamed, with the permissions of the file that it
    replaces; a link stays a link. What is no regular file (a pipe, /dev/stderr) is written to.
    An InputError if the system refuses; stdout's reader (`| head`) may have gone.
    """
    try:
        if path is None or path in _STDOUT:
            _write_stdout(content)
        else:
            _write_file(content, Path(path), option)
    except OSError as error:
        where = "stdout" if path is None else f"{option} {path}"
        raise InputError(f"{where}: cannot be written: {error.strerror}") from error


def _write_stdout(content: str | bytes) -> None:
    stream = _streams().result
    if stream is None:
        raise InputError("stdout is closed: give -o FILE")
    if isinstance(content, bytes) and (stream.isatty() or not hasattr(stream, "buffer")):
        raise InputError("this format is no text: give -o FILE, or pipe it to a program")
    try:
        if isinstance(content, bytes):
            stream.flush()
            stream.buffer.write(content)
        else:
            encoding = getattr(stream, "encoding", None) or "utf-8"
            stream.write(content.encode(encoding, _ERRORS).decode(encoding))
        stream.flush()
    except BrokenPipeError:  # its reader has all that it wanted; so nowhere with the rest
        _lead_nowhere(stream.fileno())


def _write_file(content: str | bytes, target: Path, option: str) -> None:
    data = content if isinstance(content, bytes) else content.encode("utf-8", _ERRORS)
    if target.exists() and not target.is_file():
        with target.open("wb") as file:  # closed here: what it refuses when it is closed is said
            file.write(data)
        return
    with replacing(target, option) as path:
        path.write_bytes(data)


def write_all(contents: Mapping[str, bytes], option: str) -> None:
    """Write several files, as `write` writes one: all of them, or none, with an InputError."""
    from srprof.files import read_bytes  # only here: most commands read nothing

    for path in contents:
        check_output(path, option)
    before = {path: read_bytes(path) for path in contents if os.path.exists(path)}
    try:
        with ExitStack() as files:
            for path, content in contents.items():
                files.enter_context(replacing(Path(path), option)).write_bytes(content)
    except BaseException:
        for path, content in before.items():
            if Path(path).read_bytes() != content:
                Path(path).write_bytes(content)
        raise


@contextmanager
def replacing(target: Path, option: str = "-o") -> Iterator[Path]:
    """A temporary file beside the target, which takes its place if nothing is raised.

    It gets the permissions of the file that it replaces; a link stays a link.
    """
    asked, target = target, Path(os.path.realpath(target))
    try:
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~_umask()
        with temporary(target.parent) as path:
            yield path
            path.chmod(mode)
            os.replace(path, target)
            _streams().written[str(asked)] = None
    except OSError as error:
        raise InputError(f"{option} {asked}: cannot be written: {error.strerror}") from error


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
