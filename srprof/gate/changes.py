"""Which lines of the sources changed since the baseline was committed, as git knows it.

A block that runs forty times has forty tensors and one line that was edited: that line is named
first. Where there is no git, or it does not know the baseline, nothing is known and nothing said.
"""

from __future__ import annotations

import linecache
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from srprof.paths import place
from srprof.words import some

Place = tuple[str, int]

#: Seconds that git may take; a gate does not wait for a repository that does not answer.
_PATIENCE = 20.0
#: Places that are named.
_MOST = 3
_FILE = re.compile(r"\+\+\+ b/(.*?)\t?")
_HUNK = re.compile(r"@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@")


@dataclass(frozen=True)
class Changes:
    """The lines of Python files that are not as in the commit that has the baseline.

    Attributes:
        folder: of the configuration; baseline: its path, None where there is none.
    """

    folder: Path
    baseline: Path | None

    def __contains__(self, where: Place) -> bool:
        file, line = where
        return line in self._lines.get(os.path.realpath(file), ())

    def first(self, places: Iterable[Place], files: Iterable[str]) -> list[Place]:
        """The changed ones of these places; where there are none, all changed lines of the files.

        Of lines that stand together the first.
        """
        named = [where for where in dict.fromkeys(places) if where in self]
        known = dict.fromkeys(map(os.path.realpath, files))
        return named or [(file, first) for file in known for first in self._spans(file)]

    def _spans(self, file: str) -> list[int]:
        """The first of each row of changed lines."""
        lines = self._lines.get(file, frozenset())
        return sorted(line for line in lines if line - 1 not in lines)

    @cached_property
    def _lines(self) -> Mapping[str, frozenset[int]]:
        if self.baseline is None:
            return {}
        top = self._git("rev-parse", "--show-toplevel").strip()
        commit = self._git("log", "-1", "--format=%H", "--", str(self.baseline)).strip()
        if not top or not commit:
            return {}
        plain = ("--no-color", "--no-ext-diff", "--no-renames", "--unified=0")
        text = self._git("-c", "core.quotePath=false", "diff", *plain, commit, "--", "*.py", at=top)
        return {os.path.realpath(os.path.join(top, f)): lines for f, lines in _hunks(text).items()}

    def _git(self, *arguments: str, at: str = "") -> str:
        """What git prints; nothing where it fails."""
        command = ["git", "-C", at or str(self.folder), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=_PATIENCE)
        except (OSError, subprocess.SubprocessError):
            return ""
        return os.fsdecode(done.stdout) if done.returncode == 0 else ""


@dataclass(frozen=True)
class NoChanges(Changes):
    """Where nothing is asked of git."""

    folder: Path = field(default_factory=Path)
    baseline: Path | None = None


def _hunks(text: str) -> dict[str, frozenset[int]]:
    """The new lines of each file of a diff without context; of a deletion those around it."""
    found: dict[str, set[int]] = {}
    file = ""
    for line in text.splitlines():
        named, hunk = _FILE.fullmatch(line), _HUNK.match(line)
        if named is not None:
            file = named[1]
        elif hunk is not None and file:
            start, count = int(hunk[1]), int(hunk[2] or 1)
            lines = range(start, start + count) if count else range(start, start + 2)
            found.setdefault(file, set()).update(lines)
    return {name: frozenset(lines) for name, lines in found.items()}


def said(places: Iterable[Place]) -> str:
    """Changed places, with what stands there."""
    texts = [f"{place(*where)} `{_source(*where)}`" for where in places]
    return f"changed since the baseline: {some(texts, _MOST)}"


def _source(file: str, line: int) -> str:
    linecache.checkcache(file)
    text = " ".join(linecache.getline(file, line).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
