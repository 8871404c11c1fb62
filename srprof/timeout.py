"""How long a network's code may take: `--timeout`.

A timer's signal raises `TimedOut` in the main thread, wherever the network's Python code is: in a
loop of Python, asleep, waiting for a lock, and behind the call of torch that it is in. A network
that catches that gets it again. C code that does not come back to Python hears of no signal (nor
would another thread, which waits for Python's lock), so behind these stands a watcher, a process of
its own (`watcher.py`): it says the line and ends the process, with exit code 3 too, but without the
results of other networks.

Limits: a signal needs the main thread, and a system that has signal timers.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from srprof.blame import blame, is_user_file
from srprof.errors import InputError, ModelError, TimedOut
from srprof.output import message_stream
from srprof.paths import place
from srprof.words import one_line

#: Seconds after which a network that caught the signal gets it again.
_AGAIN = 2.0
#: Seconds that are left to clean up before the watcher ends the process.
_GRACE = 5.0
#: How long, and how often, a signal waits for the network's own code: what else runs may be putting
#: back what it has changed, as a mode of torch's.
_WAIT, _LOOK = 1.0, 0.01


class _Timer:
    """The timer of a command, and its watcher.

    Attributes:
        running: what is limited now, the innermost last.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.running: list[str] = []
        import subprocess  # only here: most commands have no timer

        self._waited = 0.0
        module = str(Path(__file__).with_name("watcher.py"))
        command = [sys.executable, "-I", "-S", module, str(seconds + _GRACE), f"{seconds:g}"]
        stderr = None
        with suppress(AttributeError, OSError, ValueError):  # not every stream has a descriptor
            stderr = message_stream().fileno()  # type: ignore[union-attr]
        self._watcher: Any = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=stderr)

    def begin(self) -> None:
        """Give what runs now its whole time."""
        self._waited = 0.0
        signal.setitimer(signal.ITIMER_REAL, self.seconds, _AGAIN)
        self._tell(one_line(self.running[-1]))

    def stop(self) -> None:
        """Nothing is limited until the next `begin`."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._tell("")

    def _tell(self, name: str) -> None:
        with suppress(OSError):  # somebody has ended it
            self._watcher.stdin.write(f"{name}\n".encode())
            self._watcher.stdin.flush()

    def ring(self, _number: int, frame: FrameType | None) -> None:
        """The signal's handler."""
        own = frame is None or is_user_file(frame.f_code.co_filename)
        if not own and self._waited < _WAIT:
            self._waited += _LOOK
            signal.setitimer(signal.ITIMER_REAL, _LOOK, _AGAIN)
            return
        self._waited = 0.0
        raise TimedOut

    def end(self) -> None:
        self.stop()
        with suppress(OSError):
            self._watcher.stdin.close()
        self._watcher.wait()


#: That of the command that runs; None where nothing is limited.
_timer: _Timer | None = None


@contextmanager
def timeout(seconds: float | None) -> Iterator[None]:
    """Have whatever is `limited` in here end after so many seconds; None is no limit."""
    global _timer  # noqa: PLW0603  (as the process's timer is)
    if seconds is None or _timer is not None:
        yield
        return
    if not hasattr(signal, "setitimer"):
        raise InputError("--timeout needs signal timers, which this system has not: leave it out")
    if threading.current_thread() is not threading.main_thread():
        raise InputError("--timeout needs the main thread: leave it out, or call from there")
    before = [signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGQUIT)]
    _timer = _Timer(seconds)
    signal.signal(signal.SIGALRM, _timer.ring)
    _exit_on_quit()
    try:
        yield
    finally:
        _timer.end()
        _timer = None
        for number, handler in zip((signal.SIGALRM, signal.SIGQUIT), before, strict=True):
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _exit_on_quit() -> None:
    """Have the watcher's signal call C's `_exit` with the signal's number: SIGQUIT is 3.

    A handler of Python's would wait for the C code that does not come back.
    """
    import ctypes

    assert int(signal.SIGQUIT) == ModelError.exit_code
    library = ctypes.CDLL(None)
    library.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    library.signal(signal.SIGQUIT, ctypes.cast(library._exit, ctypes.c_void_p))


@contextmanager
def limited(what: str) -> Iterator[None]:
    """Limit the time of a network, which `what` names, from where that is resolved.

    What is loaded until then is not its time. A ModelError, with the line where it was, when that
    is over.
    """
    timer = _timer
    if timer is None:
        yield
        return
    timer.stop()
    timer.running.append(what)
    try:
        yield
    except TimedOut as error:
        raise _too_long(what, timer.seconds, error) from error
    finally:
        timer.stop()
        timer.running.pop()


def begin() -> None:
    """Begin the time of what is `limited`, or begin it anew, as with each step of a training."""
    if _timer is not None and _timer.running:
        _timer.begin()


def limit() -> float | None:
    """The seconds of the `timeout` that is around; None without one."""
    return None if _timer is None else _timer.seconds


def _too_long(what: str, seconds: float, error: BaseException) -> ModelError:
    where = blame(error)
    at = f"; it was at {place(where.file, where.line)} in {where.function}" if where.file else ""
    text = f"{what} did not end within {seconds:g} s (--timeout){at}"
    return ModelError(text, file=where.file, line=where.line)


def _forget() -> None:
    """A forked process has its parent's watcher, but not its timer."""
    global _timer  # noqa: PLW0603
    _timer = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
