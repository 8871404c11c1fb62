"""What becomes of an error that nobody caught: whose it is, in one line.

`cli.main` is the last to ask; before it those that go through several networks, of which one that
fails must leave the others' results standing.
"""

from __future__ import annotations

import errno
import os
import re
import traceback
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from traceback import walk_tb

from srprof.blame import blame, first_line, function_name, message
from srprof.errors import (
    InputError,
    InternalError,
    MainMemoryError,
    ModelError,
    NoFitError,
    SrprofError,
    TimedOut,
    user_raised,
)
from srprof.output import say
from srprof.paths import current_folder, place
from srprof.timeout import limited
from srprof.words import mib_size

#: The environment variable that has tracebacks shown.
DEBUG = "SRPROF_DEBUG"
#: What is said where even torch cannot be loaded.
GONE = "the current folder has been deleted: go to one that is there"

#: What a system refuses, whatever was asked of it, and what to do.
_REFUSED = {
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "mend the links of that path",
    errno.ENOTDIR: "choose a path whose folders are folders",
    errno.EACCES: "choose a place where you may do that",
    errno.EPERM: "choose a place where you may do that",
    errno.EMFILE: "let a process open more files (ulimit -n)",
    errno.ENFILE: "close what has many files open",
    errno.ENOSPC: "free space on that disk, or set TMPDIR to another",
    errno.EDQUOT: "free space on that disk, or set TMPDIR to another",
    errno.EFBIG: "let files be larger (ulimit -f)",
    errno.EROFS: "choose a place that can be written",
    errno.EIO: "look at that disk",
}


def model_error(doing: str, error: BaseException, network: type | None = None) -> ModelError:
    """What the user's code raised, as the network's error at its line.

    `network` is the class that is blamed where torch raised for no line of the user's.
    """
    where = blame(error, network)
    text = f"{doing} raised {where.describe(error)}"
    if is_out_of_memory(error):
        at = f" at {place(where.file, where.line)} in {where.function}" if where.file else ""
        text = f"{doing}: {_out_of_memory(error, at)}"
    if issubclass(type(error), ModuleNotFoundError):
        text += "; install it, or say by rules what its operators do (--ops, docs/operators.md)"
    return ModelError(text, file=where.file, line=where.line)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether main memory ran out, as Python or torch's allocator for the CPU say it."""
    kind = type(error)
    return issubclass(kind, MemoryError) or (
        issubclass(kind, RuntimeError) and "can't allocate memory" in message(error)
    )


def _out_of_memory(error: BaseException, at: str) -> str:
    found = re.search(r"tried to allocate (\d+) bytes", message(error))
    asked = f", {mib_size(int(found[1]))} were asked for at once" if found else ""
    what = f"main memory ran out ({type(error).__name__}){at}{asked}"
    return f"{what}; give a smaller input, or more memory"


def failure(error: BaseException) -> SrprofError:
    """An error as one of srprof's: itself, the network's that raised it, else a fault of srprof.

    With SRPROF_DEBUG=1 its traceback is shown too.
    """
    if os.environ.get(DEBUG, "0") not in ("", "0"):
        say(_traceback(error))
    if issubclass(type(error), SrprofError):
        assert isinstance(error, SrprofError)
        return error
    if issubclass(type(error), FileNotFoundError) and not current_folder():
        return InputError(GONE)
    if issubclass(type(error), TimedOut):  # behind the part that would have said what
        return ModelError("the time of --timeout is over")
    if blame(error).file:
        return model_error("the network's code", error)
    if is_out_of_memory(error):
        return MainMemoryError(_out_of_memory(error, ""))
    if issubclass(type(error), OSError) and (refused := getattr(error, "errno", None)) in _REFUSED:
        file = getattr(error, "filename", None)
        at = f" ({file})" if isinstance(file, str) else ""
        return InputError(f"the system refuses: {os.strerror(refused)}{at}; {_REFUSED[refused]}")
    frames = [(frame.f_code, line) for frame, line in walk_tb(error.__traceback__)]
    at = ""
    if frames:
        code, line = frames[-1]
        at = f" at {place(code.co_filename, line)} in {function_name(code)}"
    return InternalError(
        f"a fault of srprof itself: {type(error).__name__}{at}: {first_line(error)}; {DEBUG}=1 "
        "shows the traceback; please report it with that, as an issue of srprof"
    )


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except user_raised():  # what an exception's own code says of itself
        return "(its traceback cannot be shown)"


def wrong_input(error: SrprofError) -> bool:
    """Whether it is of what the user asked for, which is worth ending the whole for.

    A network that is too large for the device is not.
    """
    return isinstance(error, InputError) and not isinstance(error, NoFitError)


class Failures:
    """The networks of several that failed, each alone, with its error by its name."""

    def __init__(self) -> None:
        self.errors: dict[str, SrprofError] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.errors

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Keep what a network raises in here, and go on behind it; what is wrong input passes."""
        try:
            with limited(name):
                yield
        except user_raised() as error:
            failed = failure(error)
            if wrong_input(failed):
                raise
            self.errors[name] = failed

    def unless_any(self, left: Sized) -> None:
        """Raise the first error if no network is left."""
        if not left and self.errors:
            raise next(iter(self.errors.values()))

    def lines(self) -> tuple[str, ...]:
        """One line for each network."""
        return tuple(f"{name} failed: {error}" for name, error in self.errors.items())
