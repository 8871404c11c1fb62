"""What a rule says of a call, as an expression of the call's arguments. Never evaluated as code.

    ceil(u.shape[2] / 2048) * A.shape[1]
    z.shape if z is not None else u.shape

Numbers are exact: whole numbers and fractions. A tensor has `shape`, `stride`, `dim`, `numel`,
`itemsize`, `bytes` and `dtype`; any other argument is what the network gave for it.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from srprof.codec import MOST
from srprof.errors import InputError
from srprof.files import parse_python
from srprof.words import hint, one_line, shape_text

#: Characters of an expression, and entries of a shape, that nobody needs more of.
_LONGEST, _MOST_SIDES = 1000, 64


class TensorFacts(NamedTuple):
    """What an expression can ask of a tensor; `stride` is in elements."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str
    itemsize: int

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Of its elements, each once."""
        return self.numel * self.itemsize


_ATTRIBUTES = ("shape", "stride", "dtype", "itemsize", "dim", "numel", "bytes")


def _whole(value: Any) -> int:
    number = Fraction(value)
    if number.denominator != 1:
        raise ValueError(f"{float(number):g} is no whole number; ceil() and floor() give one")
    return int(number)


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "ceil": lambda value: math.ceil(Fraction(value)),
    "floor": lambda value: math.floor(Fraction(value)),
    "prod": math.prod,
    "sum": sum,
    "len": len,
    "min": min,
    "max": max,
    "abs": abs,
}


def _quotient(left: Any, right: Any) -> Fraction:
    if right == 0:
        raise ZeroDivisionError("division by zero")
    return Fraction(left) / Fraction(right)


_BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _quotient,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARED: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
_UNARY: Mapping[type, Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_HOW = (
    "numbers, texts, arguments, x.shape[0], + - * / // %, comparisons, `and`, `or`, `not`, "
    f"`a if b else c`, tuples, and {', '.join(_FUNCTIONS)}"
)


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression that was read and whose every part is known.

    Attributes:
        text: as it was written. tree: its syntax. names: of arguments that it asks for.
    """

    text: str
    tree: ast.expr
    names: frozenset[str]

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """Its value, by the arguments' values; an InputError says why it has none."""
        try:
            return _bounded(_evaluate(self.tree, values))
        except (TypeError, ValueError, ArithmeticError, IndexError, AttributeError) as error:
            given = ", ".join(f"{name} {_shown(values[name])}" for name in sorted(self.names))
            of = f" of {given}" if given else ""
            raise InputError(f"{self.text!r} has no value{of}: {one_line(error)}") from error

    def whole(self, values: Mapping[str, Any], least: int = 0) -> int:
        """Its value, which must be a whole number of at least so much."""
        value = self(values)
        try:
            number = _whole(value)
        except (TypeError, ValueError) as error:
            what = f"{self.text!r} is {_shown(value)}: give a whole number"
            raise InputError(f"{what}; ceil() and floor() make one of a fraction") from error
        if number < least:
            raise InputError(f"{self.text!r} is {number}: give at least {least}")
        return number

    def number(self, values: Mapping[str, Any]) -> float:
        """Its value, which must be a number of at least 0."""
        value = self(values)
        if isinstance(value, bool) or not isinstance(value, (int, Fraction)) or value < 0:
            raise InputError(f"{self.text!r} is {_shown(value)}: give a number of at least 0")
        return float(value)

    def sides(self, values: Mapping[str, Any]) -> tuple[int, ...]:
        """Its value, which must be a shape."""
        value = self(values)
        parts = value if isinstance(value, tuple) else (value,)
        try:
            sides = tuple(map(_whole, parts))
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.text!r} is no shape: {one_line(error)}") from error
        if min(sides, default=0) < 0 or len(sides) > _MOST_SIDES:
            raise InputError(f"{self.text!r} is no shape: {shape_text(sides)}")
        return sides


def expression(source: Any) -> Expression:
    """Read an expression; a number is one too. An InputError says what is not known in it."""
    if isinstance(source, Expression):
        return source
    if isinstance(source, bool) or not isinstance(source, (int, float, str)):
        raise InputError(f'{source!r:.40} is no expression: write it as text, "4 * x.numel"')
    text = " ".join(str(source).split())  # of several lines in a file
    if len(text) > _LONGEST:
        raise InputError(f"{text[:40]!r}... is longer than {_LONGEST} characters")
    try:
        tree = parse_python(text, mode="eval").body
    except SyntaxError as error:
        reason = error.msg or "it is no expression"
        raise InputError(f"{text!r} cannot be read: {reason}; there are {_HOW}") from error
    names: set[str] = set()
    _check(tree, text, names)
    return Expression(text, tree, frozenset(names))


def check_names(found: Expression, known: Iterable[str]) -> None:
    """An InputError if an expression asks for what is none of these."""
    known = tuple(known)
    for name in sorted(found.names.difference(known)):
        raise InputError(f"{found.text!r}: there is no argument {name!r}; {hint(name, known)}")


def _check(tree: ast.expr, text: str, names: set[str]) -> None:
    """Refuse all but what `_evaluate` knows."""
    match tree:
        case ast.Name(id=name):
            names.add(name)
        case ast.Attribute(attr=name) if name not in _ATTRIBUTES:
            raise InputError(f"{text!r}: a tensor has no {name!r}; {hint(name, _ATTRIBUTES)}")
        case ast.Call(func=ast.Name(id=name)) if name not in _FUNCTIONS:
            raise InputError(f"{text!r}: no function {name!r}; {hint(name, _FUNCTIONS)}")
    parts = _parts(tree)
    if parts is None:
        raise InputError(f"{text!r}: {ast.unparse(tree)!r} is not known; there are {_HOW}")
    for part in parts:
        _check(part, text, names)


def _parts(tree: ast.expr) -> list[ast.expr] | None:
    """The expressions within one; None if it is of no known kind."""
    match tree:
        case ast.Constant(value=None | bool() | int() | float() | str()) | ast.Name():
            return []
        case ast.Attribute(value=value):
            return [value]
        case ast.Call(func=ast.Name(), args=parts, keywords=[]):
            return parts
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return [left, right]
        case ast.UnaryOp(op=op, operand=value) if type(op) in _UNARY:
            return [value]
        case ast.BoolOp(values=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts):
            return parts
        case ast.Compare(left=left, ops=ops, comparators=others):
            return [left, *others] if _COMPARED.keys() >= {*map(type, ops)} else None
        case ast.IfExp(test=test, body=body, orelse=other):
            return [test, body, other]
        case ast.Subscript(value=value, slice=ast.Slice(lower=lower, upper=upper, step=None)):
            return [part for part in (value, lower, upper) if part is not None]
        case ast.Subscript(value=value, slice=index) if not isinstance(index, ast.Slice):
            return [value, index]
    return None


def _evaluate(tree: Any, values: Mapping[str, Any]) -> Any:  # noqa: PLR0912  (a row for each kind)
    def of(part: Any) -> Any:
        return _evaluate(part, values)

    match tree:
        case ast.Constant(value=float() as value):
            return Fraction(str(value))
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return values[name]
        case ast.Attribute(value=part, attr=name):
            tensor = of(part)
            if not isinstance(tensor, TensorFacts):
                raise TypeError(f"{ast.unparse(part)} is {_shown(tensor)}, and no tensor")
            return _plain(getattr(tensor, name))
        case ast.Call(func=ast.Name(id=name), args=args):
            return _FUNCTIONS[name](*map(of, args))
        case ast.BinOp(left=left, op=op, right=right):
            return _combined(type(op), of(left), of(right))
        case ast.UnaryOp(op=op, operand=part):
            return _UNARY[type(op)](of(part))
        case ast.BoolOp(op=op, values=parts):
            decides = isinstance(op, ast.Or)
            for part in parts[:-1]:  # as Python has it: the value that decides
                value = of(part)
                if bool(value) is decides:
                    return value
            return of(parts[-1])
        case ast.Compare(left=left, ops=ops, comparators=others):
            found = [of(left), *map(of, others)]
            pairs = zip(ops, found, found[1:], strict=False)
            return all(_COMPARED[type(op)](one, other) for op, one, other in pairs)
        case ast.IfExp(test=test, body=body, orelse=other):
            return of(body if of(test) else other)
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return tuple(map(of, parts))
        case ast.Subscript(value=part, slice=ast.Slice(lower=lower, upper=upper)):
            ends = (None if end is None else _whole(of(end)) for end in (lower, upper))
            return of(part)[slice(*ends)]
        case ast.Subscript(value=part, slice=index):
            return of(part)[_whole(of(index))]
    raise AssertionError(ast.dump(tree))  # `_check` let it pass


def _plain(value: Any) -> Any:
    """A size that may vary, as in torch's exports, as the number that it is here: it is fixed."""
    if isinstance(value, tuple):
        return tuple(map(int, value))
    return value if isinstance(value, str) else int(value)


def _combined(op: type, left: Any, right: Any) -> Any:
    """Two numbers combined, or two shapes one after the other; nothing is repeated."""
    joined = op is ast.Add and isinstance(left, tuple) and isinstance(right, tuple)
    if not joined and not all(isinstance(side, (int, Fraction)) for side in (left, right)):
        raise TypeError(f"{_shown(left)} and {_shown(right)} are no two numbers")
    return _bounded(_BINARY[op](left, right))


def _bounded(value: Any) -> Any:
    if isinstance(value, (int, Fraction)) and not -MOST <= value <= MOST:
        raise ValueError("a number beyond 10^30")
    return value


def _shown(value: Any) -> str:
    if isinstance(value, TensorFacts):
        return f"{shape_text(value.shape) or 'a scalar'} {value.dtype}"
    return f"{float(value):g}" if isinstance(value, Fraction) else f"{value!r:.40}"
