"""Where a class constructs one of its modules, as far as the source shows it. Nothing is run."""

from __future__ import annotations

import ast
import linecache

from srprof.advising.rewrite import Construct
from srprof.advising.source import Function, Place, place_of, read_functions
from srprof.blame import is_user_file


def constructed(owner: type, path: str, kind: str) -> Construct:
    """How an activation of a class is constructed with `inplace=True`, at its call.

    Args:
        path: within the class, `act` or `body.1`. kind: the activation's class.
    """
    for cls in owner.__mro__:
        code = getattr(vars(cls).get("__init__"), "__code__", None)
        if code is None or not is_user_file(code.co_filename):
            continue
        text = "".join(linecache.getlines(code.co_filename))
        function = read_functions(text).get(code.co_firstlineno)
        call = None if function is None else constructor_call(function, path, kind)
        if call is not None:
            return Construct(owner.__qualname__, path, code.co_filename, call)
    return Construct(owner.__qualname__, path, "", None)


def constructor_call(function: Function, path: str, kind: str) -> Place | None:
    """The call in `__init__` that makes the module at a path; None if it is not one call."""
    head, *rest = path.split(".")
    values = [
        node.value
        for node in ast.walk(function.node)
        if isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Attribute) and t.attr == head for t in node.targets)
    ]
    value = values[0] if len(values) == 1 else None
    for index in rest:
        value = _layer(value, index)
    return place_of(value) if isinstance(value, ast.Call) and _name(value) == kind else None


def _layer(value: ast.expr | None, index: str) -> ast.expr | None:
    """A layer of a Sequential whose layers are written out."""
    if not (isinstance(value, ast.Call) and _name(value) == "Sequential" and index.isdigit()):
        return None
    plain = not any(isinstance(argument, ast.Starred) for argument in value.args)
    return value.args[int(index)] if plain and int(index) < len(value.args) else None


def _name(call: ast.Call) -> str:
    """The last name of what is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
