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
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch._C import _len_torch_function_stack
from torch.overrides import _get_current_function_mode_stack, _pop_mode, _push_mode
from torch.utils import _device

from srprof.copying import hooks_copied


class _Setting(NamedTuple):
    """A global that a model may change; it changes with those that `follows` names."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]
    follows: tuple[str, ...] = ()


def _attribute(owner: Any, name: str, label: str, follows: tuple[str, ...] = ()) -> _Setting:
    return _Setting(
        label, lambda: getattr(owner, name), lambda value: setattr(owner, name, value), follows
    )


def _get_and_set(label: str, name: str) -> _Setting:
    """A setting of `torch.get_NAME` and `torch.set_NAME`."""
    return _Setting(label, getattr(torch, f"get_{name}"), getattr(torch, f"set_{name}"))


def _settings() -> list[_Setting]:
    cuda = torch.backends.cuda
    return [
        _get_and_set("torch's default dtype", "default_dtype"),
        _Setting("torch's default device", _read_default_device, _write_default_device),
        _Setting("torch's grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
        _get_and_set("torch's thread count", "num_threads"),
        _get_and_set("torch.use_deterministic_algorithms", "deterministic_debug_mode"),
        _Setting(
            "torch's anomaly mode",
            lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
            lambda value: torch.set_anomaly_enabled(*value),
        ),
        _get_and_set("torch's float32 matmul precision", "float32_matmul_precision"),
        *(
            _attribute(owner, name, f"torch.backends.{path}.{name}")
            for path, names in _SWITCHES.items()
            for owner in [attrgetter(path)(torch.backends)]
            for name in names.split()
            if _has(owner, name)
        ),
        *(
            _Setting(f"torch.backends.cuda.enable_{kind}_sdp", read, write)
            for kind in ("flash", "mem_efficient", "math", "cudnn")
            if (read := getattr(cuda, f"{kind}_sdp_enabled", None))
            and (write := getattr(cuda, f"enable_{kind}_sdp", None))
        ),
        _Setting(
            "torch.backends.mha.set_fastpath_enabled",
            torch.backends.mha.get_fastpath_enabled,
            torch.backends.mha.set_fastpath_enabled,
        ),
        *_precisions(),
        _Setting("the current folder", os.getcwd, os.chdir),
        _Setting("Python's recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    ]


_SWITCHES = {
    "cudnn": "enabled benchmark benchmark_limit deterministic allow_tf32",
    "cuda.matmul": "allow_tf32 allow_fp16_reduced_precision_reduction "
    "allow_bf16_reduced_precision_reduction allow_fp16_accumulation",
}


def _has(owner: Any, name: str) -> bool:
    try:
        return hasattr(owner, name)
    except (AssertionError, RuntimeError):  # what torch raises for an attribute it does not know
        return False


def _precisions() -> Iterator[_Setting]:
    """The switches of TF32 that torch has had since 2.9, from the general to the special.

    They are put back after the older ones, which write to them. Where one of the two kinds was
    used, torch refuses to read the other.
    """
    backends = torch.backends
    all_of_them = ("torch.backends.fp32_precision",)
    cuda = "torch.backends.cudnn.fp32_precision"  # torch lets it hold for matrix products too
    older = {
        "cuda.matmul": ("torch.backends.cuda.matmul.allow_tf32", cuda),
        "mkldnn.matmul": ("torch's float32 matmul precision",),
        "cudnn.conv": ("torch.backends.cudnn.allow_tf32", cuda),
        "cudnn.rnn": ("torch.backends.cudnn.allow_tf32", cuda),
    }
    if not _has(backends, "fp32_precision"):
        return
    yield _attribute(backends, "fp32_precision", all_of_them[0])
    paths = "cuda.matmul cudnn cudnn.conv cudnn.rnn mkldnn mkldnn.matmul mkldnn.conv".split()
    for path in paths:
        follows = (*all_of_them, *older.get(path, ()))
        owner = attrgetter(path)(backends)
        yield _attribute(owner, "fp32_precision", f"torch.backends.{path}.fp32_precision", follows)


#: Stands for a setting that torch refuses to read.
_UNREADABLE = object()


def _read(setting: _Setting) -> Any:
    try:
        return setting.read()
    except (RuntimeError, OSError):  # of the current folder, that it has been deleted
        return _UNREADABLE


def _put_back(settings: list[_Setting], before: list[Any]) -> list[str]:
    """Restore what changed; gives a line for each setting that the model changed by itself."""
    after = map(_read, settings)
    changed = {
        setting.name: value
        for setting, old, value in zip(settings, before, after, strict=True)
        if value != old
    }
    for setting, old in zip(settings, before, strict=True):
        if old is not _UNREADABLE and _read(setting) != old:  # others may have changed it back
            try:
                setting.write(old)
            except OSError:  # a folder that has been deleted
                changed.pop(setting.name, None)
    return [
        f"the model set {setting.name} to {changed[setting.name]}; srprof put it back"
        for setting in settings
        if setting.name in changed
        and changed[setting.name] is not _UNREADABLE
        and not any(changed.get(name, _UNREADABLE) is not _UNREADABLE for name in setting.follows)
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
    modes = _get_current_function_mode_stack()
    return _DefaultDevice(context, tuple(modes), _device.CURRENT_DEVICE)


def _write_default_device(value: _DefaultDevice) -> None:
    # not by `torch.set_default_device`, which takes the wrong one off the stack inside a `with`
    while _len_torch_function_stack():
        _pop_mode()
    for mode in value.modes:
        _push_mode(mode)
    torch._GLOBAL_DEVICE_CONTEXT.device_context = value.context
    _device.CURRENT_DEVICE = value.current


#: Stands for an attribute that a class has from its bases.
_INHERITED = object()


@contextmanager
def replaced(patches: Iterable[tuple[Any, str, Any]]) -> Iterator[None]:
    """Put each third in the place of an owner's attribute, and the old ones back at the end."""
    before = []
    try:
        for owner, name, new in patches:
            inherited = isinstance(owner, type) and name not in vars(owner)
            before.append((owner, name, _INHERITED if inherited else getattr(owner, name)))
            setattr(owner, name, new)
        yield
    finally:
        for owner, name, old in reversed(before):
            if old is _INHERITED:
                delattr(owner, name)
            else:
                setattr(owner, name, old)


@contextmanager
def collector_resting() -> Iterator[None]:
    """Python's garbage collector rests: a large graph is many objects, each of which is needed.

    It would look at all of torch each time that there are some more, and find nothing.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@contextmanager
def isolated(notes: list[str]) -> Iterator[None]:
    """Put everything back at the end, and add a line to `notes` for each setting that changed.

    Random states are put back silently. Python's garbage collector rests meanwhile: what it
    frees and when depends on the recorder's own allocations, and would make lifetimes random.
    """
    settings = _settings()
    before = list(map(_read, settings))
    python_state = random.getstate()
    numpy = sys.modules.get("numpy")
    numpy_state = numpy.random.get_state() if numpy is not None else None
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    collecting = gc.isenabled()
    known = len(sys.modules)
    gc.disable()
    try:
        with torch.random.fork_rng(devices=devices), hooks_copied():
            yield
    finally:
        if collecting:
            if len(sys.modules) != known:
                gc.collect()  # what those imports left behind; now, not in the caller's next lines
            gc.enable()
        random.setstate(python_state)
        if numpy is not None:
            numpy.random.set_state(numpy_state)
        notes.extend(_put_back(settings, before))
