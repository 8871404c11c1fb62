"""Writing results: to stdout, or to a file that is either whole or not there."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from srprof.errors import InputError


def check_output(path: str | None) -> None:
    """Refuse a path that cannot be written, before any work is done.

    Raises:
        InputError: the folder is missing or closed to writing, or the path is a folder.
    """
    if path is None:
        return
    folder = Path(path).parent
    if not folder.is_dir():
        raise InputError(f"-o {path}: there is no folder {str(folder)!r}; make it first")
    if Path(path).is_dir():
        raise InputError(f"-o {path}: that is a folder; name a file in it")
    read_only = os.path.exists(path) and not os.access(path, os.W_OK)
    if read_only or not os.access(folder, os.W_OK):
        raise InputError(f"-o {path}: no permission to write there; choose another place")


def write(text: str, path: str | None) -> None:
    """Write to the file, through a temporary one beside it, or to stdout if there is no path.

    Raises:
        InputError: the system refuses.
    """
    if path is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=Path(path).parent, prefix=".srprof-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise InputError(f"-o {path}: cannot be written: {error.strerror}") from error


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
