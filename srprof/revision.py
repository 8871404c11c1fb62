"""SPECs of a file as it was: `HEAD~1:net.py:Net(nf=48)` is read from git.

The whole source tree of the revision is laid out in a temporary folder, so that what the file
imports is of that revision too. Its objects are read as they are, and not from an archive, which
leaves out and changes what `.gitattributes` names (`export-ignore`, `export-subst`). The repository
itself is only read.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

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
    """What git prints, without the end of its line; names of files may end in spaces and lines."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise InputError("git is not installed, and REVISION:file.py:Factory needs it") from None
    if done.returncode:
        raise InputError(f"{error}; write REVISION:file.py:Factory, as HEAD~1:net.py:Net")
    return os.fsdecode(done.stdout.removesuffix(b"\n"))


class _Blob(NamedTuple):
    """A file of a commit: the name of its object, and its path from the repository's root."""

    object: str
    path: str


def _extract(top: str, commit: str, root: str) -> None:
    """Write the commit's regular files, but for large ones, below `root`."""
    damaged = f"the repository lacks folders of {commit[:12]}: `git fsck` names them"
    listed = _git("-C", top, "ls-tree", "-r", "-z", "--full-tree", commit, error=damaged)
    heads = (entry.partition("\t") for entry in listed.split("\0") if entry)
    blobs = [_Blob(head.split()[2], path) for head, _, path in heads if head.startswith("100")]
    sizes = _sizes(top, blobs)
    for blob in blobs:
        if blob.path.endswith(".py") and blob not in sizes:
            raise _lacking(blob, commit)
    wanted = [blob for blob, size in sizes.items() if size <= _LARGEST]
    with _cat_file(top, "--batch", wanted) as answers:
        for blob in wanted:
            words = answers.readline().split()
            if not words:  # git has found it damaged, and stopped
                raise _lacking(blob, commit)
            content = answers.read(int(words[2]))
            answers.read(1)  # the end of the line behind it
            target = Path(os.path.normpath(os.path.join(root, blob.path)))
            if Path(root) in target.parents:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)


def _lacking(blob: _Blob, commit: str) -> InputError:
    what = f"the repository lacks the content of {blob.path!r} in {commit[:12]}, or it is damaged"
    return InputError(f"{what}: get it with `git fetch --refetch`, or from another clone")


def _sizes(top: str, blobs: Sequence[_Blob]) -> dict[_Blob, int]:
    """Bytes of each blob, but for those that the repository has not got."""
    with _cat_file(top, "--batch-check", blobs) as answers:
        found = zip(blobs, (line.split() for line in answers), strict=False)
        return {blob: int(words[2]) for blob, words in found if words[1] == b"blob"}


@contextmanager
def _cat_file(top: str, how: str, blobs: Sequence[_Blob]) -> Iterator[IO[bytes]]:
    """Git's answers for each blob, in order."""
    with tempfile.TemporaryFile() as asked:  # git would wait for us to read while we wait to write
        asked.writelines(blob.object.encode() + b"\n" for blob in blobs)
        asked.seek(0)
        command = ["git", "-C", top, "cat-file", how]
        with subprocess.Popen(
            command, stdin=asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            yield process.stdout


if __name__ == "__main__":
    main()
