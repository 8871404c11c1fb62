"""The caller's settings: a row for each that a network may change, with how it is put back.

They are global to torch, to Python or to the process. A network may change any of them, at import,
in its constructor or in `forward`: it holds while the run lasts, is put back afterwards, and is
named, because the network will do the same to its user's program.
"""

from __future__ import annotations

import builtins
import gc
import locale
import logging
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import _tensor_str
from torch._C import _len_torch_function_stack
from torch.nn.modules import module as module_hooks
from torch.overrides import _get_current_function_mode_stack, _pop_mode, _push_mode
from torch.utils import _device, deterministic

from srprof.blame import is_installed
from srprof.errors import user_raised
from srprof.running import surely
from srprof.words import some


class Setting(NamedTuple):
    """A global that a network may change.

    Attributes:
        name: in the user's words. read, write: give it, and put a value of it back.
        follows: settings with which it changes, and is not named again.
        tell: what was done to it, in words, from the values before and after; None says
            "set NAME to VALUE".
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]
    follows: tuple[str, ...] = ()
    tell: Callable[[Any, Any], str] | None = None

    def told(self, before: Any, after: Any) -> str:
        """The note on a value that it had at the end of a run."""
        what = f"set {self.name} to {after}" if self.tell is None else self.tell(before, after)
        return f"the model {what}; srprof put it back"


def settings() -> list[Setting]:
    """All of them, in the order in which they are put back."""
    return [
        *_of_signals(),  # whose handlers may raise wherever the rest is put back
        *_of_torch(),
        *_of_autocast(),
        *_precisions(),
        *_of_numpy(),
        *_of_python(),
        *_of_the_process(),
    ]


#: Stands for a setting that torch refuses to read.
_UNREADABLE = object()


def read(setting: Setting) -> Any:
    """Its value now."""
    try:
        return setting.read()
    except (RuntimeError, OSError):  # of the current folder, that it has been deleted
        return _UNREADABLE


def put_back(rows: list[Setting], before: list[Any]) -> list[str]:
    """Restore what changed; gives a line for each setting that the network changed by itself."""
    after = list(map(read, rows))
    changed = {
        setting.name: setting.told(old, value)
        for setting, old, value in zip(rows, before, after, strict=True)
        if value is not _UNREADABLE and not _equal(value, old)
    }
    surely(
        partial(_restore, setting, old, changed)
        for setting, old in zip(rows, before, strict=True)
        if old is not _UNREADABLE
    )
    return [
        changed[setting.name]
        for setting in rows
        if setting.name in changed and changed.keys().isdisjoint(setting.follows)
    ]


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are equal; a network's own comparison may raise, and says nothing then."""
    try:
        return bool(one == other)
    except user_raised():
        return one is other


def _restore(setting: Setting, old: Any, changed: dict[str, str]) -> None:
    if _equal(read(setting), old):  # others may have changed it back
        return
    try:
        setting.write(old)
    except (OSError, ValueError):  # a folder that has been deleted; a handler, in another thread
        changed.pop(setting.name, None)


def _attribute(owner: Any, name: str, label: str, follows: tuple[str, ...] = ()) -> Setting:
    return Setting(label, lambda: getattr(owner, name), partial(setattr, owner, name), follows)


def _get_and_set(label: str, name: str) -> Setting:
    """A setting of `torch.get_NAME` and `torch.set_NAME`."""
    return Setting(label, getattr(torch, f"get_{name}"), getattr(torch, f"set_{name}"))


def _changed(name: str) -> Callable[[Any, Any], str]:
    """What is said of a setting whose value is too long to be shown."""
    return lambda before, after: f"changed {name}"


def _of_torch() -> Iterator[Setting]:
    backends, cuda, future = torch.backends, torch.backends.cuda, torch.__future__
    yield _get_and_set("torch's default dtype", "default_dtype")
    yield Setting("torch's default device", _read_default_device, _write_default_device)
    yield Setting("torch's grad mode", torch.is_grad_enabled, torch.set_grad_enabled)
    yield _get_and_set("torch's thread count", "num_threads")
    yield _get_and_set("torch.use_deterministic_algorithms", "deterministic_debug_mode")
    yield _attribute(
        deterministic,
        "fill_uninitialized_memory",
        "torch.utils.deterministic.fill_uninitialized_memory",
    )
    yield Setting(
        "torch's anomaly mode",
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda value: torch.set_anomaly_enabled(*value),
    )
    yield Setting(
        "torch.autograd's multithreading",
        torch._C._is_multithreading_enabled,
        torch._C._set_multithreading_enabled,
    )
    yield Setting("torch.set_warn_always", torch.is_warn_always_enabled, torch.set_warn_always)
    yield _get_and_set("torch's float32 matmul precision", "float32_matmul_precision")
    for path, names in _SWITCHES.items():
        owner = attrgetter(path)(backends)
        for name in filter(partial(_has, owner), names.split()):
            yield _attribute(owner, name, f"torch.backends.{path}.{name}")
    for kind in ("flash", "mem_efficient", "math", "cudnn"):
        is_on = getattr(cuda, f"{kind}_sdp_enabled", None)
        switch = getattr(cuda, f"enable_{kind}_sdp", None)
        if is_on and switch:
            yield Setting(f"torch.backends.cuda.enable_{kind}_sdp", is_on, switch)
    yield Setting(
        "torch.backends.mha.set_fastpath_enabled",
        backends.mha.get_fastpath_enabled,
        backends.mha.set_fastpath_enabled,
    )
    for name in ("overwrite_module_params_on_conversion", "swap_module_params_on_conversion"):
        yield Setting(
            f"torch.__future__.set_{name}",
            getattr(future, f"get_{name}"),
            getattr(future, f"set_{name}"),
        )
    yield Setting(
        "torch's print options",
        lambda: dict(vars(_tensor_str.PRINT_OPTS)),
        lambda old: vars(_tensor_str.PRINT_OPTS).update(old),
        tell=_changed("torch's print options (torch.set_printoptions)"),
    )
    yield Setting(
        "hooks of all modules",
        _read_hooks,
        _write_hooks,
        tell=_changed("the hooks of all modules (torch.nn.modules.module.register_module_...)"),
    )


_SWITCHES = {
    "cudnn": "enabled benchmark benchmark_limit deterministic allow_tf32",
    "cuda.matmul": "allow_tf32 allow_fp16_reduced_precision_reduction "
    "allow_bf16_reduced_precision_reduction allow_fp16_accumulation",
    "mkldnn": "enabled deterministic allow_tf32",
    "nnpack": "enabled",
    "opt_einsum": "enabled strategy",
    "quantized": "engine",
}


def _has(owner: Any, name: str) -> bool:
    try:
        return hasattr(owner, name)
    except (AssertionError, RuntimeError):  # what torch raises for an attribute it does not know
        return False


def _precisions() -> Iterator[Setting]:
    """The switches of TF32 that torch has had since 2.9, from the general to the special.

    They are put back after the older ones, which write to them. Where one of the two kinds was
    used, torch refuses to read the other.
    """
    backends = torch.backends
    all_of_them = ("torch.backends.fp32_precision",)
    cuda = "torch.backends.cudnn.fp32_precision"  # torch lets it hold for matrix products too
    cpu = "torch.backends.mkldnn.allow_tf32"
    older = {
        "cuda.matmul": ("torch.backends.cuda.matmul.allow_tf32", cuda),
        "mkldnn": (cpu,),
        "mkldnn.matmul": ("torch's float32 matmul precision", cpu),
        "mkldnn.conv": (cpu,),
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


def _of_autocast() -> Iterator[Setting]:
    for device in ("cpu", "cuda"):
        region = f'torch.autocast("{device}")'
        yield Setting(
            region,
            partial(torch.is_autocast_enabled, device),
            partial(torch.set_autocast_enabled, device),
        )
        yield Setting(
            f"the dtype of {region}",
            partial(torch.get_autocast_dtype, device),
            partial(torch.set_autocast_dtype, device),
        )
    yield Setting(
        "torch.autocast's cache",
        torch.is_autocast_cache_enabled,
        torch.set_autocast_cache_enabled,
    )
    yield Setting(
        "the depth of torch.autocast's regions",
        _read_nesting,
        _write_nesting,
        ('torch.autocast("cpu")', 'torch.autocast("cuda")'),
    )


def _read_nesting() -> int:
    torch.autocast_increment_nesting()
    return int(torch.autocast_decrement_nesting())


def _write_nesting(depth: int) -> None:
    while _read_nesting() > depth:
        torch.autocast_decrement_nesting()
    while _read_nesting() < depth:
        torch.autocast_increment_nesting()
    if not depth:
        torch.clear_autocast_cache()


#: torch's tables of hooks that all modules have.
_HOOK_TABLES = [
    name
    for name, table in vars(module_hooks).items()
    if name.startswith("_global_") and isinstance(table, dict)
]


def _read_hooks() -> dict[str, dict[int, Any]]:
    return {name: dict(getattr(module_hooks, name)) for name in _HOOK_TABLES}


def _write_hooks(tables: dict[str, dict[int, Any]]) -> None:
    for name, hooks in tables.items():
        table = getattr(module_hooks, name)
        table.clear()
        table.update(hooks)


def _of_numpy() -> Iterator[Setting]:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return
    yield Setting(
        "numpy.seterr",
        numpy.geterr,
        lambda old: numpy.seterr(**old),
        tell=lambda before, after: f"changed numpy.seterr ({_differing(before, after)})",
    )
    yield Setting(
        "numpy's print options",
        numpy.get_printoptions,
        lambda old: numpy.set_printoptions(**old),
        tell=_changed("numpy's print options (numpy.set_printoptions)"),
    )


class _Frozen:
    """Whether objects are out of the garbage collector's sight.

    Python counts them one by one, hundreds of thousands in a program that has frozen itself, where
    a network's own freezing cannot be told apart: once there are some, it is not asked again.
    """

    _known = False

    @classmethod
    def read(cls) -> bool:
        cls._known = cls._known or gc.get_freeze_count() > 0
        return cls._known

    @classmethod
    def put_back(cls, was: bool) -> None:
        if not was:
            gc.unfreeze()
            cls._known = False


def _of_python() -> Iterator[Setting]:
    yield Setting("Python's recursion limit", sys.getrecursionlimit, sys.setrecursionlimit)
    yield Setting("Python's switch interval", sys.getswitchinterval, sys.setswitchinterval)
    yield Setting(
        "the thresholds of Python's garbage collector (gc.set_threshold)",
        gc.get_threshold,
        lambda old: gc.set_threshold(*old),
    )
    yield Setting(
        "gc.freeze",
        _Frozen.read,
        _Frozen.put_back,
        tell=lambda _before, _after: "called gc.freeze()",
    )
    yield Setting(
        "Python's warning filters",
        _Filters,
        _Filters.put_back,
        tell=_changed("Python's warning filters (warnings.filterwarnings)"),
    )
    yield _attribute(logging.root.manager, "disable", "logging.disable")
    yield Setting(
        "the root logger",
        lambda: (logging.root.level, list(logging.root.handlers)),
        _write_root_logger,
        tell=_changed("the root logger (logging.basicConfig)"),
    )
    hooks = {sys: ("excepthook", "unraisablehook", "displayhook"), threading: ("excepthook",)}
    for module, names in hooks.items():
        for name in names:
            full = f"{module.__name__}.{name}"
            yield _attribute(module, name, full)._replace(tell=_changed(full))
    yield Setting(
        "builtins",
        _read_builtins,
        vars(builtins).update,
        tell=lambda before, after: f"replaced {_differing(before, after)} in builtins",
    )
    for name in ("argv", "path"):
        yield Setting(
            f"sys.{name}",
            partial(_read_list, name),
            partial(_write_list, name),
            tell=_changed(f"sys.{name}"),
        )


def _read_builtins() -> dict[str, Any]:
    """Those that Python has; what else is put there is in nobody's way."""
    return dict(zip(_BUILTINS, map(vars(builtins).get, _BUILTINS), strict=True))


_BUILTINS = [name for name in vars(builtins) if name != "_"]  # where Python shows a last result


class _Filters:
    """The list of Python's warning filters, and what is in it."""

    def __init__(self) -> None:
        self.filters = warnings.filters
        self.content = list(warnings.filters)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Filters):
            return False
        if self.filters is not other.filters and threading.active_count() > 1:
            return True  # one is of a `warnings.catch_warnings` of another thread
        one, another = ([f for f in its.content if not _is_librarys(f)] for its in (self, other))
        return one == another

    __hash__ = None  # type: ignore[assignment]  # it is compared, and no key

    def put_back(self) -> None:
        more = [f for f in warnings.filters if _is_librarys(f) and f not in self.content]
        self.filters[:] = [*more, *self.content]  # type: ignore[index]  # a list
        warnings.filters = self.filters
        getattr(warnings, "_filters_mutated", lambda: None)()


def _is_librarys(entry: Any) -> bool:
    """Whether a filter is of a kind of warning that a library has, which added it when imported."""
    home = getattr(sys.modules.get(entry[2].__module__), "__file__", None)
    return home is not None and is_installed(home)


def _write_root_logger(old: tuple[int, list[logging.Handler]]) -> None:
    level, handlers = old
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def _read_list(name: str) -> tuple[Any, list[str]]:
    its = getattr(sys, name, None)  # a network may have put anything there
    return its, list(its) if isinstance(its, list) else []


def _write_list(name: str, old: tuple[Any, list[str]]) -> None:
    its, content = old
    if isinstance(its, list):
        its[:] = content
    setattr(sys, name, its)


def _of_signals() -> Iterator[Setting]:
    # timers first: their signals end the process where they have no handler
    yield Setting(
        "timers of signals",
        _read_timers,
        _write_timers,
        tell=lambda before, after: f"changed the timer {_differing(before, after)}",
    )
    yield Setting(
        "signal handlers",
        _read_handlers,
        _write_handlers,
        tell=lambda before, after: f"changed the handler of {_differing(before, after)}",
    )


def _of_the_process() -> Iterator[Setting]:
    yield Setting("the current folder", os.getcwd, os.chdir)
    yield _attribute(os, "environ", "os.environ")._replace(tell=_changed("os.environ"))
    yield Setting(
        "the environment",
        _read_environment,
        _write_environment,
        tell=lambda before, after: f"set {_differing(before, after)} in the environment",
    )
    yield Setting(
        "the umask", _read_umask, os.umask, tell=lambda _, new: f"set the umask to {new:03o}"
    )
    yield Setting(
        "the locale",
        partial(locale.setlocale, locale.LC_ALL),
        partial(locale.setlocale, locale.LC_ALL),
    )
    if resource is not None:
        yield Setting(
            "limits of the process (resource.setrlimit)",
            _read_limits,
            _write_limits,
            tell=lambda before, after: f"changed the limit {_differing(before, after)}",
        )


def _read_limits() -> dict[str, tuple[int, int]]:
    assert resource is not None
    return {name: resource.getrlimit(getattr(resource, name)) for name in _LIMITS}


def _write_limits(old: Mapping[str, tuple[int, int]]) -> None:
    assert resource is not None
    for name, now in _read_limits().items():
        if now != old[name]:
            resource.setrlimit(getattr(resource, name), old[name])


try:
    import resource
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment]
_LIMITS = [name for name in dir(resource) if name.startswith("RLIMIT_")]


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The names whose values are others, or that only one of them has."""
    names = sorted(before.keys() | after.keys())
    return some([name for name in names if before.get(name) != after.get(name)], 3)


#: Variables that torch sets when it compiles something, to what it would find without them.
_OF_TORCH = {"TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"}


#: A network may put something else in its place.
_ENVIRONMENT = os.environ


def _read_environment() -> dict[str, str]:
    return {name: value for name, value in _ENVIRONMENT.items() if name not in _OF_TORCH}


def _write_environment(old: Mapping[str, str]) -> None:
    for name in _read_environment().keys() - old.keys():
        del _ENVIRONMENT[name]
    _ENVIRONMENT.update(old)


def _read_umask() -> int:
    old = os.umask(0o077)  # nobody can only read it; files of other threads stay private meanwhile
    os.umask(old)
    return old


def _read_timers() -> dict[str, tuple[bool, float]]:
    """By name, whether a timer runs, and the seconds between its rings."""
    timers = {name: signal.getitimer(getattr(signal, name)) for name in _TIMERS}
    return {name: (left > 0, interval) for name, (left, interval) in timers.items()}


def _write_timers(old: Mapping[str, tuple[bool, float]]) -> None:
    for name, now in _read_timers().items():
        runs, interval = old[name]
        if now != old[name] and not (runs and not interval):  # how much of one ring was left?
            signal.setitimer(getattr(signal, name), interval, interval)


_TIMERS = [name for name in dir(signal) if re.fullmatch("ITIMER_(REAL|VIRTUAL|PROF)", name)]


def _read_handlers() -> dict[str, Any]:
    return {number.name: signal.getsignal(number) for number in signal.Signals}


def _write_handlers(old: Mapping[str, Any]) -> None:
    for name, handler in old.items():
        number = signal.Signals[name]
        if handler is not None and signal.getsignal(number) != handler:
            signal.signal(number, handler)
