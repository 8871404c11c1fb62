"""Copies of a caller's model that share nothing with it, and his containers as they were.

`copy.deepcopy` takes functions for constants: a hook's copy would write into the list that the
caller's own hook fills, and a feature extractor's into the caller's model. Here what a function
closes over is copied with it. What it finds by global names cannot be; it is put back. Results
that `functools.lru_cache` keeps are forgotten, before the run as after it: they are of other
devices.
"""

from __future__ import annotations

import copy
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import _lru_cache_wrapper, partial
from itertools import islice
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as hooks
from torch.utils._python_dispatch import _disable_current_modes

from srprof.blame import first_line, is_engine_file, is_user_file
from srprof.errors import InputError, user_raised
from srprof.networks import named_modules
from srprof.running import in_run, reserved

#: How deep, and how many items of one container, are looked at for what a run could change.
_DEPTH, _ITEMS = 3, 4096
#: Elements of a tensor whose values are kept to be put back.
_SMALL = 2**16
_CONTAINERS = (list, dict, set, deque)
_CODE = (FunctionType, MethodType, partial, _lru_cache_wrapper)
#: torch's hooks of all modules.
_GLOBAL_HOOKS = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")


def copied(value: Any, memo: dict[int, Any]) -> Any:
    """`copy.deepcopy`, with functions and all that they close over, and tensors with a history."""
    dispatch: dict[type, Any] = copy._deepcopy_dispatch  # type: ignore[attr-defined]
    kinds = {FunctionType: _copy_function, torch.Tensor: _copy_tensor}
    with reserved():
        before = {kind: dispatch.get(kind) for kind in kinds}
        dispatch.update(kinds)
        try:
            return copy.deepcopy(value, memo)
        finally:
            for kind, copier in before.items():
                if copier is None:
                    dispatch.pop(kind, None)
                else:
                    dispatch[kind] = copier


def copied_model(model: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A copy of a caller's model, with what `memo` has in the place of its parts.

    Raises:
        InputError: something in it cannot be copied.
    """
    try:
        twin: nn.Module = copied(model, memo)
    except user_raised() as error:
        why = f"{type(error).__name__}: {first_line(error)}"
        raise InputError(
            f"the model cannot be copied ({why}), and srprof does not run the caller's own; give a "
            "SPEC (file.py:Factory) so that it can build one"
        ) from error
    return twin


def copied_or_kept(value: Any, memo: dict[int, Any]) -> Any:
    """A copy; the thing itself where there can be none, as of a module, a lock, an open file."""
    known = len(memo)
    try:
        return copied(value, memo)
    except user_raised():
        for half_made in list(memo)[known:]:
            del memo[half_made]
        return value


def _copy_tensor(tensor: torch.Tensor, memo: dict[int, Any]) -> torch.Tensor:
    if tensor.is_leaf or not in_run():  # another thread's copy, made meanwhile
        twin: torch.Tensor = tensor.__deepcopy__(memo)
        return twin
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


def _copy_function(function: FunctionType, memo: dict[int, Any]) -> FunctionType:
    own = function.__closure__ or function.__defaults__ or function.__kwdefaults__
    users = is_user_file(function.__code__.co_filename) and in_run()
    if not (own or vars(function)) or not users:
        return function
    cells = tuple(memo.setdefault(id(cell), CellType()) for cell in function.__closure__ or ())
    twin = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, cells
    )
    memo[id(function)] = twin  # it may close over itself
    for cell, empty in zip(function.__closure__ or (), cells, strict=True):
        try:
            empty.cell_contents  # noqa: B018  (filled for another function of the same scope)
        except ValueError:
            _fill(empty, cell, memo)
    twin.__defaults__ = copied_or_kept(function.__defaults__, memo)
    twin.__kwdefaults__ = copied_or_kept(function.__kwdefaults__, memo)
    twin.__qualname__, twin.__module__ = function.__qualname__, function.__module__
    vars(twin).update({key: copied_or_kept(value, memo) for key, value in vars(function).items()})
    return twin


def _fill(empty: CellType, cell: CellType, memo: dict[int, Any]) -> None:
    try:
        contents = cell.cell_contents
    except ValueError:  # a variable that has no value yet
        return
    empty.cell_contents = copied_or_kept(contents, memo)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put back what the code of a caller's model changes of his globals, classes and hooks."""
    kept = _Kept()
    with _disable_current_modes():
        for _, module in named_modules(model):
            kept.keep_class(type(module))
            for value in list(vars(module).values()):
                for item in value.values() if isinstance(value, dict) else (value,):
                    if isinstance(item, _CODE):
                        kept.keep_code(item)
    try:
        yield
    finally:
        with _disable_current_modes():
            kept.put_back()


@contextmanager
def hooks_copied() -> Iterator[None]:
    """Copies of the hooks that the program has on all modules, in their place; not of our own."""
    tables = [getattr(hooks, f"_global_{name}") for name in _GLOBAL_HOOKS]
    before = [dict(table) for table in tables]
    memo: dict[int, Any] = {}
    try:
        for table in tables:
            users = {key: hook for key, hook in table.items() if not _is_ours(hook)}
            table.update({key: _of_the_run(hook, memo) for key, hook in users.items()})
        yield
    finally:
        for table, old in zip(tables, before, strict=True):
            table.update({key: hook for key, hook in old.items() if key in table})


def _of_the_run(hook: Any, memo: dict[int, Any]) -> Any:
    """A hook that is a copy for the threads of the run, and itself for all others."""
    copy_of_it = copied_or_kept(hook, memo)

    def called(*args: Any, **kwargs: Any) -> Any:
        return (copy_of_it if in_run() else hook)(*args, **kwargs)

    return called


class _Kept:
    """The things that code can change, as they were."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._containers: list[tuple[Any, Any]] = []
        self._own: set[int] = set()  # those of a function, put back only of tensors
        self._bindings: list[tuple[Any, str, Any]] = []  # of modules' globals and of classes
        self._tensors: list[tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]] = []
        self._caches: list[_lru_cache_wrapper[Any]] = []

    def keep_class(self, cls: type) -> None:
        """The attributes of a user's class, and what its methods name."""
        for base in cls.__mro__:
            if id(base) in self._seen or not is_users(base):
                continue
            self._seen.add(id(base))
            for name, value in list(vars(base).items()):
                function = getattr(value, "__func__", getattr(value, "fget", value))
                if isinstance(function, (FunctionType, _lru_cache_wrapper)):
                    self.keep_code(function)
                elif not name.startswith("__"):
                    self._bindings.append((base, name, value))
                    self._keep(value, _DEPTH)

    def keep_code(self, value: Any) -> None:
        """What a function finds by global names, closes over or has for defaults."""
        if isinstance(value, partial):
            value = value.func
        if isinstance(value, MethodType):
            self.keep_class(type(value.__self__))
            value = value.__func__
        if isinstance(value, _lru_cache_wrapper):
            value.cache_clear()
            self._caches.append(value)
            value = value.__wrapped__
        if not isinstance(value, FunctionType) or id(value) in self._seen:
            return
        self._seen.add(id(value))
        if is_user_file(value.__code__.co_filename):
            self._keep_names(value.__globals__, set(_names(value.__code__)))
            defaults = *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()
            for own in (vars(value), *defaults, *_closed_over(value)):
                self._own.add(id(own))
                self._keep_value(own)

    def _keep_names(self, scope: dict[str, Any], names: set[str]) -> None:
        for name in names & scope.keys():
            value = scope[name]
            self._bindings.append((scope, name, value))
            if isinstance(value, ModuleType):
                if is_user_file(getattr(value, "__file__", None) or "<frozen"):
                    self._keep_names_once(value, names)
            elif isinstance(value, type):
                self.keep_class(value)
            else:
                self._keep_value(value)

    def _keep_value(self, value: Any) -> None:
        if isinstance(value, _CODE):
            self.keep_code(value)
        else:
            self._keep(value, _DEPTH)

    def _keep_names_once(self, module: ModuleType, names: set[str]) -> None:
        if id(module) not in self._seen:
            self._seen.add(id(module))
            self._keep_names(vars(module), names)

    def _keep(self, value: Any, depth: int) -> None:
        if isinstance(value, torch.Tensor):
            self._keep_tensor(value)
            return
        own = vars(value) if is_users(type(value)) and hasattr(value, "__dict__") else None
        inside = value if isinstance(value, _CONTAINERS) else own
        if inside is None or id(inside) in self._seen or not depth:
            return
        self._seen.add(id(inside))
        self._containers.append((inside, copy.copy(inside)))
        for item in list(islice(items_of(inside), _ITEMS)):
            self._keep(item, depth - 1)

    def _keep_tensor(self, tensor: torch.Tensor) -> None:
        if id(tensor) in self._seen or tensor.device.type == "meta":
            return
        self._seen.add(id(tensor))
        small = tensor.layout is torch.strided and tensor.numel() <= _SMALL
        gradient = tensor.grad if tensor.is_leaf else None
        self._tensors.append((tensor, gradient, tensor.detach().clone() if small else None))

    def put_back(self) -> None:
        """Undo what has changed since."""
        for cache in self._caches:
            cache.cache_clear()
        for scope, name, value in self._bindings:
            if isinstance(scope, dict):
                scope[name] = value
            elif vars(scope).get(name) is not value:
                setattr(scope, name, value)
        for container, before in self._containers:
            if id(container) in self._own and not _has_tensors(container):
                continue  # through which somebody may look into a run
            if isinstance(container, (list, deque)):
                if len(container) != len(before) or any(map(_is_other, container, before)):
                    container.clear()
                    container.extend(before)
            else:
                container.clear()
                container.update(before)
        for tensor, gradient, values in self._tensors:
            if tensor.is_leaf and tensor.grad is not gradient:
                tensor.grad = gradient
            if values is not None and not torch.equal(tensor, values):
                with torch.no_grad():
                    tensor.copy_(values)


def _closed_over(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # a variable that has no value yet
            yield cell.cell_contents


def _has_tensors(container: Any) -> bool:
    """Whether a tensor is in it, or in one of the first containers inside, each looked at once."""
    seen: set[int] = set()
    ahead = [container]
    while ahead and len(seen) < _ITEMS:
        value = ahead.pop()
        if isinstance(value, torch.Tensor):
            return True
        if id(value) not in seen:
            seen.add(id(value))
            ahead += islice(items_of(value), _ITEMS)
    return False


def items_of(container: Any) -> Iterator[Any]:
    """What a list, tuple, deque, set or dict holds, of a dict the values; nothing else holds any.

    Not by the methods of a user's class, which may do anything, or never end.
    """
    kind = type(container)
    if issubclass(kind, dict):
        yield from dict.values(container)
    for plain in (list, tuple, deque, set, frozenset):
        if issubclass(kind, plain):
            yield from plain.__iter__(container)


def _is_ours(hook: Any) -> bool:
    """Whether it is srprof's own, as that of a recorder in whose run another one is made."""
    code = getattr(getattr(hook, "__func__", hook), "__code__", None)
    return code is not None and is_engine_file(code.co_filename)


def _is_other(one: object, other: object) -> bool:
    return one is not other


def _names(code: CodeType) -> Iterator[str]:
    """Names that are no locals, of a function and of those inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def is_users(cls: type) -> bool:
    """Whether a class is neither Python's nor torch's, nor an enumeration's or a builtin."""
    module = sys.modules.get(cls.__module__)
    file = getattr(module, "__file__", None)
    if cls.__module__ == "__main__":
        return True
    return file is not None and is_user_file(file)
