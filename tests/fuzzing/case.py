"""One command on some files, and what is wrong with how it ends."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

from srprof import registry
from srprof.cli import main

#: Exit codes that a command may have.
CODES = frozenset({0, 1, 2, 3, 130})
#: The zoo of a case: with all its networks, commands that take the whole zoo would need minutes.
ZOO = ("bicubic", "fsrcnn", "fmen", "fmen_s")


@dataclass(frozen=True)
class Outcome:
    """How a case ended: its exit code, what it said on stderr, what is wrong with that, or ""."""

    code: int
    said: str
    wrong: str


@dataclass(frozen=True)
class Case:
    """A command, and the files that it finds in the current folder.

    Attributes:
        kind: what was spoilt.
        named: the file of which a command that ends with 2 says one line; "" if there is none.
    """

    kind: str
    argv: tuple[str, ...]
    files: Mapping[str, bytes]
    named: str = ""

    def run(self) -> Outcome:
        """Run the command in the current folder, in which nothing but the files is left."""
        self._lay_out()
        here, out, err, code, wrong = os.getcwd(), io.StringIO(), io.StringIO(), -1, ""
        zoo = tuple(n for n in registry.networks() if n.name in ZOO)
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch("srprof.registry.networks", lambda: zoo),
        ):
            try:
                code = main(list(self.argv))
            except BaseException:
                wrong = traceback.format_exc()
        if not wrong and os.getcwd() != here:
            wrong = f"the current folder is {os.getcwd()}"
            os.chdir(here)
        said = err.getvalue()
        return Outcome(code, said, wrong or self._wrong(code, out.getvalue(), said))

    def _lay_out(self) -> None:
        folders = {path.partition("/")[0] for path in self.files if "/" in path}
        for entry in os.scandir():
            if entry.is_dir(follow_symlinks=False) and entry.name not in folders:
                shutil.rmtree(entry)
            elif not entry.is_dir(follow_symlinks=False) and entry.name not in self.files:
                os.unlink(entry)
        for name, content in self.files.items():
            path = Path(name)
            if not path.is_file() or path.read_bytes() != content:  # to write takes far longer
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)

    def _wrong(self, code: int, printed: str, said: str) -> str:
        if code not in CODES:
            return f"exit code {code}"
        if "fault of srprof itself" in said:
            return "a fault of srprof itself"
        if code == 2 and self.named and (self.named not in said or said.count("\n") != 1):
            return "not one line that names the file"
        if code == 2 and not said.strip():
            return "nothing is said"
        # a network may print what it likes
        if self.kind != "network" and said and not said.replace("\n", "").isprintable():
            return "control characters"
        if left := [path for path in Path().rglob(".srprof-*") if path.name not in self.files]:
            return f"left behind: {left[0]}"
        return "" if code == 2 else self._unreadable(printed)

    def _unreadable(self, printed: str) -> str:
        """Why a result on stdout is not what its format promises, or ""."""
        # argparse takes the last of several
        formats = [after for o, after in zip(self.argv, self.argv[1:], strict=False)
                   if o == "--format"]  # fmt: skip
        read = _FORMATS.get(formats[-1] if formats else "text")
        if read is None or not printed or "-h" in self.argv or "--help" in self.argv:
            return ""
        try:
            read(printed)
        except (ValueError, csv.Error, ElementTree.ParseError) as error:
            return f"stdout is no {formats[-1:]}: {error}"
        return ""


def _plain(text: str) -> None:
    bad = [c for c in text if not c.isprintable() and c != "\n"]
    if bad:
        raise ValueError(f"{bad[0]!r} in it")


def _rows(text: str) -> None:
    if len({len(row) for row in csv.reader(io.StringIO(text)) if row}) > 1:
        raise ValueError("rows of several lengths")


_FORMATS = {
    "text": _plain, "markdown": _plain, "latex": _plain, "json": json.loads,
    "perfetto": json.loads, "gitlab": json.loads, "benchmark": json.loads, "csv": _rows,
    "junit": ElementTree.fromstring,
}  # fmt: skip
