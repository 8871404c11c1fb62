"""One run at a time, and what it patches of the process.

A run of a network patches torch and Python: functions, hooks, the search path. So the runs of
several threads wait for each other, a thread that does not work for the run finds all functions as
they were, and every patch is taken back, whatever ends the run.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock, get_ident
from types import FrameType, FunctionType, MethodType
from typing import Any

from srprof.blame import is_user_file
from srprof.errors import ModelError
from srprof.paths import place

#: Held by the thread that runs a network.
_lock = Lock()
#: The threads that work for the run, with how many frames of each are the caller's own: what a
#: user wrote that lies deeper is the network's.
_depths: dict[int, int] = {}
#: Of a thread that the network started, even its bare calls are the network's.
_NONE = -1
#: Owner, attribute and old value of each patch, in the order of patching.
_patched: list[tuple[Any, str, Any]] = []
#: How often something is tried that puts back what a run changed.
_TRIES = 3
#: Stands for an attribute that a class has from its bases.
_INHERITED = object()


def in_run() -> bool:
    """Whether this thread works for the run of a network."""
    return get_ident() in _depths


@contextmanager
def alone() -> Iterator[None]:
    """Run a network: when those of other threads have ended.

    Raises:
        ModelError: a network that is running asks for it. What one would say of the other would
            be wrong.
    """
    own = _depths.get(get_ident())
    if own is not None:
        depth, frame = _of_the_user()
        if depth > own:
            raise _within_a_run(frame)
    with reserved():
        yield


@contextmanager
def reserved() -> Iterator[None]:
    """Change what all runs of the process change; for a thread of a run, as a part of that.

    A process that the network forks ends here at the latest.
    """
    ident = get_ident()
    if ident in _depths:
        yield
        return
    process = os.getpid()
    with _lock:
        _depths[ident], _ = _of_the_user()
        try:
            yield
        finally:
            if os.getpid() != process:  # forked by the network: else all would be done twice
                os._exit(0 if sys.exc_info()[0] is None else ModelError.exit_code)
            surely([_take_back, _depths.clear])


@contextmanager
def aside() -> Iterator[None]:
    """What is done here for a network is not what it computes, and may run networks itself."""
    ident = get_ident()
    own = _depths.get(ident)
    if own is None:
        yield
        return
    _depths[ident], _ = _of_the_user()
    try:
        yield
    finally:
        _depths[ident] = own


@contextmanager
def joined() -> Iterator[None]:
    """A thread that works for the network, as long as the run lasts."""
    ident = get_ident()
    _depths[ident] = _NONE
    try:
        yield
    finally:
        _depths.pop(ident, None)


def _of_the_user() -> tuple[int, FrameType | None]:
    """How deep the innermost frame lies that is a user's, and the frame; 0 if there is none."""
    depth, found = 0, None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if found is None and is_user_file(frame.f_code.co_filename):
            depth, found = 0, frame
        depth += 1
        frame = frame.f_back
    return (0, None) if found is None else (depth, found)


def _within_a_run(frame: FrameType | None) -> ModelError:
    file, line = ("", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)
    who = place(file, line) if file else "a thread of the network"
    return ModelError(
        f"{who} has srprof run a network while srprof runs this one: analyze it outside of the "
        "network's code, a script under if __name__ == '__main__':",
        file=file,
        line=line,
    )


def asking_file() -> str:
    """The file of the code that called a function of the caller's, which stands for torch's."""
    frame: FrameType | None = sys._getframe(1)
    between = {__file__, sys._getframe(1).f_code.co_filename}  # `for_the_run`, and the stand-in
    while frame is not None and frame.f_code.co_filename in between:
        frame = frame.f_back
    return "" if frame is None else frame.f_code.co_filename


@contextmanager
def replaced(patches: Iterable[tuple[Any, str, Any]]) -> Iterator[None]:
    """Put each third in the place of an owner's attribute, and the old ones back at the end.

    A function, property or class method is another one for the threads of the run only.
    """
    with reserved():
        before = len(_patched)
        try:
            for owner, name, new in patches:
                inherited = isinstance(owner, type) and name not in vars(owner)
                whole = isinstance(new, classmethod)  # else bound to the owner
                old = vars(owner)[name] if whole else getattr(owner, name)
                _patched.append((owner, name, _INHERITED if inherited else old))
                setattr(owner, name, for_the_run(new, old))
            yield
        finally:
            surely([lambda: _take_back(before)])


def for_the_run(new: Any, old: Any) -> Any:
    """What is new for the threads of the run, and what was there for all others."""
    if isinstance(new, property):
        own: Callable[[Any], Any] = new.__get__

        def answered(owner: Any) -> Any:
            return own(owner) if in_run() else old.__get__(owner)

        return property(answered)
    if isinstance(new, classmethod):
        return classmethod(for_the_run(new.__func__, old.__func__))
    if not isinstance(new, (FunctionType, MethodType)):
        return new

    def called(*args: Any, **kwargs: Any) -> Any:
        return (new if in_run() else old)(*args, **kwargs)

    return called


def _take_back(first: int = 0) -> None:
    """Take back the patches from the first on, the last of them first."""
    while len(_patched) > first:
        owner, name, old = _patched[-1]
        if old is not _INHERITED:
            setattr(owner, name, old)
        elif name in vars(owner):
            delattr(owner, name)
        _patched.pop()


def surely(steps: Iterable[Callable[[], object]]) -> None:
    """Do all, in order, whatever one raises, which is raised at the end; Ctrl-C before all else.

    A step that Ctrl-C came into is done again, and one that raised is tried again: a handler of a
    signal, the network's or that of a time limit, may have raised in it.
    """
    left, tries = deque(steps), 0
    raised: BaseException | None = None
    while left:
        try:
            while left:
                left[0]()
                left.popleft()
                tries = 0
        except KeyboardInterrupt as error:
            raised = error
        except BaseException as error:
            raised = raised or error
            tries += 1
            if tries == _TRIES:
                left.popleft()
                tries = 0
    if raised is not None:
        raise raised


def _after_fork() -> None:
    """In a child that was forked beside a run there is no run; in one of the network's there is."""
    global _lock  # noqa: PLW0603  (who holds it is not in the child)
    _lock = Lock()
    if not in_run():
        _take_back()
        _depths.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
