"""SPECs of a file as it was: `HEAD~1:net.py:Net(nf=48)` is read from git.

The whole source tree of the revision is laid out in a temporary folder, so that what the file
imports is of that revision too. The repository itself is only read.
"""

from __future__ import annotations

import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from srprof.errors import InputError
from srprof.paths import working_in

if TYPE_CHECKING:
    from srprof.analysis import AnalysisRecord
    from srprof.call import Call

#: Files above this are images, data or checkpoints, which no network imports.
_LARGEST = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Revised:
    """A SPEC of a revision.

    Attributes:
        revision: as git understands it; file: path before the factory; call: the factory.
    """

    revision: str
    file: str
    call: str


@dataclass(frozen=True, slots=True)
class Tree:
    """A revision's files on the disk, while they are there.

    Attributes:
        root: the repository's folder in them; folder: the one that stands for the current one.
        spec: what to trace, from `folder`.
    """

    root: str
    folder: str
    spec: str


def split(text: str) -> Revised | None:
    """The parts of `REVISION:file.py:Factory`; None if the SPEC names no revision."""
    head, ending, call = text.partition(".py:")
    if not ending or ":" not in head or os.path.isfile(head + ".py"):
        return None
    revision, _, file = head.partition(":")
    return Revised(revision, file + ".py", call)


@contextmanager
def laid_out(revised: Revised) -> Iterator[Tree]:
    """Lay the revision's tree out in a temporary folder, which goes when this ends.

    Raises:
        InputError: this is no git repository, or it has no such revision or file.
    """
    top = _git("rev-parse", "--show-toplevel", error="the current folder is in no git repository")
    here = os.path.relpath(os.getcwd(), top) if os.getcwd() != top else "."
    commit = _git(
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        f"{revised.revision}^{{commit}}",
        error=f"git knows no revision {revised.revision!r}",
    )
    with tempfile.TemporaryDirectory(prefix="srprof-") as temporary:
        root = os.path.realpath(temporary)
        _extract(top, commit, root)
        folder = os.path.normpath(os.path.join(root, here))
        if not os.path.isfile(os.path.join(folder, revised.file)):
            folder = root  # git's own reading: from the repository's root
        if not os.path.isfile(os.path.join(folder, revised.file)):
            raise InputError(
                f"revision {revised.revision!r} has no file {revised.file!r}: give its path from "
                "here or from the repository's root"
            )
        yield Tree(root, folder, f"{revised.file}:{revised.call}")


def analysis_of(call: Call) -> AnalysisRecord:
    """The analysis of a call, whose SPEC may be of a revision.

    Raises:
        InputError: as for `laid_out` and `srprof.analyze`. ModelError: the model raised.
    """
    from srprof.analysis import analyze
    from srprof.compare.diff import relocated

    revised = split(call.spec)
    if revised is None:
        return analyze(call).record
    with laid_out(revised) as tree, working_in(tree.folder):
        record = analyze(replace(call, spec=tree.spec)).record
    record = relocated(record, tree.root, f"{revised.revision}:")
    return replace(record, model=replace(record.model, spec=call.spec))


def _git(*arguments: str, error: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise InputError("git is not installed, and REVISION:file.py:Factory needs it") from None
    if done.returncode:
        raise InputError(f"{error}; write REVISION:file.py:Factory, as HEAD~1:net.py:Net")
    return done.stdout.strip()


def _extract(top: str, commit: str, root: str) -> None:
    """Write the commit's regular files, but for large ones, below `root`."""
    archive = ["git", "-C", top, "archive", "--format=tar", commit]
    with subprocess.Popen(archive, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            for member in tar:
                inside = os.path.normpath(os.path.join(root, member.name))
                if (
                    not member.isfile()
                    or member.size > _LARGEST
                    or not inside.startswith(root + os.sep)
                ):
                    continue
                source = tar.extractfile(member)
                assert source is not None
                os.makedirs(os.path.dirname(inside), exist_ok=True)
                Path(inside).write_bytes(source.read())
