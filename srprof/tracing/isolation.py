"""What a run must not change for the caller: torch's global settings, random states, the folder.

A model may set any of them, at import, in its constructor or in `forward`. They hold while the
run lasts, are put back afterwards, and are named, because the model will do the same to its
user's program.
"""

from __future__ import annotations

import gc
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch._C import _len_torch_function_stack
from torch.overrides import _get_current_function_mode_stack, _pop_mode, _push_mode
from torch.utils import _device


class _Setting(NamedTuple):
    """A global that a model may change."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]


def _attribute(owner: Any, name: str, label: str) -> _Setting:
    return _Setting(label, lambda: getattr(owner, name), lambda value: setattr(owner, name, value))


def _settings() -> list[_Setting]:
    cudnn = torch.backends.cudnn
    return [
        _Setting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
        _Setting("torch's default device", _read_default_device, _write_default_device),
        _Setting("torch's grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
        _Setting("torch's thread count", torch.get_num_threads, torch.set_num_threads),
        _Setting(
            "torch.use_deterministic_algorithms",
            torch.get_deterministic_debug_mode,
            torch.set_deterministic_debug_mode,
        ),
        _Setting(
            "torch's anomaly mode",
            lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
            lambda value: torch.set_anomaly_enabled(*value),
        ),
        _Setting(
            "torch's float32 matmul precision",
            torch.get_float32_matmul_precision,
            torch.set_float32_matmul_precision,
        ),
        _attribute(cudnn, "enabled", "torch.backends.cudnn.enabled"),
        _attribute(cudnn, "benchmark", "torch.backends.cudnn.benchmark"),
        _attribute(cudnn, "deterministic", "torch.backends.cudnn.deterministic"),
        _attribute(cudnn, "allow_tf32", "torch.backends.cudnn.allow_tf32"),
        _attribute(torch.backends.cuda.matmul, "allow_tf32", "TF32 in matrix products"),
        _Setting("the current folder", os.getcwd, os.chdir),
        _Setting("Python's recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    ]


class _DefaultDevice(NamedTuple):
    """Where tensors are made without `device=`, and the modes of torch that see to it."""

    context: Any
    modes: tuple[Any, ...]
    current: Any

    def __str__(self) -> str:
        return str(self.current)


def _read_default_device() -> _DefaultDevice:
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    modes = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return _DefaultDevice(context, tuple(modes), _device.CURRENT_DEVICE)


def _write_default_device(value: _DefaultDevice) -> None:
    """Put the modes themselves back.

    `torch.set_default_device` inside `with torch.device(...)` takes the wrong one off the stack.
    """
    while _len_torch_function_stack():
        _pop_mode()  # type: ignore[no-untyped-call]
    for mode in value.modes:
        _push_mode(mode)  # type: ignore[no-untyped-call]
    torch._GLOBAL_DEVICE_CONTEXT.device_context = value.context
    _device.CURRENT_DEVICE = value.current


@contextmanager
def replaced(patches: Iterable[tuple[Any, str, Any]]) -> Iterator[None]:
    """Put each third in the place of an owner's attribute, and the old ones back at the end."""
    before = []
    try:
        for owner, name, new in patches:
            before.append((owner, name, getattr(owner, name)))
            setattr(owner, name, new)
        yield
    finally:
        for owner, name, old in reversed(before):
            setattr(owner, name, old)


@contextmanager
def isolated(notes: list[str]) -> Iterator[None]:
    """Put everything back at the end, and add a line to `notes` for each setting that changed.

    Random states are put back silently. Python's garbage collector rests meanwhile: what it
    frees and when depends on the recorder's own allocations, and would make lifetimes random.
    """
    settings = _settings()
    before = [setting.read() for setting in settings]
    python_state = random.getstate()
    numpy = sys.modules.get("numpy")
    numpy_state = numpy.random.get_state() if numpy is not None else None
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    collecting = gc.isenabled()
    known = len(sys.modules)
    gc.disable()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        if collecting:
            if len(sys.modules) != known:
                gc.collect()  # what those imports left behind; now, not in the caller's next lines
            gc.enable()
        random.setstate(python_state)
        if numpy is not None:
            numpy.random.set_state(numpy_state)
        for setting, value in zip(settings, before, strict=True):
            now = setting.read()
            if now != value:
                setting.write(value)
                notes.append(f"the model set {setting.name} to {now}; srprof put it back")
