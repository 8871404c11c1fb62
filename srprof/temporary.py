"""Files and folders that stand beside what they become, and locks that tell whose they are.

A process that is killed leaves what it had begun. It has that locked as long as it lives, so the
next one knows what nobody holds any more, and takes it away.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from srprof.errors import InputError

if sys.platform != "win32":
    import fcntl

_PREFIX = ".srprof-tmp-"
_NAME = re.compile(re.escape(_PREFIX) + r"\w{8}")
#: In a temporary folder: where a folder waits that is being replaced, under its own name.
_EARLIER = "earlier"
#: Of Linux's renameat2: the current folder, and to exchange what two paths name.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def lock(descriptor: int, *, wait: bool = False) -> bool | None:
    """Lock an open file or folder until it is closed, or its process ends.

    Returns:
        False if another one has it locked, and None where the system has no such locks.
    """
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # on some file systems of a network
        return None
    return True


@contextmanager
def alone_in(folder: Path, refusal: str) -> Iterator[None]:
    """Have a folder locked; an InputError with this text if another one has it."""
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if lock(descriptor) is False:
            raise InputError(refusal)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def temporary(folder: Path, *, is_folder: bool = False) -> Iterator[Path]:
    """A new file, or folder, in a folder; in the end it is taken away if it is still there.

    What processes left there that were killed is taken away first.
    """
    clear(folder)
    path, descriptor = _made(folder, is_folder)
    try:
        yield path
    finally:
        _remove(path)
        if descriptor is not None:
            os.close(descriptor)


def _made(folder: Path, is_folder: bool) -> tuple[Path, int | None]:
    """The path, and the descriptor that holds its lock."""
    while True:
        name = tempfile.mkdtemp(dir=folder, prefix=_PREFIX) if is_folder else _new_file(folder)
        if sys.platform == "win32":
            return Path(name), None
        with suppress(FileNotFoundError):
            descriptor = os.open(name, os.O_RDONLY)
            lock(descriptor, wait=True)
            if _is_at(descriptor, name):
                return Path(name), descriptor
            os.close(descriptor)
        # another process took it for left behind before it was locked


def _new_file(folder: Path) -> str:
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=_PREFIX)
    try:
        os.close(descriptor)
    except OSError:
        os.unlink(name)
        raise
    return name


def _is_at(descriptor: int, path: str | Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except OSError:
        return False


def clear(folder: Path) -> None:
    """Take away what processes that were killed left in a folder, where the system can tell."""
    names: list[str] = []
    with suppress(OSError):
        names = os.listdir(folder)
    for name in filter(_NAME.fullmatch, names):
        path = folder / name
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                if lock(descriptor) and _is_at(descriptor, path):
                    _put_back(path)
                    _remove(path)
            finally:
                os.close(descriptor)


def _put_back(left: Path) -> None:
    """The folder that a killed process was replacing, if nothing has taken its place."""
    for earlier in left.glob(f"{_EARLIER}/*"):
        if not (left.parent / earlier.name).exists():
            earlier.rename(left.parent / earlier.name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def replace_folder(written: Path, target: Path) -> None:
    """Put a folder that stands in a temporary one in its place.

    Where the system exchanges folders (Linux), the earlier one or this is there at every moment.
    Else there is a moment at which neither is: the earlier one comes back, at once if anything is
    raised, and if the process is killed, with the next `clear`.
    """
    if not target.exists():
        os.rename(written, target)
        return
    if _exchange(written, target):
        return
    earlier = written.parent / _EARLIER / target.name
    earlier.parent.mkdir()
    try:
        os.rename(target, earlier)
        os.rename(written, target)
    except BaseException:
        if not target.exists() and earlier.exists():
            os.rename(earlier, target)
        raise


def _exchange(one: Path, other: Path) -> bool:
    """Have what two paths name change places at once; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # a C library without it
        return False
    names = os.fsencode(one), os.fsencode(other)
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    error = ctypes.get_errno()
    if error in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):  # an old kernel, or file system
        return False
    raise OSError(error, os.strerror(error), str(other))
