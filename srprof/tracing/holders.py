"""Who holds it: the variables that reference each storage at one node.

A second run of the same workload stops at that node and looks through the frames that are on
the stack: their locals, and what lists, dicts, objects and modules reached from them hold.
"""

from __future__ import annotations

import dis
import gc
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from functools import cache
from types import CodeType, FrameType, ModuleType
from typing import Any

import torch
from torch import nn

from srprof.tracing.recorder import BOUNDARY, DEVICE_TYPES, Recorder, call_model, recording
from srprof.tracing.records import Reference, ReferenceKind, Trace
from srprof.tracing.source import function_name, is_engine_file, is_user_file
from srprof.workload import Workload

#: How deep containers and objects are searched from a variable.
_DEPTH = 4
#: How many items of one container are searched.
_ITEMS = 4096

#: Attributes that every module has: parameters, buffers, children, hooks.
_MODULES_OWN = frozenset(vars(nn.Module()))

_ORDER: dict[ReferenceKind, int] = {
    "local": 0,
    "argument": 1,
    "attribute": 2,
    "global": 3,
    "torch": 4,
    "unknown": 5,
}


class _Stop(BaseException):
    """Ends the second run; not an Exception, so that a model's own handlers let it pass."""


class _Inspector:
    """Watches the second run: notes the stack at births, and looks around at the end."""

    def __init__(self, trace: Trace, node: int, model: nn.Module) -> None:
        self.trace = trace
        self.node = node
        self.model = model
        self.births = {
            s.birth for s in trace.storages if not s.resident and 0 <= s.birth <= node < s.death
        }
        self.lines_at_birth: dict[int, dict[int, int]] = {}
        self.references: dict[int, list[Reference]] = {}
        self.same_run = True

    def __call__(self, recorder: Recorder) -> None:
        index = len(recorder.nodes) - 1
        if recorder.nodes[index].op != self.trace.nodes[index].op:
            self.same_run = False
            raise _Stop
        if index in self.births:
            self.lines_at_birth[index] = {id(f): f.f_lineno for f in _stack()}
        if index == self.node:
            self._look(recorder)
            raise _Stop

    def _look(self, recorder: Recorder) -> None:
        caller: FrameType | None = None
        torch_frames: list[FrameType] = []
        for frame in _stack():
            filename = frame.f_code.co_filename
            if is_user_file(filename):
                for torch_frame in torch_frames:
                    self._look_at_frame(recorder, torch_frame, user=frame)
                torch_frames.clear()
                self._look_at_frame(recorder, frame, user=frame)
                caller = frame
            elif not is_engine_file(filename):
                torch_frames.append(frame)
        for torch_frame in torch_frames:
            self._look_at_frame(recorder, torch_frame, user=caller)
        del caller, torch_frames
        self._look_at_modules(recorder)
        missing = {
            index
            for index, lifetime in enumerate(recorder.lifetimes)
            if lifetime.death < 0
            and lifetime.role == "activation"
            and lifetime.birth != self.node
            and index not in self.references
        }
        if missing:
            self._look_everywhere(recorder, missing)

    def _look_at_frame(self, recorder: Recorder, frame: FrameType, user: FrameType | None) -> None:
        code = frame.f_code
        own = is_user_file(code.co_filename)
        for name, value in list(frame.f_locals.items()):
            for path, tensor in _reach(name, value, skip_modules=True):
                storage = recorder.storage_index(tensor)
                if storage is None:
                    continue
                if own:
                    line, kind = self._binding(frame, path, name, storage)
                    found = Reference(path, function_name(code), code.co_filename, line, kind)
                else:
                    found = _in_torch(path, frame, user)
                self._add(storage, found)

    def _binding(
        self, frame: FrameType, path: str, name: str, storage: int
    ) -> tuple[int, ReferenceKind]:
        """The line where a variable of the frame got the storage."""
        code = frame.f_code
        stores = _store_lines(code).get(name, ())
        birth = self.trace.storages[storage].birth
        born = self.lines_at_birth.get(birth, {}).get(id(frame))
        arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if name in arguments and not stores:
            return code.co_firstlineno, "argument"
        if born is None:  # it came from elsewhere: an argument or an attribute
            if name in arguments:
                return code.co_firstlineno, "argument"
            return min(stores, default=code.co_firstlineno), "local"
        if path != name:
            return born, "local"
        before = [line for line in stores if line <= born]
        return max(before, default=min(stores, default=born)), "local"

    def _look_at_modules(self, recorder: Recorder) -> None:
        for module_path, module in self.model.named_modules():
            for name, value in vars(module).items():
                if name in _MODULES_OWN or isinstance(value, (bool, int, float, str)):
                    continue
                for path, tensor in _reach(f"self.{name}", value, skip_modules=True):
                    storage = recorder.storage_index(tensor)
                    if storage is not None:
                        where = f"{module_path or 'model'} ({type(module).__name__})"
                        self._add(storage, Reference(path, where, "", 0, "attribute"))

    def _look_everywhere(self, recorder: Recorder, missing: set[int]) -> None:
        """Ask the garbage collector who refers to the tensors that no frame names."""
        tensors: dict[int, list[torch.Tensor]] = {}
        for candidate in gc.get_objects():
            if issubclass(type(candidate), torch.Tensor):
                storage = recorder.storage_index(candidate)
                if storage in missing:
                    assert storage is not None
                    tensors.setdefault(storage, []).append(candidate)
        for storage in missing:
            if storage not in tensors:
                self._add(storage, Reference("(inside torch)", "", "", 0, "torch"))
                continue
            self._add(storage, _owner(tensors[storage], self.trace, storage))

    def _add(self, storage: int, reference: Reference) -> None:
        known = self.references.setdefault(storage, [])
        if reference not in known:
            known.append(reference)


def find_references(
    workload: Workload, trace: Trace, node: int
) -> Mapping[int, tuple[Reference, ...]] | None:
    """What references each storage that is alive when the node has ended.

    Returns:
        References by storage index, the user's own variables first; None if the second run did
        not make the same calls, so that nothing can be said.
    """
    model, args, kwargs = workload.instance(trace.device)
    inspector = _Inspector(trace, node, model)
    recorder = Recorder(model, DEVICE_TYPES[trace.device], on_node=inspector)
    recorder.add_inputs(args, kwargs)
    try:
        with recording(recorder):
            call_model(model, args, kwargs)
    except _Stop:
        pass
    except Exception:  # the first run went through: this one is another
        return None
    finally:
        recorder.forget()
    if not inspector.same_run:
        return None
    return {
        storage: tuple(sorted(found, key=lambda r: _ORDER[r.kind]))
        for storage, found in inspector.references.items()
    }


def _stack() -> Iterator[FrameType]:
    """Frames from the innermost to the model's outermost."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not BOUNDARY:
        yield frame
        frame = frame.f_back


def _reach(name: str, value: Any, *, skip_modules: bool, depth: int = _DEPTH) -> Iterator[Any]:
    """Tensors reached from a variable, each with the expression that names it."""
    if isinstance(value, torch.Tensor):
        yield name, value
        return
    if depth == 0 or isinstance(value, (str, bytes, int, float, type, ModuleType, torch.dtype)):
        return
    if isinstance(value, nn.Module) and skip_modules:
        return
    if isinstance(value, (list, tuple, deque)):
        for i, item in zip(range(_ITEMS), value, strict=False):
            yield from _reach(f"{name}[{i}]", item, skip_modules=True, depth=depth - 1)
    elif isinstance(value, (set, frozenset)):
        for item in value:
            yield from _reach(f"{name}{{...}}", item, skip_modules=True, depth=depth - 1)
    elif isinstance(value, Mapping):
        for key, item in zip(list(value)[:_ITEMS], list(value.values()), strict=False):
            yield from _reach(f"{name}[{key!r}]", item, skip_modules=True, depth=depth - 1)
    else:
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict):
            for key, item in list(attributes.items())[:_ITEMS]:
                yield from _reach(f"{name}.{key}", item, skip_modules=True, depth=depth - 1)


@cache
def _store_lines(code: CodeType) -> dict[str, tuple[int, ...]]:
    """Lines on which each variable of a function is bound."""
    found: dict[str, list[int]] = {}
    line = code.co_firstlineno
    for instruction in dis.get_instructions(code):
        starts = instruction.starts_line
        if sys.version_info >= (3, 13):
            line = instruction.line_number or line
        elif starts:
            line = starts
        if instruction.opname.startswith("STORE_"):
            names = instruction.argval
            for name in names if isinstance(names, tuple) else (names,):
                found.setdefault(str(name), []).append(line)
    return {name: tuple(lines) for name, lines in found.items()}


def _in_torch(path: str, frame: FrameType, user: FrameType | None) -> Reference:
    """A variable of torch's own code, at the user's line that called it."""
    code = frame.f_code
    function = function_name(code)
    if function.startswith("Module._"):
        path = "(argument of a module call)"
    if user is None:
        return Reference(path, function, code.co_filename, frame.f_lineno, "torch")
    shown = path if path.startswith("(") else f"{path} (in {function})"
    return Reference(
        shown, function_name(user.f_code), user.f_code.co_filename, user.f_lineno, "torch"
    )


def _owner(tensors: list[torch.Tensor], trace: Trace, storage: int) -> Reference:
    """The nearest named thing that leads to one of the tensors: a global, a class, a closure."""
    module_of = {id(vars(m)): m.__name__ for m in list(sys.modules.values()) if _has_dict(m)}
    seen = {id(tensors)}
    level: list[tuple[Any, str]] = [(tensor, "") for tensor in tensors]
    for _ in range(_DEPTH):
        found: list[tuple[Any, str]] = []
        for thing, suffix in level:
            for referrer in gc.get_referrers(thing):
                if id(referrer) in seen or isinstance(referrer, FrameType) or referrer is level:
                    continue
                seen.add(id(referrer))
                if isinstance(referrer, dict):
                    key = next((k for k, v in list(referrer.items()) if v is thing), None)
                    if id(referrer) in module_of:
                        name = f"{module_of[id(referrer)]}.{key}{suffix}"
                        return Reference(name, "(module global)", "", 0, "global")
                    found.append((referrer, f"[{key!r}]{suffix}"))
                elif isinstance(referrer, type):
                    return Reference(f"{referrer.__qualname__}{suffix}", "(class)", "", 0, "global")
                elif type(referrer).__name__ == "cell":
                    found.append((referrer, suffix))
                elif type(referrer).__name__ == "function":
                    name = f"(closure){suffix}"
                    code = referrer.__code__
                    where = (function_name(code), code.co_filename, code.co_firstlineno)
                    return Reference(name, *where, "global")
                elif isinstance(referrer, (list, tuple, set, deque)):
                    found.append((referrer, f"[...]{suffix}"))
        level = found
    birth = trace.storages[storage].birth
    node = trace.nodes[birth] if birth >= 0 else None
    where = (node.function, node.file, node.line) if node else ("", "", 0)
    return Reference("(a temporary or a reference cycle)", *where, "unknown")


def _has_dict(module: Any) -> bool:
    return isinstance(module, ModuleType)
