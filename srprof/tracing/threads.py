"""The threads that a network starts while it is recorded.

Torch's modes belong to the thread that enters them, so that what a network calls in a thread of its
own would be lost. Threads that start while a run is followed enter a mode that hands each call to
the recorder, and so do the tasks of an executor whose threads were there before. Who starts one
waits until it has done what it can: so two runs make the same calls in the same order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.thread import _worker
from contextlib import AbstractContextManager, ExitStack, contextmanager
from multiprocessing.process import BaseProcess
from threading import Thread, get_ident
from typing import Any, Protocol

from torch.utils._python_dispatch import TorchDispatchMode

from srprof.blame import is_user_file
from srprof.running import joined, replaced, reserved

#: Seconds in which a thread must have made a call to be waited for any longer.
_PATIENCE = 0.2


class Run(Protocol):
    """What is recorded: a recorder."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One call, in whatever thread."""

    def enter_thread(self, ident: int) -> None:
        """A thread begins, or an executor's takes up a task."""

    def progress(self) -> tuple[int, bool]:
        """How many calls have ended, and whether another thread is in the middle of one."""

    def starts_process(self) -> None:
        """The network starts a process, whose calls nobody sees."""


#: The run that is being recorded; the innermost.
_runs: list[Run] = []
#: By thread, the one that started it, or gave its executor what it does now.
_starters: dict[int, int] = {}
#: What each thread enters beside the recorder, the outermost first.
_conditions: list[Callable[[], AbstractContextManager[object]]] = []


def starter_of(ident: int) -> int | None:
    """The thread for which a followed thread works; None if it is not followed."""
    return _starters.get(ident)


class _HandedOn(TorchDispatchMode):
    """In a thread of the network: its calls are the recorder's."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # as the recorder's

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not _runs:
            return func(*args, **(kwargs or {}))
        return _runs[-1].__torch_dispatch__(func, types, args, kwargs)


@contextmanager
def _follow(starter: int) -> Iterator[None]:
    """This thread works for another one, and its calls are recorded."""
    ident = get_ident()
    if ident == starter or not _runs:
        yield
        return
    outer = _starters.get(ident)
    _starters[ident] = starter
    _runs[-1].enter_thread(ident)
    try:
        with ExitStack() as stack:
            if outer is None:
                stack.enter_context(joined())
                for condition in _conditions:
                    stack.enter_context(condition())
                stack.enter_context(_HandedOn())  # type: ignore[no-untyped-call]  # torch's
            yield
    finally:
        if outer is None:
            del _starters[ident]
        else:
            _starters[ident] = outer


def _wait(ended: Callable[[float], bool]) -> None:
    """Wait while the thread works, so that threads take turns in one order."""
    before = -1
    while not ended(_PATIENCE) and _runs:
        made, busy = _runs[-1].progress()
        if made == before and not busy:
            return  # it waits for something itself
        before = made


def _start(thread: Thread) -> None:
    target = getattr(thread, "_target", None)
    code = getattr(getattr(target, "__func__", target), "__code__", None)
    if target is not _worker:  # whose tasks are followed one by one
        _have_followed(thread, get_ident())
    _originals["start"](thread)
    if code is None or is_user_file(code.co_filename):  # a pool's thread waits for tasks

        def ended(seconds: float) -> bool:
            thread.join(seconds)
            return not thread.is_alive()

        _wait(ended)


def _have_followed(thread: Any, starter: int) -> None:
    """Have a thread work for its starter from its first line on, and report no end of a run."""
    bootstrap, report = thread._bootstrap_inner, thread._invoke_excepthook

    def followed() -> None:
        del thread._bootstrap_inner  # it refers to the thread
        with _follow(starter):
            bootstrap()

    def report_errors(thread: Thread) -> None:
        if isinstance(sys.exc_info()[1], Exception):
            report(thread)

    thread._bootstrap_inner, thread._invoke_excepthook = followed, report_errors


def _submit(pool: ThreadPoolExecutor, task: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
    starter = get_ident()

    def followed(*args: Any, **kwargs: Any) -> Any:
        with _follow(starter):
            return task(*args, **kwargs)

    future: Future[Any] = _originals["submit"](pool, followed, *args, **kwargs)
    _wait(lambda seconds: future.done() or _ended(future, seconds))
    return future


def _ended(future: Future[Any], seconds: float) -> bool:
    try:
        future.exception(seconds)
    except Exception:
        return future.done()
    return True


def _start_process(process: BaseProcess) -> None:
    if _runs:
        _runs[-1].starts_process()
    _originals["process"](process)


#: What is replaced while a run is followed, by our names.
_originals: dict[str, Any] = {}
_PATCHES = (
    ("start", Thread, "start", _start),
    ("submit", ThreadPoolExecutor, "submit", _submit),
    ("process", BaseProcess, "start", _start_process),
)


@contextmanager
def following(run: Run) -> Iterator[None]:
    """Hand the run what is called in threads that start meanwhile."""
    with reserved():
        patches = () if _runs else _PATCHES
        _originals.update({name: getattr(owner, its) for name, owner, its, _ in patches})
        with replaced((owner, its, new) for _, owner, its, new in patches):
            _runs.append(run)
            try:
                yield
            finally:
                _runs.remove(run)


@contextmanager
def carried(*conditions: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
    """Threads that start meanwhile enter these too, the outermost first."""
    before = len(_conditions)
    _conditions.extend(conditions)
    try:
        yield
    finally:
        del _conditions[before:]
