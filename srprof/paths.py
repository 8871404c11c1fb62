"""File names as a person would write them."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def current_folder() -> str:
    """The current folder; "" if it has been deleted."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def short_path(path: str) -> str:
    """A file from the current folder, or within site-packages; else as it is."""
    for folder in (sysconfig.get_paths()["purelib"], current_folder()):
        if folder and path.startswith(folder + os.sep):
            return path[len(folder) + 1 :]
    return path


def place(file: str, line: int) -> str:
    """`models/rfdn_net.py:38`, or "" where no line is known."""
    return f"{short_path(file)}:{line}" if file else ""


def below(folder: str, path: str) -> str | None:
    """A file's name from a folder, with slashes; None if it is not inside."""
    real, folder = os.path.realpath(path), os.path.realpath(folder) + os.sep
    return real[len(folder) :].replace(os.sep, "/") if real.startswith(folder) else None


def package_root(file: Path) -> Path:
    """The first folder above the file that is not itself inside a package."""
    folder = file.parent
    while (folder / "__init__.py").exists() and folder.parent != folder:
        folder = folder.parent
    return folder


@contextmanager
def working_in(folder: str) -> Iterator[None]:
    """The current folder for a while: modules are looked for there."""
    back = current_folder()
    os.chdir(folder)
    try:
        yield
    finally:
        with suppress(OSError):  # it has been deleted
            os.chdir(back)
