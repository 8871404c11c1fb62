"""SPECs of a file as it was: `HEAD~1:net.py:Net(nf=48)` is read from git.

The whole source tree of the revision is laid out in a temporary folder, so that what the file
imports is of that revision too. The repository itself is only read.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from srprof.errors import InputError, ModelError, SrprofError
from srprof.paths import working_in
from srprof.spec import parse

if TYPE_CHECKING:
    from srprof.analysis import AnalysisRecord
    from srprof.call import Call

#: Files above this are images, data or checkpoints, which no network imports.
_LARGEST = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Revised:
    """A SPEC of a revision: as git has that, the path before the factory, and its call."""

    revision: str
    file: str
    call: str


def split(text: str) -> Revised | None:
    """The parts of `REVISION:file.py:Factory`; None if the SPEC names no revision."""
    head, ending, call = text.partition(".py:")
    if not ending or ":" not in head or os.path.isfile(head + ".py"):
        return None
    revision, _, file = head.partition(":")
    return Revised(revision, file + ".py", call)


@contextmanager
def laid_out(revised: Revised) -> Iterator[tuple[str, str]]:
    """Lay the revision's tree out in a temporary folder, which goes when this ends.

    Gives the repository's root there, and what stands for this folder. An InputError if this is
    no git repository, or it has no such revision or file.
    """
    top = _git("rev-parse", "--show-toplevel", error="the current folder is in no git repository")
    here = os.path.relpath(os.getcwd(), top) if os.getcwd() != top else "."
    verify = "rev-parse --verify --quiet --end-of-options".split()
    unknown = f"git knows no revision {revised.revision!r}"
    commit = _git(*verify, f"{revised.revision}^{{commit}}", error=unknown)
    with tempfile.TemporaryDirectory(prefix="srprof-") as temporary:
        root = os.path.realpath(temporary)
        _extract(top, commit, root)
        folder = os.path.normpath(os.path.join(root, here))
        if not os.path.isfile(os.path.join(folder, revised.file)):
            folder = root  # git's own reading: from the repository's root
        if not os.path.isfile(os.path.join(folder, revised.file)):
            what = f"revision {revised.revision!r} has no file {revised.file!r}"
            raise InputError(f"{what}: give its path from here or from the repository's root")
        yield root, folder


def analysis_of(call: Call) -> AnalysisRecord:
    """The analysis of a call, whose SPEC may be of a revision; raises as `analyze` does."""
    from srprof.compare.diff import relocated

    revised = split(call.spec)
    if revised is None:
        return _analyzed(call)
    with laid_out(revised) as (root, folder), working_in(folder):
        record = _analyzed(replace(call, spec=f"{revised.file}:{revised.call}"))
    record = relocated(record, root, f"{revised.revision}:")
    return replace(record, model=replace(record.model, spec=call.spec))


def _analyzed(call: Call) -> AnalysisRecord:
    """The analysis of a call, by another program if that of another revision stands in the way.

    Code that registers its classes or operators elsewhere can be imported in one revision only.
    """
    from srprof.analysis import analyze
    from srprof.loading import imported_elsewhere

    try:
        return analyze(call).record
    except ModelError:
        if not imported_elsewhere(parse(call.spec)):
            raise
        command = [sys.executable, "-m", "srprof.revision"]
        asked = pickle.dumps(call)
        done = subprocess.run(command, input=asked, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            raise
    result: AnalysisRecord | SrprofError = pickle.loads(done.stdout)
    if isinstance(result, SrprofError):
        raise result
    return result


def main() -> None:
    """That program: a call on stdin; its analysis, or why there is none, on what was stdout."""
    from srprof.analysis import analyze

    with os.fdopen(os.dup(1), "wb") as output:
        os.dup2(2, 1)  # what the network prints
        try:
            result: AnalysisRecord | SrprofError = analyze(pickle.load(sys.stdin.buffer)).record
        except SrprofError as error:
            result = error
        pickle.dump(result, output)


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
                target = Path(os.path.normpath(os.path.join(root, member.name)))
                wanted = member.isfile() and member.size <= _LARGEST
                source = tar.extractfile(member) if wanted else None
                if source is not None and Path(root) in target.parents:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(source.read())


if __name__ == "__main__":
    main()
