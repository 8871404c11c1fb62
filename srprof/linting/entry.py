"""What ENTRY says: a SPEC, or a file of a challenge's repository that its script builds."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from srprof import spec as specs
from srprof.call import Call
from srprof.challenge import script as scripts
from srprof.errors import InputError
from srprof.files import check_file
from srprof.linting.source import Definition, Part, Source, mentioned, read_source
from srprof.loading import Environment
from srprof.paths import current_folder, working_in
from srprof.words import some


@dataclass(frozen=True)
class Program:
    """A team's part of a challenge's script.

    Attributes:
        source: of the script. team: its number. branch: the statements that build its network.
    """

    source: Source
    team: int
    branch: tuple[ast.stmt, ...]

    @property
    def folder(self) -> str:
        """The repository."""
        return os.path.dirname(self.source.file)

    @property
    def part(self) -> Part:
        """What the script runs for the team."""
        return Part(self.branch)

    @cached_property
    def data_range(self) -> float | None:
        """The largest value that the script says the network takes; None if it says none."""
        for node in (n for statement in self.branch for n in ast.walk(statement)):
            for name, value in _bindings(node):
                if name == "data_range" and isinstance(value, ast.Constant):
                    return float(value.value) if isinstance(value.value, (int, float)) else None
        return None


@dataclass(frozen=True)
class Entry:
    """An entry that is to be looked at.

    Attributes:
        text: what was asked about. spec: by which its network is built, from `folder` ("" from the
            current one).
        source: of its file; None where there is none. roots: what of it is the network.
        folders: where its repository's modules are. program: the script that builds it, if any.
        weights: a checkpoint for it.
    """

    text: str
    spec: str
    source: Source | None
    roots: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    program: Program | None = None
    weights: str | None = None

    @property
    def name(self) -> str:
        """Of the network, for a title."""
        if self.program is None:
            return specs.parse(self.spec).name
        return self.roots[-1] if self.roots else f"team {self.program.team}"

    def call(self, size: tuple[int, ...], weights: bool = False) -> Call:
        """A call of its network at an LR image of this size."""
        shape = (1, 3, *size) if len(size) == 2 else size
        return Call(self.spec, (shape,), weights=self.weights if weights else None)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """What of its file runs while the network is built."""
        return () if self.source is None else self.source.constructor(self.roots)

    @contextmanager
    def at_home(self) -> Iterator[None]:
        """The current folder from which the network is built, as if its script was started there.

        So modules are not looked for where this program was started.
        """
        if self.program is None:
            yield
            return
        path, here, home = list(sys.path), current_folder(), self.program.folder
        sys.path[:] = [p for p in path if os.path.abspath(p) != here or here == home]
        try:
            with working_in(home):
                yield
        finally:
            sys.path[:] = path


def read_entry(
    text: str, weights: str | None = None, script: str | None = None, team: int | None = None
) -> Entry:
    """The entry that is meant; an InputError if there is none, or it cannot be told which."""
    alone = text.endswith(".py") and os.path.isfile(text)
    if weights is not None:
        check_file(weights, "check the path of the checkpoint")
        weights = os.path.abspath(weights)
    if script is None and team is not None:
        raise InputError(f"team {team} is of a challenge's script: give --script test_demo.py too")
    if script is None:
        if alone:
            mend = f"add the network, {text}:Net, or give --script test_demo.py, which builds it"
            raise InputError(f"{text} is a file: {mend}")
        return _of_spec(text, weights)
    if not alone:
        mend = "give the entry's file alone, models/team00_NAME.py"
        raise InputError(f"--script builds the network of a file, and {text} is none: {mend}")
    if weights is not None:
        raise InputError("--script names the weights itself: leave --weights out")
    return _of_script(text, script, team)


def _of_spec(text: str, weights: str | None) -> Entry:
    parsed = specs.parse(text)
    own = parsed.location.endswith(".py")
    file = os.path.abspath(parsed.location) if own else _file_of(parsed)
    if not file:
        return Entry(text, text, None, weights=weights)
    source = read_source(file)
    roots = (parsed.factory,) if parsed.factory in source.definitions else ()
    folders = Environment(replace(parsed, location=file)).folders
    return Entry(text, text, source, roots, tuple(folders), weights=weights)


def _file_of(parsed: specs.Spec) -> str:
    """The file of a zoo's network, or of a module; "" if there is none."""
    if parsed.network is not None:
        factory: Any = parsed.network.load()
        return inspect.getsourcefile(inspect.unwrap(factory)) or ""
    if not parsed.location:
        return ""
    with Environment(parsed).active():
        found = importlib.util.find_spec(parsed.location)
    return found.origin if found is not None and found.origin else ""


def _of_script(text: str, script: str, team: int | None) -> Entry:
    file = os.path.abspath(text)
    source = read_source(file)
    program = _program(read_source(os.path.abspath(script)), Path(file).stem, team)
    name = os.path.basename(program.source.file)
    spec = f"{scripts.__name__}:network({program.folder!r}, {program.team}, {name!r})"
    roots = mentioned(program.branch, source.definitions)
    folders = dict.fromkeys([program.folder, os.path.dirname(file)])
    return Entry(text, spec, source, tuple(roots), tuple(folders), program)


def _program(source: Source, stem: str, team: int | None) -> Program:
    """The part of a script that builds the network of a module of this name."""
    name = os.path.basename(source.file)
    select = source.definitions.get(scripts.FUNCTION)
    if select is None:
        raise InputError(f"{name} has no function {scripts.FUNCTION}(args, device): give another")
    branches = dict(_branches(select))
    if team is None:
        fitting = [number for number, body in branches.items() if _speaks_of(body, stem)]
        if len(fitting) != 1:
            there = f"teams {some(map(str, fitting), 5)}" if fitting else "no team"
            raise InputError(f"{name} builds {stem} for {there}: say which with --team N")
        (team,) = fitting
    if team not in branches:
        known = some(map(str, branches), 30)
        raise InputError(f"{name} builds no team {team}; it has {known or 'none'}")
    if not _speaks_of(branches[team], stem):
        raise InputError(f"{name} builds team {team} of another file than {stem}.py")
    return Program(source, team, tuple(branches[team]))


def _branches(select: Definition) -> Iterator[tuple[int, list[ast.stmt]]]:
    """The number and statements of each `if model_id == 18:`."""
    for node in ast.walk(select):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Compare):
            sides = (node.test.left, *node.test.comparators)
            numbers = [side.value for side in sides if isinstance(side, ast.Constant)]
            equal = len(sides) == 2 and isinstance(node.test.ops[0], ast.Eq)
            if equal and len(numbers) == 1 and type(numbers[0]) is int:
                yield numbers[0], node.body


def _speaks_of(body: list[ast.stmt], stem: str) -> bool:
    """Whether statements import a module of this name."""
    for node in (n for statement in body for n in ast.walk(statement)):
        named = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        named += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            named.append(node.value)
        if any(name.rpartition(".")[2] == stem for name in named):
            return True
    return False


def _bindings(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Names with what an assignment binds to each."""
    if not isinstance(node, ast.Assign) or len(node.targets) != 1:
        return
    target, value = node.targets[0], node.value
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        pairs = zip(target.elts, value.elts, strict=False)
    else:
        pairs = zip([target], [value], strict=True)
    yield from ((name.id, given) for name, given in pairs if isinstance(name, ast.Name))
