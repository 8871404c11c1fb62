"""A first configuration: the networks of a file, found without asking and tried once each."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from srprof.errors import InputError, user_raised
from srprof.failures import failure
from srprof.files import parse_python, quoted, read_text
from srprof.output import write
from srprof.paths import working_in
from srprof.timeout import limited
from srprof.words import one_line

SIZE = "256x256"

_HEAD = """\
# What `srprof check` holds these networks to. Limits are optional; without any, nothing may grow
# against srprof-baseline.json. A limit stands in its check: eager = "210 MiB",
# params = "350K", latency = "30 ms" (with profile = "ntire2022"). Growth that is allowed:
# growth.eager = "1%+2MiB" (both must be exceeded to fail).
"""


def write_first(file: str, config: str | None) -> str:
    """Write a first configuration for the networks of a file; an InputError if there is one."""
    target = Path(config or "srprof.toml")
    if target.name == "pyproject.toml":
        raise InputError("--init writes a srprof.toml: leave --config out, or name another file")
    if target.exists():
        raise InputError(f"{target} is there already: edit it, or take it away first")
    first = first_config(file, str(target.parent))
    write(first.text, str(target))
    named = one_line(f"{target}: {', '.join(first.specs)}")
    out = "".join(f"left out: {one_line(line)}\n" for line in first.left_out)
    return f"{named}\n{out}now run `srprof check --update`, and commit both\n"


@dataclass(frozen=True)
class First:
    """A first configuration: its text, its SPECs, and what it leaves out, each with the reason."""

    text: str
    specs: list[str]
    left_out: list[str]


def first_config(file: str, folder: str) -> First:
    """The configuration in a folder; an InputError if no network of it runs."""
    from srprof.analysis import trace

    source = read_text(file, f"--init {file}:")
    names = factories(source, file)
    location = Path(os.path.relpath(file, folder)).as_posix()
    blocks, specs, failed = [], [], []
    with working_in(folder):
        for name in names:
            spec = f"{location}:{name}"
            try:
                with limited(spec):
                    trace(spec, SIZE)
            except user_raised() as error:
                why = _short(failure(error)).removeprefix(f"{name}: ")
                failed.append((one_line(name), one_line(why)))
                continue
            specs.append(spec)
            blocks.append(f'\n[[check]]\nmodel = {quoted(spec)}\ninput = "{SIZE}"\n')
    if not specs:
        tried = f"; tried {', '.join(names)}" if names else ""
        what = "has no nn.Module, nor a function that returns one, that needs no arguments and"
        mend = f'Write [[check]] with model = "{location}:Net(nf=48)" and input yourself'
        raise InputError(f"{file} {what} runs on {SIZE}{tried}. {mend}")
    comments = "".join(f"# {location}:{name} is left out: {why}\n" for name, why in failed)
    text = _HEAD + "".join(blocks) + ("\n" if failed else "") + comments
    left_out = [f"{name}: {why}" for name, why in failed]
    return First(text, specs, [*left_out, *unready(source, file)])


def _short(error: Exception) -> str:
    text = one_line(error)
    return text if len(text) < 160 else text[:157] + "..."


def factories(source: str, file: str) -> list[str]:
    """Public module classes and functions that give one, which can be called without arguments.

    Read from the source, so that nothing that only looks like a factory is called. A class that a
    function of the list gives is not listed again. An InputError if the source is no Python.
    """
    modules, functions = _named(source, file)
    given = set().union(*functions.values())
    classes = [name for name, ready in modules.items() if ready and name not in given]
    return [name for name in (*classes, *functions) if not name.startswith("_")]


def unready(source: str, file: str) -> list[str]:
    """The public module classes that are none of the factories, a line each, with the reason."""
    modules, functions = _named(source, file)
    lines = []
    for name, ready in modules.items():
        by = [function for function, results in functions.items() if name in results]
        if by:
            lines.append(f"{name}: {', '.join(by)} gives it")
        elif not ready:
            mend = f'write [[check]] with model = "{file}:{name}(...)" if it is a network'
            lines.append(f"{name}: its constructor needs arguments, as a block's does; {mend}")
    return [line for line in lines if not line.startswith("_")]


def _named(source: str, file: str) -> tuple[dict[str, bool], dict[str, set[str]]]:
    """Module classes, and whether they need no argument; functions with what they give."""
    try:
        body = parse_python(source, file).body
    except SyntaxError as error:
        raise InputError(f"--init {file}: is no Python: {error}") from error
    modules: dict[str, bool] = {}
    bases: dict[str, ast.ClassDef] = {}
    functions: dict[str, set[str]] = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            names = {_last(base) for base in node.bases}
            if names & (modules.keys() | {"Module", "Sequential"}):
                bases[node.name] = node
                modules[node.name] = _callable(node, bases)
    for node in body:
        if isinstance(node, ast.FunctionDef) and not _required(node.args):
            known = modules.keys() | {"Module", "Sequential"}
            if results := known & {_last(result) for result in _results(node)}:
                functions[node.name] = results
    return modules, functions


def _callable(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> bool:
    """Whether its constructor, or the one that it inherits in this file, needs no argument."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return not _required(item.args, bound=1)
    parents = [
        classes[n] for base in node.bases if (n := _last(base)) in classes and n != node.name
    ]
    return all(_callable(parent, classes) for parent in parents)


def _required(args: ast.arguments, bound: int = 0) -> bool:
    positional = len(args.posonlyargs) + len(args.args) - bound - len(args.defaults)
    return positional > 0 or any(default is None for default in args.kw_defaults)


def _results(node: ast.FunctionDef) -> Iterator[ast.expr]:
    """What a function says that it gives: its annotation, and calls that it returns."""
    if node.returns is not None:
        yield node.returns
    for item in ast.walk(node):
        if isinstance(item, ast.Return) and isinstance(item.value, ast.Call):
            yield item.value.func


def _last(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.rpartition(".")[2]
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
