"""Whether a call changes its model, so that the next call may do something else.

What a call changes is found in the modules' own attributes, in their classes and in the globals of
the files that these are in. What only a closure knows is not.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import torch
from torch import nn

from srprof.copying import is_users
from srprof.errors import user_raised
from srprof.networks import named_modules

#: How many items of a container are looked at, by how many levels of them are left.
_ITEMS = (0, 16, 256, 4096)
_DEPTH = len(_ITEMS) - 1
#: What is told by its value; all else by being the same object.
_PLAIN = (int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
#: What the variables of a class or a file are besides data.
_CODE = (FunctionType, ModuleType, type, property, staticmethod, classmethod)
#: A function under `functools.lru_cache`.
_Memo = type(lru_cache(len))
#: What is looked at of every module, and what only a user's class has besides.
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
_STATE = ("_parameters", "_buffers", "_modules", "training", *_HOOKS)
_MODULES_OWN = frozenset(vars(nn.Module())).difference(_STATE)


class Fingerprint(NamedTuple):
    """Marks of all that a call could find otherwise; holds no tensor.

    Attributes:
        own: of the instance. shared: of its classes and files, which other instances have too.
    """

    own: tuple[Any, ...]
    shared: tuple[Any, ...]


def fingerprint(model: nn.Module) -> Fingerprint:
    """What a model looks like now."""
    classes: dict[type, None] = {}
    own = []
    for _, module in named_modules(model):
        kind, state = type(module), vars(module)
        looked_at = [n for n in state if n not in _MODULES_OWN] if is_users(kind) else _STATE
        found = {name: state.get(name) for name in looked_at}
        own.append((len(state), _marks(found, _DEPTH)))
        if kind not in classes:
            classes |= dict.fromkeys(base for base in (kind, *kind.__mro__) if is_users(base))
    files = dict.fromkeys(sys.modules.get(cls.__module__) for cls in classes)
    scopes = [vars(scope) for scope in (*classes, *files) if scope is not None]
    return Fingerprint(tuple(own), tuple(tuple(_of_scope(scope)) for scope in scopes))


def _of_scope(scope: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Marks of the variables of a class or a file, without its code."""
    for name, value in list(scope.items()):
        if not (name.startswith("__") or issubclass(type(value), _CODE)):
            yield name, _mark(value, _DEPTH)


def _marks(items: Mapping[Any, Any], depth: int) -> tuple[Any, ...]:
    found = islice(items.items(), _ITEMS[depth])
    return len(items), tuple((_mark(key, 1), _mark(value, depth)) for key, value in found)


def _mark(value: Any, depth: int) -> Any:
    """What is equal for a value that has not changed, and most likely not for another."""
    kind = type(value)  # what an object says of its class may be code
    if issubclass(kind, _PLAIN):
        return value
    if issubclass(kind, torch.Tensor):
        return id(value), None if value.is_inference() else value._version
    if kind is _Memo:
        return value.cache_info().misses
    if not depth or issubclass(kind, nn.Module):
        return id(value)
    if issubclass(kind, (list, tuple, set, frozenset, deque)):
        return len(value), tuple(_mark(i, depth - 1) for i in islice(value, _ITEMS[depth]))
    if issubclass(kind, dict):
        return _marks(value, depth - 1)
    return id(value), _marks(_attributes(value), depth - 1) if is_users(kind) else ()


def _attributes(value: Any) -> Mapping[str, Any]:
    """Those of an object of a user's class; {} if it has slots, or code of its own that raises."""
    try:
        found: Mapping[str, Any] = vars(value)
    except user_raised():
        return {}
    return found
