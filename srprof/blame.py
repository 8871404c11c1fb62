"""Which frame of a Python stack is the user's.

The line that a person wants to see is neither torch's nor srprof's, but the innermost one of
his own (or of the network's author).
"""

from __future__ import annotations

import os
import sysconfig
from collections import deque
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from traceback import walk_tb
from types import CodeType, FunctionType

from srprof.errors import user_raised
from srprof.paths import PACKAGES, place

_ENGINE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_ZOO = _ENGINE + "models" + os.sep
_STDLIB = sysconfig.get_paths()["stdlib"] + os.sep
#: The file of code that a library makes of text, as of named tuples.
_MADE = "<string>"
#: Libraries that only rearrange tensors on behalf of the line that called them.
_HELPERS = tuple(f"{package}einops{os.sep}" for package in PACKAGES)


@cache
def _torch_folder() -> str:
    """Where torch is; it is found and not imported."""
    spec = find_spec("torch")
    assert spec is not None and spec.origin is not None
    return os.path.dirname(os.path.abspath(spec.origin)) + os.sep


@cache
def is_engine_file(filename: str) -> bool:
    """Whether the file is srprof's own, the zoo aside."""
    return filename.startswith(_ENGINE) and not filename.startswith(_ZOO)


@cache
def is_user_file(filename: str) -> bool:
    """Whether code of this file belongs to the network rather than to what runs it."""
    if filename.startswith(_torch_folder()) or is_engine_file(filename):
        return False
    if filename.startswith(_STDLIB) and not any(part in filename for part in PACKAGES):
        return False
    return not (filename.startswith("<frozen") or any(part in filename for part in _HELPERS))


def is_installed(filename: str) -> bool:
    """Whether the file is an installed package's, or Python's own."""
    return filename.startswith(_STDLIB) or any(part in filename for part in PACKAGES)


def module_name(cls: type) -> str:
    """Where a class says that it was defined; "" if it says that in no text."""
    name = cls.__module__
    return name if isinstance(name, str) else ""


def function_name(code: CodeType) -> str:
    """`RFDB.forward` where Python knows the class (3.11 and later), else `forward`."""
    qualified: str = getattr(code, "co_qualname", code.co_name)
    return qualified.replace("<locals>.", "")


@dataclass(frozen=True, slots=True)
class Blame:
    """Where an exception came from, as far as the user is concerned."""

    file: str
    line: int
    function: str

    def describe(self, error: BaseException, longest: int = 1000) -> str:
        """One line: `ValueError at net.py:12 in Net.forward: the message`."""
        where = f" at {place(self.file, self.line)} in {self.function}" if self.file else ""
        message = first_line(error)
        if len(message) > longest:
            message = message[: longest - 3].rstrip() + "..."
        return f"{type(error).__name__}{where}: {message}"


def message(error: BaseException) -> str:
    """The exception's whole message, whatever its `__str__` does."""
    try:
        return str(error)
    except user_raised() as raised:
        return f"(its message cannot be read: __str__ raised {type(raised).__name__})"


def first_line(error: BaseException) -> str:
    """The exception's message as one line; torch appends C++ stacks to some."""
    text = message(error).strip()
    return text.splitlines()[0] if text else "(no message)"


def blame(error: BaseException, network: type | None = None) -> Blame:
    """The innermost user frame of an exception's traceback; a syntax error's own place.

    Where torch raised by itself, for no line of the user's, the place of the network's class.
    """
    if issubclass(type(error), SyntaxError) and (file := getattr(error, "filename", None)):
        return Blame(file, getattr(error, "lineno", None) or 0, "the file")
    found = Blame("", 0, "")
    for frame, line in walk_tb(error.__traceback__):
        code = frame.f_code
        made = found.file and code.co_filename == _MADE  # on the way to another error
        if is_user_file(code.co_filename) and not made:
            found = Blame(code.co_filename, line, function_name(code))
    return found if found.file or network is None else home(network)


def raised_in_torch(error: BaseException) -> bool:
    """Whether torch's own Python code raised it."""
    last = deque(walk_tb(error.__traceback__), maxlen=1)
    return bool(last) and last[0][0].f_code.co_filename.startswith(_torch_folder())


def home(network: type) -> Blame:
    """Where the class of a network begins: the first method that its author wrote."""
    for cls in network.__mro__:
        for value in vars(cls).values():
            if type(value) is FunctionType and is_user_file(value.__code__.co_filename):
                code = value.__code__
                return Blame(code.co_filename, code.co_firstlineno, cls.__qualname__)
    return Blame("", 0, "")
