"""The rules that hold in this process: those given, then those of packages, then srprof's own.

A package announces its rules through the entry-point group `srprof.ops`, each entry point naming
a `Rule`, the path of a rule file, or a list of these. Given are files, by `--ops` or `using_ops`.
What is nearer to the user goes first; two of one kind for one function are refused. No torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from os import environ  # a network may put something else in its place
from pathlib import Path
from typing import Any

from srprof.errors import InputError
from srprof.operators.rules import Rule, RuleFile, Stub, load
from srprof.paths import short_path
from srprof.registry import announced

GROUP = "srprof.ops"
#: In this process and those that it starts, the files that were given.
VARIABLE = "SRPROF_OPS"
#: Given alone, or with files: no rules of packages, and none of srprof's own.
NONE = "none"
_OWN = Path(__file__).parent / "packaged"
#: Rules that a program of Python gave.
_objects: list[Rule] = []


@dataclass(frozen=True)
class Rules:
    """Rules by what they are of, each with where it comes from.

    Attributes:
        ops: by the function's dotted name. stubs: by the module's.
    """

    ops: Mapping[str, tuple[Rule, str]] = field(default_factory=dict)
    stubs: Mapping[str, tuple[Stub, str]] = field(default_factory=dict)

    def behind(self, others: Rules) -> Rules:
        """Both, of which the others' go first."""
        return Rules({**self.ops, **others.ops}, {**self.stubs, **others.stubs})


def joined(sources: Iterable[tuple[str, RuleFile]]) -> Rules:
    """The rules of several sources; an InputError if two are of one function or module."""
    ops: dict[str, tuple[Rule, str]] = {}
    stubs: dict[str, tuple[Stub, str]] = {}
    for where, rules in sources:
        for op in rules.op:
            _enter(ops, op.function, (op, where))
        for stub in rules.module:
            _enter(stubs, stub.name, (stub, where))
    return Rules(ops, stubs)


def _enter(known: dict[str, Any], name: str, found: tuple[Any, str]) -> None:
    if name in known:
        first, second = known[name][1], found[1]
        two = f"twice in {first}" if first == second else f"in {first} and in {second}"
        raise InputError(f"there is a rule of {name} {two}: leave one of them out")
    known[name] = found


def rules() -> Rules:
    """Those that hold now; an InputError if a file of them is wrong."""
    return _rules(given(), tuple(_objects))


def given() -> tuple[str, ...]:
    """The files that were given, each once, and whether no others hold."""
    return tuple(dict.fromkeys(filter(None, environ.get(VARIABLE, "").split(os.pathsep))))


def stamp() -> int:
    """A number of the files that were given, and of their times: another where others may hold."""
    times = (os.stat(file).st_mtime_ns if os.path.exists(file) else 0 for file in given())
    return hash((given(), *times, *map(id, _objects)))


@cache
def _rules(sources: tuple[str, ...], objects: tuple[Rule, ...]) -> Rules:
    files = [file for file in sources if file != NONE]
    read = [(short_path(file), load(file)) for file in files]
    given_here = [("the program", RuleFile(op=objects))] if objects else []
    nearest = joined([*read, *given_here])
    return nearest if NONE in sources else _own().behind(_announced()).behind(nearest)


@cache
def _own() -> Rules:
    files = sorted(_OWN.glob("*.toml"))
    return joined((f"srprof's {file.name}", load(str(file))) for file in files)


@cache
def _announced() -> Rules:
    return joined(announced(GROUP, "rule of operators", _listed))


def _listed(found: Any) -> RuleFile:
    """The rules that an entry point names."""
    ops: list[Rule] = []
    stubs: list[Stub] = []
    for item in found if isinstance(found, (list, tuple)) else [found]:
        if isinstance(item, (str, os.PathLike)):
            file = load(os.fspath(item))
            ops, stubs = [*ops, *file.op], [*stubs, *file.module]
        elif isinstance(item, Rule):
            ops.append(item)
        else:
            raise TypeError(f"it has {item!r:.60}, which is no Rule and no path")
    return RuleFile(op=tuple(ops), module=tuple(stubs))


@contextmanager
def using_ops(*sources: str | os.PathLike[str] | Rule) -> Iterator[None]:
    """Have these rules hold too: files, also in processes that are started meanwhile, or a `Rule`.

    "none" leaves out the rules of packages and srprof's own.

    Raises:
        InputError: a file is missing, or what is in it is wrong.
    """
    if not sources:
        yield
        return
    objects = [source for source in sources if isinstance(source, Rule)]
    paths = [os.fspath(source) for source in sources if not isinstance(source, Rule)]
    files = [path if path == NONE else os.path.abspath(path) for path in paths]
    before, before_them = environ.get(VARIABLE), list(_objects)
    _objects.extend(objects)
    _put(os.pathsep.join(filter(None, [before or "", *files])))
    _rules.cache_clear()  # a file may have changed
    try:
        rules()
        yield
    finally:
        _put(before)
        _objects[:] = before_them


def _put(value: str | None) -> None:
    if value:
        environ[VARIABLE] = value
    else:
        environ.pop(VARIABLE, None)
