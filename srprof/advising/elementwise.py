"""Element-wise calls that could write into an input: where, and how that is written."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from srprof.advising.candidate import Candidate
from srprof.advising.replay import InPlace, Replay, can_write_into
from srprof.advising.rewrite import Construct, Overwrite
from srprof.advising.source import Function, Place, expression, function_at, place_of, walked
from srprof.blame import is_user_file
from srprof.ops import row
from srprof.records import Frame


def in_place(base: Replay, current: Replay, peak: int) -> Iterator[Candidate]:
    """Calls in the user's lines; arguments as in `candidates`."""
    groups: dict[tuple[object, ...], list[int]] = {}
    placed = (frame for frames in base.frames for frame in frames if frame.place is not None)
    computed = Counter((frame.call, frame.place, frame.called) for frame in placed)
    for index, node in enumerate(base.trace.nodes):
        if row(node.op).in_place is None or not base.frames[index]:
            continue
        frame = base.frames[index][-1]
        if computed[frame.call, frame.place, frame.called] == 1:
            key = (frame.file, frame.first_line, frame.place, node.op)
            groups.setdefault(key, []).append(index)
    for nodes in groups.values():
        frame, op = base.frames[nodes[0]][-1], base.trace.nodes[nodes[0]].op
        function = function_at(frame.file, frame.first_line)
        for operand in range(2 if row(op).commutative else 1):
            if function is None or not _helps_at(current, nodes, operand, peak):
                continue
            rewrite = _written_in_place(function, frame, op, operand, base, nodes[0])
            if rewrite is not None:
                yield Candidate(rewrite, InPlace(tuple(nodes), operand), frame.file,
                                frame.line, frame.function, len(nodes))  # fmt: skip


def in_place_modules(
    base: Replay, current: Replay, peak: int, activations: Mapping[str, Construct]
) -> Iterator[Candidate]:
    """Activations that could be constructed so; arguments as in `candidates`."""
    groups: dict[Construct, list[int]] = {}
    for index, node in enumerate(base.trace.nodes):
        if node.module in activations and row(node.op).in_place in {"method", "function"}:
            groups.setdefault(activations[node.module], []).append(index)
    for activation, nodes in groups.items():
        for frame in base.frames[nodes[0]][-1:]:
            readable = function_at(frame.file, frame.first_line)
            if readable and _helps_at(current, nodes, 0, peak):
                yield Candidate(activation, InPlace(tuple(nodes), 0), frame.file, frame.line,
                                frame.function, len(nodes))  # fmt: skip


def _helps_at(current: Replay, nodes: Iterable[int], operand: int, peak: int) -> bool:
    """Whether input and result of one of the nodes are both alive at the peak."""
    trace, indices = current.trace, [current.by_origin.get(origin) for origin in nodes]
    if any(index is None or not can_write_into(trace, index, operand) for index in indices):
        return False
    for node in (trace.nodes[index] for index in indices if index is not None):
        both = (node.inputs[operand].storage, node.created[0])
        if all(trace.storages[s].birth <= peak < trace.storages[s].death for s in both):
            return True
    return False


def _written_in_place(
    function: Function, frame: Frame, op: str, operand: int, base: Replay, node: int
) -> Overwrite | None:
    """What to write for an element-wise expression, None if that is not clear."""
    place = frame.place
    shown = None if place is None else expression(function, place)
    if shown is None or place is None:
        return None
    old, keywords = function.text(place), list[ast.keyword]()
    if isinstance(shown, ast.BinOp):
        arguments = [shown.left, shown.right]
        if len(base.trace.nodes[node].inputs) == 1 and isinstance(shown.left, ast.Constant):
            operand = 1
    elif isinstance(shown, ast.Call):
        arguments, keywords = [*shown.args], shown.keywords
        func, own = shown.func, not frame.called  # torch's own, no Python
        if own and isinstance(func, ast.Attribute) and ast.unparse(func.value) != "torch":
            arguments.insert(0, func.value)
    else:
        return None
    if len(arguments) <= operand or any(isinstance(a, ast.Starred) for a in arguments):
        return None
    into = arguments.pop(operand)
    if row(op).in_place != "function":
        rest = map(ast.unparse, (*arguments, *keywords))
        new = f"{_atom(into)}.{op}_({', '.join(rest)})"
        others = tuple(map(place_of, arguments))
        return Overwrite(place, place_of(into), others, f"{op}_", (), old, new)
    constants = base.trace.nodes[node].arguments[0][1:]
    numbers = tuple(v for v in constants if isinstance(v, (int, float)))
    given = ", ".join([ast.unparse(into), *map(repr, numbers)])
    new = f"F.{op}({given}, inplace=True)"
    return Overwrite(place, place_of(into), (), op, numbers, old, new)


def _atom(node: ast.expr) -> str:
    """An expression to which a method call can be appended."""
    text = ast.unparse(node)
    plain = isinstance(node, (ast.Name, ast.Attribute, ast.Subscript, ast.Call))
    return text if plain else f"({text})"


def constructed(owner: type, path: str, kind: str) -> Construct:
    """How an activation of a class is constructed with `inplace=True`, at its call.

    Args:
        path: within the class, `act` or `body.1`. kind: the activation's class.
    """
    for cls in owner.__mro__:
        code = getattr(vars(cls).get("__init__"), "__code__", None)
        if code is None or not is_user_file(code.co_filename):
            continue
        function = function_at(code.co_filename, code.co_firstlineno)
        call = None if function is None else constructor_call(function, path, kind)
        if call is not None:
            return Construct(owner.__qualname__, path, code.co_filename, call)
    return Construct(owner.__qualname__, path, "", None)


def constructor_call(function: Function, path: str, kind: str) -> Place | None:
    """The call in `__init__` that makes the module at a path; None if it is not one call."""
    head, *rest = path.split(".")
    values = [
        node.value
        for node in walked(function.node)
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
