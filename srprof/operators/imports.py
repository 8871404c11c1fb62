"""Where a network's imports find what stands in: modules of rules' functions, and stubs.

A finder stands behind Python's own, so that it is asked for what is not there. Functions that are
to stand in always are put into their modules when these are imported. All of it holds while a
network's code is active, and is taken out again.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Set
from contextlib import ExitStack, contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch

from srprof.operators.known import Rules, rules
from srprof.operators.rules import OF_TORCH
from srprof.operators.standing import function

#: Modules that were imported with a function replaced, and what that was.
_overridden: list[tuple[ModuleType, str, Any]] = []


class StandIn(ModuleType):
    """A module that is not there: functions of rules, or what a stub's file makes."""

    __file__: str | None = None  # as a package's without a file of its own

    def __getattr__(self, name: str) -> Any:
        """A module within it that nobody imported: packages import theirs."""
        whole = f"{self.__name__}.{name}"
        finders = (finder for finder in sys.meta_path if isinstance(finder, _Missing))
        if not name.startswith("__") and any(finder.has(whole) for finder in finders):
            return importlib.import_module(whole)
        raise AttributeError(f"{self.__name__}, which stands in, has no {name!r}: no rule is of it")


class _Missing(MetaPathFinder, Loader):
    """Finds what no other finder has."""

    def __init__(self, known: Rules) -> None:
        self._known = known
        names = [
            *known.stubs,
            *(r.module for r, _ in known.ops.values() if not _of_torch(r.module)),
        ]
        parts = (name.split(".") for name in names)
        self._names = {".".join(part[: i + 1]) for part in parts for i in range(len(part))}

    def has(self, name: str) -> bool:
        """Whether a module of this name can stand in."""
        return name in self._names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """A module, where it is one of ours."""
        return ModuleSpec(name, self, is_package=True) if name in self._names else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        stub = self._known.stubs.get(name)
        if stub is not None:
            module.__file__ = stub[0].file
            with open(stub[0].file, "rb") as file:
                exec(compile(file.read(), stub[0].file, "exec"), vars(module))
        for rule, where in self._known.ops.values():
            if rule.module == name:
                vars(module).setdefault(rule.name, function(rule, where))


class _Always(MetaPathFinder):
    """Has functions of a module that is there replaced when it is imported."""

    def __init__(self, known: Rules) -> None:
        self._known = known
        self.modules = {rule.module for rule, _ in known.ops.values() if rule.always}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The module's own spec, with what follows its import."""
        if name not in self.modules:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (f.find_spec(name, path, target) for f in others if hasattr(f, "find_spec"))
        spec = next(filter(None, found), None)
        if spec is None or spec.loader is None or isinstance(spec.loader, _Missing):
            return spec
        run = spec.loader.exec_module

        def followed(module: ModuleType) -> None:
            run(module)
            override(module, name)

        spec.loader.exec_module = followed  # type: ignore[method-assign]
        return spec


def override(module: ModuleType, name: str) -> None:
    """Put the functions that are to stand in always into a module that was imported."""
    for rule, where in rules().ops.values():
        if rule.always and rule.module == name:
            _overridden.append((module, rule.name, vars(module).get(rule.name)))
            setattr(module, rule.name, function(rule, where))


def _of_torch(module: str) -> bool:
    return module.startswith(OF_TORCH)


@contextmanager
def standing() -> Iterator[None]:
    """What is missing stands in, for code that is imported or runs meanwhile."""
    known = rules()
    if any(isinstance(finder, _Missing) for finder in sys.meta_path):
        yield  # within another network's
        return
    missing, always = _Missing(known), _Always(known)
    with ExitStack() as stack:
        for owner, name, new in [*_operators(known), *_installed(known)]:
            stack.enter_context(_put(owner, name, new))
        sys.meta_path.insert(0, always)
        sys.meta_path.append(missing)
        try:
            yield
        finally:
            for finder in (missing, always):
                if finder in sys.meta_path:
                    sys.meta_path.remove(finder)
            for name in [n for n, module in sys.modules.items() if isinstance(module, StandIn)]:
                del sys.modules[name]
            while _overridden:  # what the network's environment took out keeps its own
                module, name, was = _overridden.pop()
                if sys.modules.get(module.__name__) is module and was is not None:
                    setattr(module, name, was)


@contextmanager
def _put(owner: ModuleType, name: str, new: Any) -> Iterator[None]:
    """A module's function replaced for a while, or there for a while."""
    was = vars(owner).get(name)
    setattr(owner, name, new)
    try:
        yield
    finally:
        if was is None:
            delattr(owner, name)
        else:
            setattr(owner, name, was)


def _operators(known: Rules) -> Iterator[tuple[Any, str, Any]]:
    """Those of `torch.ops` that are not there, or are to be replaced."""
    for rule, where in known.ops.values():
        if _of_torch(rule.module):
            owner = getattr(torch.ops, rule.namespace)
            if rule.always or not hasattr(owner, rule.name):
                yield owner, rule.name, function(rule, where)


def _installed(known: Rules) -> Iterator[tuple[Any, str, Any]]:
    """Functions of modules that are imported already, to be replaced."""
    for rule, where in known.ops.values():
        if rule.always and rule.module in sys.modules:
            yield sys.modules[rule.module], rule.name, function(rule, where)


def notes(called: Iterable[tuple[str, str]]) -> list[str]:
    """What a reader must know of what stood in, a line for each package.

    Args:
        called: the functions of the operators that were called, and where their rules are.
    """
    here = {name for name, module in sys.modules.items() if isinstance(module, StandIn)}
    stubs = [(name, where) for name, (_, where) in rules().stubs.items() if name in here]
    said: dict[str, list[str]] = {}
    for what, found in {"by the rules in": called, "by the stubs in": stubs}.items():
        grouped: dict[tuple[str, str], list[str]] = {}
        for name, where in dict.fromkeys(found):
            package, _, rest = name.removeprefix(OF_TORCH).partition(".")
            grouped.setdefault((package, where), []).append(rest or package)
        for (package, where), names in grouped.items():
            said.setdefault(package, []).append(f"{', '.join(names)} {what} {where}")
    return [f"{_why(package, here)}: {'; '.join(parts)}" for package, parts in said.items()]


def _why(package: str, here: Set[str]) -> str:
    """Why something stands in for a package."""
    if package in here or package not in sys.modules:
        return f"{package} is not installed"
    return f"of {package}, not its own code"
