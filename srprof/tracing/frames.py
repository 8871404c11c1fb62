"""Which of the user's frames each node ran in, and at which expression: one more run, on its own.

Python's frames come and go and their addresses are used again, so each call of a function gets a
number of its own, which `sys.setprofile` sees begin.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import CodeType, FrameType
from typing import Any, NamedTuple

from torch import nn

from srprof.blame import function_name, is_user_file
from srprof.records import Frame, Trace
from srprof.tracing.gpu import standing_in
from srprof.tracing.recorder import BOUNDARY, DEVICE_TYPES, Recorder, call_model, recording
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
        """Watch the calls of this thread; another profiler rests meanwhile."""
        before = sys.getprofile()
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(before)


def record_frames(workload: Workload, trace: Trace) -> tuple[tuple[Frame, ...], ...] | None:
    """The user's frames at each node of a trace, the outermost first.

    Returns:
        One tuple for each node; None if this run made other calls than the trace's.
    """
    calls = _Calls()
    frames: list[tuple[Frame, ...]] = []

    def note(recorder: Recorder) -> None:
        frames.append(tuple(_frames(calls.numbers)))

    ops: list[str] = []
    with standing_in(trace.device):
        instance = workload.instance(trace.device)
        recorder = Recorder(instance.model, DEVICE_TYPES[trace.device], on_node=note)
        recorder.add_inputs(instance.args, instance.kwargs)
        try:
            with recording(recorder), calls.counting():
                call_model(*instance)
        except Exception:  # the first run went through: this one is another
            return None
        finally:
            ops = [node.op for node in recorder.nodes]
            recorder.ledger.forget()
    return tuple(frames) if ops == [node.op for node in trace.nodes] else None


def _frames(numbers: Mapping[int, int]) -> Iterator[Frame]:
    """The user's frames on the stack, from the outermost."""
    stack: list[FrameType] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code is not BOUNDARY:
        stack.append(frame)
        frame = frame.f_back
    for depth in range(len(stack) - 1, -1, -1):
        code = stack[depth].f_code
        if not is_user_file(code.co_filename):
            continue
        called = numbers.get(id(stack[depth - 1]), 0) if depth else 0
        yield Frame(
            call=numbers.get(id(stack[depth]), 0),
            called=called,
            file=code.co_filename,
            function=function_name(code),
            first_line=code.co_firstlineno,
            line=stack[depth].f_lineno,
            place=_place(code, stack[depth].f_lasti),
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
    index = instruction // 2
    if not 0 <= index < len(positions):
        return None
    line, last_line, column, last_column = positions[index]
    if None in (line, last_line, column, last_column):
        return None
    return line, column, last_line, last_column


class OwnedModule(NamedTuple):
    """A module of one of torch's classes, the user's class that has it, and its path in there."""

    owner: type
    path: str
    kind: str


def activations(model: nn.Module) -> dict[str, OwnedModule]:
    """Activations that can be constructed with `inplace=True` and are not, by path."""
    modules = dict(model.named_modules())
    switchable = {}
    for path, module in modules.items():
        if getattr(module, "inplace", None) is not False:
            continue
        owner, inner = path.rpartition(".")[0], path.rpartition(".")[2]
        while owner and type(modules[owner]).__module__.startswith("torch.nn."):
            owner, _, last = owner.rpartition(".")
            inner = f"{last}.{inner}"
        switchable[path] = OwnedModule(type(modules[owner]), inner, type(module).__name__)
    return switchable
