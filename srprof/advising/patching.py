"""Advice carried out in the user's files: as a unified diff, or written, all files or none."""

from __future__ import annotations

import difflib
import io
import os
import tokenize
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from srprof.advising.record import Advice
from srprof.advising.rewrite import Construct
from srprof.blame import is_installed
from srprof.errors import InputError
from srprof.files import read_bytes
from srprof.loading import needed
from srprof.output import write_all
from srprof.paths import place, short_path

if TYPE_CHECKING:
    from srprof.advising.editing import Edit


@dataclass(frozen=True)
class Patch:
    """A file before and after its edits, and how many there are."""

    file: str
    before: bytes
    after: bytes
    edits: int


@dataclass(frozen=True)
class Applied:
    """What `Advice.apply` did.

    Attributes:
        written: files, with the number of edits made in each.
        left: files of installed packages, with the number of edits that were left out of each.
    """

    written: tuple[tuple[str, int], ...]
    left: tuple[tuple[str, int], ...]


def patches(advice: Advice) -> list[Patch]:
    """The files that the edits change; nothing is written.

    Raises:
        InputError: libcst is missing, a file has changed, or an edit cannot be placed.
    """
    needed("libcst", "carrying out edits needs the package libcst", "apply")
    from srprof.advising.editing import Edit

    edits: dict[str, list[Edit]] = {}
    for step in advice.steps:
        candidate, rewrite = step.candidate, step.candidate.rewrite
        file, line = candidate.file, candidate.line
        if isinstance(rewrite, Construct) and rewrite.call is not None:
            file, line = rewrite.file, rewrite.call[0]
        edits.setdefault(file, []).append(Edit(rewrite, candidate.function, line))
    return [_patch(file, members, advice.sources[file]) for file, members in edits.items()]


def _patch(file: str, edits: list[Edit], text: str) -> Patch:
    from srprof.advising.editing import UnplaceableError, edited

    before = read_bytes(file, short_path(file))
    if _decoded(before) != text:
        raise InputError(f"{short_path(file)} has changed since it was traced: advise again")
    try:
        after = edited(before, text, edits)
    except UnplaceableError as error:
        raise InputError(
            f"{place(file, error.line)}: this edit cannot be placed: {error}; make it by hand and "
            "advise again"
        ) from error
    return Patch(file, before, after, len(edits))


def _decoded(source: bytes) -> str:
    """A source file's text as `linecache` has it; "" if it is in no encoding that Python reads."""
    try:
        with io.BytesIO(source) as stream:
            encoding = tokenize.detect_encoding(stream.readline)[0]
        text = io.TextIOWrapper(io.BytesIO(source), encoding).read()
    except (SyntaxError, UnicodeDecodeError):
        return ""
    return text if text.endswith("\n") or not text else text + "\n"


def unified_diff(changes: list[Patch]) -> str:
    """The changes as `patch -p1` and `git apply` read them."""
    return "".join(map(_one_diff, changes))


def _one_diff(patch: Patch) -> str:
    encoding = tokenize.detect_encoding(io.BytesIO(patch.before).readline)[0]
    texts = (io.StringIO(t.decode(encoding), newline="") for t in (patch.before, patch.after))
    before, after = map(list, texts)
    name = short_path(patch.file).lstrip(os.sep)
    rows = difflib.unified_diff(before, after, f"a/{name}", f"b/{name}")
    return "".join(r if r.endswith("\n") else f"{r}\n\\ No newline at end of file\n" for r in rows)


def apply(advice: Advice) -> Applied:
    """Write the edits into the user's files; see `Advice.apply`."""
    changes = patches(advice)
    left = [c for c in changes if not _is_users(c.file, advice.own)]
    mine = [c for c in changes if c not in left]
    if left and not mine:
        file = short_path(left[0].file)
        raise InputError(
            f"{file} is an installed package's and stays as it is: copy it into your project, "
            "advise the copy (file.py:Factory), or look at --diff"
        )
    write_all({change.file: change.after for change in mine}, "--apply")
    return Applied(*(tuple((c.file, c.edits) for c in some) for some in (mine, left)))


def _is_users(file: str, own: str) -> bool:
    """Whether a file may be written to: the SPEC's own, and those of no installed package."""
    file, zoo = os.path.realpath(file), find_spec("srprof.models")
    assert zoo is not None and zoo.origin is not None
    of_zoo = file.startswith(os.path.dirname(os.path.realpath(zoo.origin)) + os.sep)
    return file == own or not (is_installed(file) or of_zoo)
