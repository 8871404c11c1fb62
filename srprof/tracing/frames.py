"""Which of the user's frames each node ran in, and at which expression: one more run, on its own.

Python's frames come and go and their addresses are used again, so each call of a function gets a
number of its own, which `sys.setprofile` sees begin.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import CodeType, FrameType
from typing import Any

from torch import nn

from srprof.blame import function_name, is_user_file, module_name
from srprof.networks import named_modules
from srprof.records import Frame, Trace
from srprof.tracing.holders import run_again
from srprof.tracing.recorder import Recorder, stack
from srprof.workload import Workload


@dataclass
class _Calls:
    """Numbers the calls of Python functions in the order in which they begin."""

    count: int = 0
    numbers: dict[int, int] = field(default_factory=dict)

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            self.count += 1
            self.numbers[id(frame)] = self.count

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Watch the calls of this thread and of those it starts; another profiler rests meanwhile.

        One that is written in C, as Python's own cProfile, is no function that could be set again,
        but switches itself off and on.
        """
        before, in_threads = sys.getprofile(), threading.getprofile()
        switches: Any = before if hasattr(before, "enable") and hasattr(before, "disable") else None
        if switches is not None:
            switches.disable()
        sys.setprofile(self)
        threading.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(before if callable(before) else None)
            threading.setprofile(in_threads)
            if switches is not None:
                switches.enable()


def record_frames(workload: Workload, trace: Trace) -> tuple[tuple[Frame, ...], ...] | None:
    """The user's frames at each node of a trace, the outermost first.

    Returns:
        One tuple for each node; None if this run made other calls than the trace's.
    """
    calls = _Calls()
    frames: list[tuple[Frame, ...]] = []

    def note(_recorder: Recorder, _model: nn.Module) -> None:
        frames.append(tuple(_frames(calls.numbers)))

    ops = run_again(workload, trace, note, calls.counting())
    return tuple(frames) if ops == [node.op for node in trace.nodes] else None


def _frames(numbers: Mapping[int, int]) -> Iterator[Frame]:
    """The user's frames on the stack, from the outermost."""
    frames = list(stack())[1:]  # without this one, which would keep itself and all others alive
    for frame, inner in zip(reversed(frames), [*reversed(frames[:-1]), None], strict=True):
        code = frame.f_code
        if is_user_file(code.co_filename):
            yield Frame(
                call=numbers.get(id(frame), 0),
                called=numbers.get(id(inner), 0),
                file=code.co_filename,
                function=function_name(code),
                first_line=code.co_firstlineno,
                line=frame.f_lineno,
                place=_place(code, frame.f_lasti),
            )


@cache
def _positions(code: CodeType) -> tuple[Any, ...]:
    positions: Callable[[], Any] | None = getattr(code, "co_positions", None)
    return () if positions is None else tuple(positions())


def _place(code: CodeType, instruction: int) -> tuple[int, int, int, int] | None:
    """First line, first column, last line and last column of the expression that is evaluated.

    None where Python does not say: before 3.11.
    """
    positions = _positions(code)
    if instruction < 0 or instruction // 2 >= len(positions):
        return None
    line, last_line, column, last_column = positions[instruction // 2]
    place = (line, column, last_line, last_column)
    return None if None in place else place


def activations(model: nn.Module) -> dict[str, tuple[type, str, str]]:
    """Activations that can be constructed with `inplace=True` and are not, by path.

    Of each the user's class that has it, its path in there, and the name of its own class.
    """
    modules = dict(named_modules(model))
    switchable = {}
    for path, module in modules.items():
        if getattr(module, "inplace", None) is not False:
            continue
        owner, inner = path.rpartition(".")[0], path.rpartition(".")[2]
        while owner and module_name(type(modules[owner])).startswith("torch.nn."):
            owner, _, last = owner.rpartition(".")
            inner = f"{last}.{inner}"
        switchable[path] = (type(modules[owner]), inner, type(module).__name__)
    return switchable
