"""The statements of a function: what each reads and binds, and where `del` may stand.

Only reads source text; nothing is run.
"""

from __future__ import annotations

import ast
import linecache
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import NamedTuple

from srprof.files import parse_python

#: First line, first column, last line, last column, as Python's compiler has them.
Place = tuple[int, int, int, int]

_SIMPLE = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Return)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
#: Methods that change the object that they are called on.
_MUTATORS = frozenset(
    "add append appendleft clear extend insert pop popitem popleft remove reverse setdefault sort "
    "update".split()
)
_JUMPS = (ast.Return, ast.Break, ast.Continue, ast.Raise, ast.Yield, ast.YieldFrom, ast.Await)


@cache
def walked(node: ast.AST) -> tuple[ast.AST, ...]:
    """A piece of syntax and all that is in it, as `ast.walk`; sources stay as they were read."""
    return tuple(ast.walk(node))


@dataclass(frozen=True)
class Statement:
    """One statement of a block.

    Attributes:
        number: its position in its block.
        line, last_line: the lines that it takes, its own blocks included.
        loads, stores: names that it reads; names that it binds, changes an item or attribute of,
            or deletes.
        node: its syntax.
    """

    number: int
    line: int
    last_line: int
    loads: frozenset[str]
    stores: frozenset[str]
    node: ast.stmt = field(compare=False, repr=False)

    @property
    def place(self) -> Place:
        """Where it stands."""
        return place_of(self.node)

    @property
    def simple(self) -> bool:
        """Whether it has no blocks of its own and does nothing but compute."""
        return isinstance(self.node, _SIMPLE)

    @property
    def returns(self) -> bool:
        """Whether nothing can follow it."""
        return isinstance(self.node, ast.Return)

    @cached_property
    def jumps(self) -> bool:
        """Whether it may leave its block, or has a function of its own."""
        return any(isinstance(n, (*_JUMPS, *_SCOPES)) for n in walked(self.node))

    def holds(self, line: int) -> bool:
        """Whether a line is one of its own."""
        return self.line <= line <= self.last_line


class Located(NamedTuple):
    """A statement and the block that it stands in."""

    block: tuple[Statement, ...]
    statement: Statement


@cache
def names_in(node: ast.AST) -> frozenset[str]:
    """Names that a piece of syntax reads or binds."""
    return frozenset(n.id for n in walked(node) if isinstance(n, ast.Name))


def _statement(number: int, node: ast.stmt) -> Statement:
    loads: set[str] = set()
    stores: set[str] = set()
    for child in walked(node):
        if isinstance(child, ast.Name):
            (loads if isinstance(child.ctx, ast.Load) else stores).add(child.id)
        elif isinstance(child, (ast.Attribute, ast.Subscript)):
            if not isinstance(child.ctx, ast.Load):
                stores |= names_in(child.value)
        elif isinstance(child, ast.Call) and getattr(child.func, "attr", "") in _MUTATORS:
            stores |= names_in(child.func)
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        loads.add(node.target.id)
    last = node.end_lineno or node.lineno
    return Statement(number, node.lineno, last, frozenset(loads), frozenset(stores), node)


@dataclass(frozen=True)
class Function:
    """A function's syntax, with its file's lines."""

    node: ast.FunctionDef = field(compare=False, repr=False)
    lines: tuple[str, ...] = field(compare=False, repr=False)

    @cached_property
    def body(self) -> tuple[Statement, ...]:
        """The statements of its outermost block."""
        return _block(self.node.body)

    @cached_property
    def blocks(self) -> tuple[tuple[Statement, ...], ...]:
        """Every block, an outer one before those in it."""
        return tuple(_blocks(self.node.body))

    def at(self, place: Place) -> Located | None:
        """The statement without blocks of its own that an expression is in."""
        found = (s for s in self.simple_statements if within(place, s.statement.place))
        return next(found, None)

    @cached_property
    def simple_statements(self) -> tuple[Located, ...]:
        """The statements without blocks of their own, wherever they stand."""
        return tuple(Located(block, s) for block in self.blocks for s in block if s.simple)

    @cached_property
    def inner_names(self) -> frozenset[str]:
        """Names in the functions and classes inside it."""
        inner = (n for n in walked(self.node) if isinstance(n, _SCOPES) and n is not self.node)
        return frozenset().union(*map(names_in, inner))

    @cached_property
    def by_name(self) -> Mapping[str, tuple[ast.Name, ...]]:
        """Where each name is read, bound or deleted."""
        found: dict[str, tuple[ast.Name, ...]] = {}
        for node in walked(self.node):
            if isinstance(node, ast.Name):
                found[node.id] = (*found.get(node.id, ()), node)
        return found

    @cached_property
    def by_place(self) -> Mapping[Place, ast.expr]:
        """The outermost expression at each place."""
        expressions = [node for node in walked(self.node) if isinstance(node, ast.expr)]
        return {place_of(node): node for node in reversed(expressions)}

    def text(self, place: Place) -> str:
        """The source at a place, on one line."""
        line, column, last_line, last_column = place
        rows = list(self.lines[line - 1 : last_line])
        rows[-1] = rows[-1].encode()[:last_column].decode()
        rows[0] = rows[0].encode()[column:].decode()
        return " ".join(" ".join(rows).split())


def _block(nodes: Sequence[ast.stmt]) -> tuple[Statement, ...]:
    return tuple(_statement(number, node) for number, node in enumerate(nodes))


def _blocks(nodes: Sequence[ast.stmt]) -> Iterator[tuple[Statement, ...]]:
    yield _block(nodes)
    for node in nodes:
        if isinstance(node, _SCOPES):
            continue
        for name in ("body", "orelse", "finalbody"):
            inner = getattr(node, name, None)
            if inner:
                yield from _blocks(inner)
        for handler in getattr(node, "handlers", ()):
            yield from _blocks(handler.body)


@cache
def read_functions(text: str) -> dict[int, Function]:
    """The functions of a file by the line that Python calls their first; {} if it is no Python."""
    try:
        tree = parse_python(text)
    except SyntaxError:
        return {}
    lines = tuple(text.split("\n"))  # no other character ends a line for Python
    return {
        min([node.lineno, *(d.lineno for d in node.decorator_list)]): Function(node, lines)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }


def function_at(file: str, first_line: int) -> Function | None:
    """The function that begins at a line of a file, None if its source cannot be read."""
    if not os.path.isfile(file):  # code that a program made, such as a GraphModule's
        return None
    return read_functions("".join(linecache.getlines(file))).get(first_line)


def last_use(
    function: Function, name: str, bound: int, without: Sequence[Place] = ()
) -> Located | None:
    """The statement after which a variable is not read any more, in the block that binds it.

    Args:
        bound: a line at which it has the value already, or gets it.
        without: expressions that shall not read it any more.

    Returns:
        None where no single place can be named: it is read in an earlier turn of a loop, outside
        the block that binds it, or by an inner function, or is bound anew at its last use.
    """
    if name in function.inner_names:
        return None
    found: Located | None = None
    for here in function.simple_statements:
        binds = name in _bound_names(here.statement.node)
        later = found is None or here.statement.line >= found.statement.line
        if binds and here.statement.line <= bound and later:
            found = here
    if found is None:
        return None
    block, binding = found
    start, end = block[0].line, block[-1].last_line
    everywhere = function.by_name.get(name, ())
    loads = [n.lineno for n in everywhere if isinstance(n.ctx, ast.Load)]
    outer = block == function.body
    if any(line > end or (not outer and start <= line < binding.line) for line in loads):
        return None
    loops = _loops(function, binding)
    if any(loop <= line <= binding.last_line for loop in loops for line in loads):
        return None
    if any(isinstance(n.ctx, ast.Del) and n.lineno > binding.line for n in everywhere):
        return None  # somebody has thought of it
    last = binding
    for statement in block[binding.number + 1 :]:
        if name in statement.loads and _reads(statement, name, without):
            last = statement
        if name in _bound_names(statement.node):
            return None if last is statement else Located(block, last)
    return Located(block, last)


def _loops(function: Function, statement: Statement) -> list[int]:
    """The lines at which the loops begin that a statement is in."""
    return [
        n.lineno
        for n in walked(function.node)
        if isinstance(n, (ast.For, ast.While)) and within(statement.place, place_of(n))
    ]


def _reads(statement: Statement, name: str, without: Sequence[Place]) -> bool:
    """Whether it reads a name outside some expressions."""
    return not without or any(
        n.id == name and not any(within(place_of(n), place) for place in without)
        for n in walked(statement.node)
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)
    )


@cache
def _bound_names(node: ast.stmt) -> frozenset[str]:
    """Names that a statement binds or deletes, but not those whose items it changes."""
    names = (child for child in walked(node) if isinstance(child, ast.Name))
    return frozenset(name.id for name in names if not isinstance(name.ctx, ast.Load))


def enclosing_calls(statement: Statement, names: Sequence[str]) -> list[Place]:
    """Calls in a statement that read every one of the names that it reads, the smallest first.

    The call that is all of the statement's value is not among them.
    """
    value = getattr(statement.node, "value", None)
    if value is None:
        return []
    wanted = {n for n in walked(statement.node) if isinstance(n, ast.Name) and n.id in names}
    calls = [n for n in walked(value) if isinstance(n, ast.Call) and n is not value]
    return [place_of(call) for call in calls[::-1] if wanted and wanted <= {*walked(call)}]


def place_of(node: ast.expr | ast.stmt) -> Place:
    """Where a piece of syntax stands."""
    last, column = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
    return node.lineno, node.col_offset, last, column


def within(inner: Place, outer: Place) -> bool:
    """Whether a place is inside another, or the same."""
    return outer[:2] <= inner[:2] and inner[2:] <= outer[2:]


def assigned_whole(statement: Statement, place: Place | None) -> str:
    """The name that a statement binds to the expression at a place and nothing else, or ""."""
    match statement.node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if place_of(value) == place:
            return name
    return ""


def expression(function: Function, place: Place) -> ast.expr | None:
    """The expression at a place."""
    return function.by_place.get(place)


def movable(block: Sequence[Statement], first: int, last: int, forward: bool) -> bool:
    """Whether a statement can change places with those beside it, as far as names tell.

    Args:
        first, last: positions in the block. Forward, the first goes behind the last; else the
            last goes before the first.
    """
    statements = block[first : last + 1]
    moved = statements[0] if forward else statements[-1]
    crossed = statements[1:] if forward else statements[:-1]
    if not moved.simple or moved.jumps or any(s.jumps for s in crossed):
        return False
    if not all(isinstance(s.node, (*_SIMPLE, ast.Delete)) for s in crossed):
        return False
    return not any(
        moved.stores & (other.loads | other.stores) or other.stores & moved.loads
        for other in crossed
    )
