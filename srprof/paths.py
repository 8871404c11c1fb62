"""File names as a person would write them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: Folders that packages are installed in.
PACKAGES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
#: A file with its folders, from a root or a drive on.
_FROM_ROOT = re.compile(r"(?<![\w.:/\\])(?:[A-Za-z]:)?[/\\](?:[^\s/\\:'\"]+[/\\])+([^\s/\\:'\"]+)")


def current_folder() -> str:
    """The current folder; "" if it has been deleted."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def short_path(path: str) -> str:
    """A file from the current folder, or within site-packages; else as it is."""
    installed = [path.rpartition(name)[2] for name in PACKAGES if name in path]
    here = current_folder() + os.sep
    return min(installed, key=len, default=path.removeprefix(here) if len(here) > 1 else path)


def without_folders(text: str) -> str:
    """A text for other machines: of files that are named from the root only their own name."""
    return _FROM_ROOT.sub(r"\1", text)


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
