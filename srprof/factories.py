"""What a SPEC may call: an `nn.Module` class, or a function that a project or a package provides.

A SPEC stands on command lines and in configurations that come with other people's code. Importing
the module that it names runs that module; what is called with the SPEC's arguments is refused here
unless it can give a network. So no SPEC is a way to `os.system`, whatever module it is taken from.
"""

from __future__ import annotations

import builtins
import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

from torch import nn

from srprof.errors import InputError, user_raised
from srprof.spec import Spec

_MEND = "name an nn.Module class, or a function of your project or of a package that returns one"
#: Packages with functions that load and run what their arguments name; their classes are networks.
_NO_ZOO = frozenset({"torch", "functorch", "torchgen", "srprof"})
#: What of srprof's own has functions that give networks: the zoo, and a challenge's repository.
_ZOOS = ("srprof.models", "srprof.challenge.script")
#: Wrappers around one function that are taken off; more are no decorators.
_MOST_WRAPPERS = 100
#: Folders of installed packages, and files of the folder that has the standard library.
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_LANDMARKS = ("os.py", "site.py")


def refuse_module(spec: Spec) -> None:
    """An InputError if the SPEC's module is Python's own, before it is imported."""
    top, file = spec.location.partition(".")[0], spec.location
    if not spec.location.endswith(".py"):
        file = _file_of(top)
    if top == "__main__" or _is_pythons(top, file):
        raise InputError(f"{spec.text!r} is refused: it is a module of Python's own; {_MEND}")


def _file_of(top: str) -> str:
    """Where the import of a module without dots finds it; "" if it is no file."""
    if top in sys.modules:
        file = getattr(sys.modules[top], "__file__", None)
    else:
        found = importlib.util.find_spec(top)
        file = found.origin if found is not None and found.has_location else None
    return file if isinstance(file, str) else ""


def refuse_factory(spec: Spec, factory: Any, folders: Sequence[str]) -> None:
    """An InputError unless the factory is a class of networks, or a function that may give one.

    `folders` hold the user's own modules. A function of torch's is refused, and one of a package
    that knows nothing of torch: what they give is no network, or was loaded from elsewhere.
    """
    if isinstance(factory, nn.Module):  # which takes no arguments, and is not called
        return
    called = _bare(factory)
    if isinstance(called, type):
        refused = "" if issubclass(called, nn.Module) else "is a class of something else"
    elif isinstance(called, FunctionType):
        refused = _refusal(called, folders)
    else:
        refused = f"is a {type(called).__name__}"
    if refused:
        raise InputError(f"{spec.text!r} is refused: {spec.factory} {refused}; {_MEND}")


def _bare(factory: Any) -> Any:
    """A function or class without its decorators, or what a partial or a method of it calls."""
    for _ in range(_MOST_WRAPPERS):
        if isinstance(factory, type):
            break
        if isinstance(factory, partial):
            factory = factory.func
        elif isinstance(factory, MethodType):
            factory = factory.__func__
        elif getattr(factory, "__wrapped__", None) is not None:
            factory = factory.__wrapped__
        else:
            break
    return factory


def _refusal(function: FunctionType, folders: Sequence[str]) -> str:
    """Why a function may not be called; "" if it may."""
    said = map(function.__globals__.get, ("__name__", "__file__"))
    name, file = (text if isinstance(text, str) else "" for text in said)
    top = name.partition(".")[0]
    if _is_pythons(top, file):
        return f"is a function of {name}, a module of Python's own"
    if top in _NO_ZOO and not any(f"{name}.".startswith(f"{zoo}.") for zoo in _ZOOS):
        return f"is a function of {top}'s own"
    if not _is_among(file, folders) and not _knows_torch(top):
        return f"is a function of {name or 'no module'}, which knows nothing of torch"
    result = _result(function)
    return f"returns {result.__name__}, as it says" if result is not None else ""


def _is_pythons(top: str, file: str) -> bool:
    """Whether a module is of the standard library; one without a file is known by its name."""
    if not file:
        return top in sys.stdlib_module_names
    # of any Python on the machine: these two are how Python itself knows the place
    folders = () if _is_installed(file) else Path(os.path.realpath(file)).parents
    return any(all((folder / mark).is_file() for mark in _LANDMARKS) for folder in folders)


def _is_among(file: str, folders: Iterable[str]) -> bool:
    """Whether a file is below one of the folders, and of no package that is installed."""
    path = os.path.realpath(file)
    below = any(path.startswith(os.path.realpath(folder) + os.sep) for folder in folders)
    return below and not _is_installed(file)


def _is_installed(file: str) -> bool:
    return not _INSTALLED.isdisjoint(Path(os.path.realpath(file)).parts)


def _knows_torch(top: str) -> bool:
    """Whether a loaded module of a package has something of torch's by name."""
    return any(
        any(map(_is_torchs, list(vars(module).values())))
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == top and isinstance(getattr(module, "__dict__", None), Mapping)
    )


def _is_torchs(value: object) -> bool:
    kind = type(value)
    if kind is type(sys):
        name = vars(value).get("__name__")
    elif isinstance(value, type):
        name = value.__module__
    else:
        return False
    return isinstance(name, str) and name.partition(".")[0] == "torch"


def _result(function: FunctionType) -> type | None:
    """The builtin type that a function says it returns, which is no network."""
    try:
        said = function.__annotations__.get("return", object)
    except user_raised():  # since Python 3.14 they are read when they are asked for
        return None
    said = getattr(builtins, said, object) if isinstance(said, str) else said
    said = type(None) if said is None or said == "None" else said
    plain = isinstance(said, type) and said.__module__ == "builtins" and said is not object
    return said if plain else None
