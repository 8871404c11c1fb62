"""Writing results: to stdout, or to a file that is either whole or not there."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from srprof.errors import InputError

#: How characters are written that the output cannot hold.
_ERRORS = "backslashreplace"


def check_output(path: str | None, option: str = "-o") -> None:
    """An InputError if a path cannot be written, before any work; `option` named it."""
    if path is None:
        return
    named, target = f"{option} {path}".lstrip(), Path(path)
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


def write(content: str | bytes, path: str | None, option: str = "-o") -> None:
    """Write text or bytes to the file, or to stdout if there is no path; `option` named it.

    A file is written beside its place and then renamed, with the permissions of the file that it
    replaces; a link stays a link. What is no regular file (a pipe, /dev/stderr) is written to.
    An InputError if the system refuses, a BrokenPipeError if stdout's reader has gone.
    """
    try:
        if path is None:
            _write_stdout(content)
        else:
            _write_file(content, Path(path), option)
    except BrokenPipeError:
        raise
    except OSError as error:
        where = "stdout" if path is None else f"{option} {path}"
        raise InputError(f"{where}: cannot be written: {error.strerror}") from error


def _write_stdout(content: str | bytes) -> None:
    if isinstance(content, bytes):
        if sys.stdout.isatty():
            raise InputError("this format is no text: give -o FILE, or pipe it to a program")
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    sys.stdout.write(content.encode(encoding, _ERRORS).decode(encoding))
    sys.stdout.flush()


def _write_file(content: str | bytes, target: Path, option: str) -> None:
    data = content if isinstance(content, bytes) else content.encode("utf-8", _ERRORS)
    if target.exists() and not target.is_file():
        with target.open("wb") as file:  # closed here: what it refuses when it is closed is said
            file.write(data)
        return
    with replacing(target, option) as temporary:
        temporary.write_bytes(data)


def write_all(contents: Mapping[str, bytes], option: str) -> None:
    """Write several files, as `write` writes one: all of them, or none, with an InputError."""
    for path in contents:
        check_output(path, option)
    before = {path: Path(path).read_bytes() for path in contents if os.path.exists(path)}
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
    temporary: Path | None = None
    try:
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~_umask()
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".srprof-")
        temporary = Path(name)
        os.close(descriptor)
        yield temporary
        temporary.chmod(mode)
        os.replace(temporary, target)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(f"{option} {asked}: cannot be written: {error.strerror}") from error
        raise


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
