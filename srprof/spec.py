"""SPEC: what stands for a model on the command line, in the forms of `srprof analyze --help`.

Arguments are Python literals and never evaluated. The module that a SPEC names is imported, which
runs it, and `factories` says what may be called there.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from srprof import registry
from srprof.errors import InputError
from srprof.files import check_file, parse_python

CHECKPOINTS = (".pth", ".pt", ".ckpt", ".safetensors")

#: What a person may take for a zoo name.
_ALMOST_NAME = re.compile(r"[A-Za-z]\w*(-\w+)+")


@dataclass(frozen=True, slots=True)
class Spec:
    """A parsed SPEC. Of `network`, `location` and `checkpoint` one is set.

    `location` is the file or dotted module that holds `factory`, a class or function.
    """

    text: str
    factory: str = ""
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()
    location: str = ""
    network: registry.Network | None = None
    checkpoint: str = ""

    @property
    def channels(self) -> int:
        """Channels of its input image: the zoo's word, else those of RGB."""
        return self.network.channels if self.network else 3

    def with_arguments(self, more: Iterable[tuple[str, Any]]) -> str:
        """The SPEC's text with further arguments."""
        return self._with(self.args, (*self.kwargs, *more))

    def with_argument(self, name: str, value: Any, by_place: Sequence[str] = ()) -> Spec:
        """The SPEC with another value of an argument; `by_place` names `args`."""
        if name in by_place:
            place, kwargs = by_place.index(name), self.kwargs
            args = (*self.args[:place], value, *self.args[place + 1 :])
        else:
            args, kwargs = self.args, tuple({**dict(self.kwargs), name: value}.items())
        return replace(self, text=self._with(args, kwargs), args=args, kwargs=kwargs)

    def _with(self, args: Sequence[Any], kwargs: Iterable[tuple[str, Any]]) -> str:
        given = [*map(repr, args), *(f"{k}={v!r}" for k, v in kwargs)]
        if not given:
            return self.text
        where = f"{self.location}:" if self.location else ""
        return f"{where}{self.factory}({', '.join(given)})"

    @property
    def name(self) -> str:
        """A short name for titles."""
        if self.network is not None:
            return self.network.name
        return self.factory or Path(self.checkpoint).name


def parse(text: str) -> Spec:
    """Parse a SPEC without importing a model; an InputError if it is none, or names none."""
    if text.endswith(CHECKPOINTS):
        check_file(text, "check the path of the checkpoint")
        return Spec(text, checkpoint=text)
    location, call = _split(text)
    if not location and _ALMOST_NAME.fullmatch(call):
        registry.find(call)  # "FMEN-S": no Python name, but one to suggest another for
    name, args, kwargs = _parse_call(call, text)
    if not location:
        if call.endswith(".py") or os.sep in call:
            raise InputError(f"{text!r} names a file only: add the factory, {call}:Factory")
        return Spec(text, name, args, kwargs, network=registry.find(name))
    if location.endswith(".py") or os.sep in location:
        check_file(location, "check the path before the colon")
    elif not all(part.isidentifier() for part in location.split(".")):
        raise InputError(f"{location!r} is neither a .py file nor a module: write file.py:Factory")
    return Spec(text, name, args, kwargs, location=location)


def refuse_unknown(text: str, where: str) -> None:
    """An InputError as `parse` raises it, for a SPEC in a file; `where` names that and the key."""
    try:
        parse(text)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _split(text: str) -> tuple[str, str]:
    """Location and call; a colon inside the arguments or after a drive letter is not the one."""
    file, ending, call = text.partition(".py:")
    if ending:  # what stands before it is a path, whatever is in it
        return file + ".py", call
    head = text.split("(", 1)[0]
    location, colon, _ = head.rpartition(":")
    return (location, text[len(location) + 1 :]) if colon else ("", text)


def _parse_call(call: str, text: str) -> tuple[str, tuple[Any, ...], tuple[tuple[str, Any], ...]]:
    if call.endswith(".py") or os.sep in call.split("(", 1)[0]:
        return call, (), ()
    try:
        tree = parse_python(call.strip(), mode="eval").body
    except SyntaxError:
        tree = None
    if isinstance(tree, ast.Name):
        return tree.id, (), ()
    if not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name)):
        forms = "a zoo name, file.py:Factory or file.py:Factory(nf=48, scale=4)"
        raise InputError(f"{text!r} is not a model: write {forms}")
    args = tuple(_literal(node, text) for node in tree.args)
    kwargs = tuple((k.arg or "**", _literal(k.value, text)) for k in tree.keywords)
    names = [name for name, _ in kwargs]
    if "**" in names:
        raise InputError(f"{text!r}: ** is not read here; write the arguments out")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{text!r}: the argument {twice!r} is given twice; keep one of them")
    return tree.func.id, args, kwargs


def _literal(node: ast.expr, text: str) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        what = f"{text!r}: the argument {_code(node)!r} is not a literal"
        taken = "numbers, strings, True, False, None and lists, tuples and dicts of them"
        raise InputError(f"{what}; only {taken} are read") from None


def _code(node: ast.expr) -> str:
    try:
        return ast.unparse(node)
    except RecursionError:
        return "..."
