"""A first configuration: the networks of a file, found without asking and tried once each."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
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
    text, specs = first_config(file, str(target.parent))
    write(text, str(target))
    named = one_line(f"{target}: {', '.join(specs)}")
    return f"{named}\nnow run `srprof check --update`, and commit both\n"


def first_config(file: str, folder: str) -> tuple[str, list[str]]:
    """The configuration in a folder, and its SPECs; an InputError if no network of it runs."""
    from srprof.analysis import trace

    names = factories(read_text(file, f"--init {file}:"), file)
    location = Path(os.path.relpath(file, folder)).as_posix()
    blocks, specs, failed = [], [], []
    with working_in(folder):
        for name in names:
            spec = f"{location}:{name}"
            try:
                with limited(spec):
                    trace(spec, SIZE)
            except user_raised() as error:
                failed.append(f"# {one_line(spec)} is left out: {_short(failure(error))}\n")
                continue
            specs.append(spec)
            blocks.append(f'\n[[check]]\nmodel = {quoted(spec)}\ninput = "{SIZE}"\n')
    if not specs:
        tried = f"; tried {', '.join(names)}" if names else ""
        what = "has no nn.Module, nor a function that returns one, that needs no arguments and"
        mend = f'Write [[check]] with model = "{location}:Net(nf=48)" and input yourself'
        raise InputError(f"{file} {what} runs on {SIZE}{tried}. {mend}")
    return _HEAD + "".join(blocks) + ("\n" if failed else "") + "".join(failed), specs


def _short(error: Exception) -> str:
    text = one_line(error)
    return text if len(text) < 160 else text[:157] + "..."


def factories(source: str, file: str) -> list[str]:
    """Public module classes and functions that give one, which can be called without arguments.

    Read from the source, so that nothing that only looks like a factory is called. A class that a
    function of the list gives is not listed again. An InputError if the source is no Python.
    """
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
    given = set().union(*functions.values())
    classes = [name for name, ready in modules.items() if ready and name not in given]
    return [name for name in (*classes, *functions) if not name.startswith("_")]


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
