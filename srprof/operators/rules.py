"""What a rule file or a package says of operators that are not there: `Rule`, `Stub`, `RuleFile`.

Sizes are expressions (`srprof.operators.expressions`) of the call's arguments. No torch.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple

from srprof.errors import InputError
from srprof.files import load_table, parse_python
from srprof.operators.expressions import Expression, check_names, expression
from srprof.ops import CONVOLUTIONS, FAMILIES
from srprof.records import Ruled
from srprof.rules import Filled, each, known, listed, read_by, rule, short
from srprof.words import hint, one_line

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
#: Begins the name of an operator that torch keeps: `torch.ops.my.op`.
OF_TORCH = "torch.ops."
#: What nobody else's rule may be of: their operators have rows in `srprof.ops`.
_TAKEN = ("aten", "prim", "prims", "srprof", "torch")
#: dtypes that a rule can name without asking an argument for its own.
DTYPES = (
    "float16", "bfloat16", "float32", "float64", "complex64", "complex128",
    "int8", "uint8", "int16", "int32", "int64", "bool",
)  # fmt: skip

#: What a rule can say that it is like; a convolution's cost is told by its arguments.
_FAMILIES = tuple(family for family in FAMILIES if family not in CONVOLUTIONS)

_Expression = Annotated[Expression | None, read_by(expression)]


def _dtype(source: object) -> Expression:
    """A dtype's name, or an expression that gives one."""
    return expression(repr(source) if source in DTYPES else source)


@dataclass(frozen=True, kw_only=True)
class Made:
    """A tensor that a call makes, or hands back.

    Attributes:
        like: the argument whose shape, strides and dtype it has, as `torch.empty_like` gives them.
        shape: its own, contiguous. dtype: its own; else that of `like` or of the first tensor.
        same: the argument that the call hands back, changed in place; the rest is left out then.
        when: the condition under which it is made; "" is always.
        name: by which `saves` calls it.
    """

    like: str = ""
    shape: _Expression = None
    dtype: Annotated[Expression | None, read_by(_dtype)] = None
    same: str = ""
    when: _Expression = None
    name: str = ""

    def __post_init__(self) -> None:
        _read(self, shape=expression, dtype=_dtype, when=expression)
        if self.same and (self.like or self.shape or self.dtype):
            raise InputError(f"same = {self.same!r} is that tensor itself: leave the rest out")
        if not (self.same or self.like or self.shape):
            raise InputError('give like = "x", or shape = "x.shape[0], 3"')


def _made(value: object) -> object:
    """A result that is like an argument may be its name alone."""
    return {"like": value} if isinstance(value, str) else value


def _block(value: object) -> object:
    """A block of scratch may be a number of bytes alone."""
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return {"shape": value, "dtype": "uint8"}
    return value


def _all(short_form: Callable[[object], object]) -> Callable[[object], object]:
    """Each of a list in its long form; of a list with one, that one alone will do."""

    def expand(value: object) -> object:
        alone = isinstance(value, (str, int, Mapping)) and not isinstance(value, bool)
        value = [value] if alone else value
        return list(map(short_form, value)) if isinstance(value, (list, tuple)) else value

    return expand


_RESULTS: Any = Annotated[
    tuple[Made, ...], each("tensor"), short(_all(_made)), rule("a result, or a list of such", bool)
]
_BLOCKS: Any = Annotated[tuple[Made, ...], each("tensor"), short(_all(_block))]


class Plan(NamedTuple):
    """What a call makes: new tensors of its results and of its scratch, in order."""

    results: tuple[Made, ...]
    scratch: tuple[Made, ...]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What one function of a package that may be missing does, in sizes.

    Attributes:
        function: its dotted name, `fused_ops.gate`, or `torch.ops.fused.gate`.
        signature: what it takes, as Python has it: `x, weight, bias=None, *, act="silu"`.
        result: the tensors that it gives; several are a tuple.
        scratch: tensors that it makes and lets go when it ends; bytes where only those are known.
        macs: multiply-accumulates; None where nobody can say, and the op is listed as uncounted.
        moves: bytes that it reads and writes; if not given, each of its tensors once.
        time_us: microseconds that it takes on the device; if not given, what a profile makes of
            `macs` and `moves`.
        kernels: that it launches. family: of `srprof.ops`, by whose speed a profile predicts it.
        saves: arguments and named tensors that autograd keeps for backward; None: all arguments.
        writes: arguments that it changes in place.
        cpu: code that computes it in main memory, `file.py:function` beside the rules, or from
            Python a function; "" has none.
        compiled: it is compiled code. Of such torch.jit sees the tensors that it makes, and so a
            result depends there on the argument that it is like, and on no other.
        always: it stands in where the package is installed, too.
        source: where the facts are from.
    """

    function: Annotated[str, rule("a dotted name, fused_ops.gate", _DOTTED.fullmatch)]
    signature: Filled
    result: _RESULTS = ()
    scratch: _BLOCKS = ()
    macs: _Expression = None
    moves: _Expression = None
    time_us: _Expression = None
    kernels: _Expression = None
    family: Annotated[str, known(lambda: _FAMILIES)] = "other"
    saves: tuple[str, ...] | None = None
    writes: Annotated[tuple[str, ...], short(listed)] = ()
    cpu: Any = ""
    compiled: bool = False
    always: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        of_sizes = dict.fromkeys(("macs", "moves", "time_us", "kernels"), expression)
        _read(self, **of_sizes)
        for name, expand in {"result": _made, "scratch": _block}.items():
            tensors = _all(expand)(getattr(self, name))
            made = [Made(**t) if isinstance(t, Mapping) else t for t in tensors]  # type: ignore[attr-defined]
            object.__setattr__(self, name, tuple(made))
        object.__setattr__(self, "writes", tuple(listed(self.writes)))
        if self.saves is not None:
            object.__setattr__(self, "saves", tuple(self.saves))
        if not _DOTTED.fullmatch(self.function):
            raise InputError(f"{self.function!r} is no dotted name, such as fused_ops.gate")
        if self.namespace in _TAKEN:
            raise InputError(f"function {self.function!r}: {self.namespace} has its own operators")
        if self.family not in _FAMILIES:
            raise InputError(f"unknown family {self.family!r}; {hint(self.family, _FAMILIES)}")
        if not (callable(self.cpu) or isinstance(self.cpu, str)):
            raise InputError(f"cpu is {self.cpu!r:.40}: give file.py:function")
        object.__setattr__(self, "_parameters", _parameters(self.signature))
        self._check()

    def _check(self) -> None:
        """An InputError if it asks for what its signature has not."""
        names = tuple(self.parameters.parameters)
        for made in (*self.result, *self.scratch):
            for argument in filter(None, (made.like, made.same)):
                _refuse_unknown(argument, names)
        expressions = [self.macs, self.moves, self.time_us, self.kernels]
        for made in (*self.result, *self.scratch):
            expressions += [made.shape, made.dtype, made.when]
        for found in filter(None, expressions):
            check_names(found, names)
        for argument in self.writes:
            _refuse_unknown(argument, names, "writes ")
        own = [made.name for made in (*self.result, *self.scratch) if made.name]
        for name in self.saves or ():
            _refuse_unknown(name, (*names, *own), "saves ")
        if not (self.result or self.writes):
            raise InputError('it makes nothing: give result = "x", or what it writes')

    @property
    def parameters(self) -> inspect.Signature:
        """Its signature."""
        signature: inspect.Signature = self._parameters  # type: ignore[attr-defined]
        return signature

    @property
    def module(self) -> str:
        """The module that has the function: `fused_ops`, or `torch.ops.fused`."""
        return self.function.rpartition(".")[0]

    @property
    def name(self) -> str:
        """The function's own name."""
        return self.function.rpartition(".")[2]

    @property
    def namespace(self) -> str:
        """Under which torch knows the operator: its package's name."""
        return self.function.removeprefix(OF_TORCH).partition(".")[0]

    def plan(self, values: Mapping[str, Any]) -> Plan:
        """The tensors that a call with these arguments makes."""
        with _of(self, "result"):
            results = tuple(m for m in self.result if not m.same and _holds(m, values))
        with _of(self, "scratch"):
            return Plan(results, tuple(m for m in self.scratch if _holds(m, values)))

    def returned(self, values: Mapping[str, Any]) -> tuple[Made, ...]:
        """What it gives, in order, arguments that it hands back too."""
        with _of(self, "result"):
            return tuple(made for made in self.result if _holds(made, values))

    def sides(self, made: Made, values: Mapping[str, Any]) -> tuple[int, ...] | None:
        """The shape of a tensor that it makes; None if that is as another's."""
        with _of(self, "shape"):
            return None if made.shape is None else made.shape.sides(values)

    def dtype(self, made: Made, values: Mapping[str, Any]) -> str | None:
        """The dtype of a tensor that it makes; None if that is as another's."""
        with _of(self, "dtype"):
            name = None if made.dtype is None else made.dtype(values)
            if name is not None and name not in DTYPES:
                raise InputError(f"{made.dtype.text!r} is {name!r:.40}, and no dtype")  # type: ignore[union-attr]
            return name

    def ruled(self, values: Mapping[str, Any], by: str) -> Ruled:
        """What a call with these arguments costs."""
        counts: dict[str, int | None] = {}
        for name in ("macs", "moves", "kernels"):
            with _of(self, name):
                found: Expression | None = getattr(self, name)
                counts[name] = None if found is None else found.whole(values)
        with _of(self, "time_us"):
            time = None if self.time_us is None else self.time_us.number(values) / 1e6
        kernels = 1 if counts["kernels"] is None else counts["kernels"]
        macs, moved = counts["macs"], counts["moves"]
        depends = self._like(values) if self.compiled else None
        return Ruled(self.function, by, macs, self.family, moved, time, kernels, depends)

    def _like(self, values: Mapping[str, Any]) -> tuple[int, ...]:
        """Positions of the arguments that results are like."""
        names = list(self.parameters.parameters)
        return tuple(names.index(made.like) for made in self.returned(values) if made.like)


class _of:  # noqa: N801  (reads as a word)
    """Says of which rule, and of what in it, an expression has no value."""

    def __init__(self, of: Rule, part: str) -> None:
        self._where = f"the rule of {of.function}: {part}"

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: Any, error: Any, _: Any) -> None:
        if isinstance(error, InputError):
            raise InputError(f"{self._where} {error}") from error


def _holds(made: Made, values: Mapping[str, Any]) -> bool:
    return made.when is None or bool(made.when(values))


def _read(record: Any, **readers: Callable[[Any], Any]) -> None:
    """Read a frozen record's expressions where Python gave them as text."""
    for name, read in readers.items():
        value = getattr(record, name)
        if value is not None:
            try:
                object.__setattr__(record, name, read(value))
            except InputError as error:
                raise InputError(f"{name} {error}") from error


def _refuse_unknown(name: str, known_names: Iterable[str], what: str = "") -> None:
    known_names = tuple(known_names)
    if name not in known_names:
        raise InputError(f"{what}{name!r} is no argument; {hint(name, known_names)}")


def _parameters(text: str) -> inspect.Signature:
    """A signature's text, read and not run; an InputError if it is none."""
    wrong = f"signature {text!r:.60} cannot be read: write x, weight, bias=None"
    try:
        (function,) = parse_python(f"def function({text}): pass").body
    except (SyntaxError, ValueError) as error:
        raise InputError(wrong) from error
    if not isinstance(function, ast.FunctionDef) or function.args.vararg or function.args.kwarg:
        raise InputError(f"{wrong}; * and ** take what no rule can speak of")
    found, kinds = function.args, inspect.Parameter
    places = [*found.posonlyargs, *found.args]
    without = [inspect.Parameter.empty] * (len(places) - len(found.defaults))
    try:
        defaults = [*without, *map(_literal, found.defaults)]
        named = [kinds.empty if d is None else _literal(d) for d in found.kw_defaults]
    except ValueError as error:
        raise InputError(f"{wrong}; defaults are numbers, texts, None and lists") from error
    parameters = [
        inspect.Parameter(
            argument.arg,
            kinds.POSITIONAL_ONLY if argument in found.posonlyargs else kinds.POSITIONAL_OR_KEYWORD,
            default=default,
        )
        for argument, default in zip(places, defaults, strict=True)
    ]
    parameters += [
        inspect.Parameter(argument.arg, kinds.KEYWORD_ONLY, default=default)
        for argument, default in zip(found.kwonlyargs, named, strict=True)
    ]
    return inspect.Signature(parameters)


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(one_line(error)) from error


@dataclass(frozen=True, kw_only=True)
class Stub:
    """Python code in the place of a module that is missing.

    Attributes:
        name: the module's dotted name. file: beside the rules, a Python file that is run as it.
    """

    name: Annotated[str, rule("a module's dotted name", _MODULE.fullmatch)]
    file: Annotated[str, rule("a Python file, stub.py", lambda name: name.endswith(".py"))]


@dataclass(frozen=True, kw_only=True)
class RuleFile:
    """A file of rules: `[[op]]` and `[[module]]`."""

    op: Annotated[tuple[Rule, ...], each("op", "function"), rule("[[op]] in double brackets")] = ()
    module: Annotated[
        tuple[Stub, ...], each("module", "name"), rule("[[module]] in double brackets")
    ] = ()

    def __post_init__(self) -> None:
        if not (self.op or self.module):
            raise InputError("it has no rules: give an [[op]] with function, signature and result")


def load(path: str) -> RuleFile:
    """The rules in a file, with paths from its folder; an InputError says what is wrong in it."""
    found = load_table(RuleFile, path, f"rules {path}")
    folder = os.path.dirname(os.path.abspath(path))
    stubs = tuple(replace(s, file=os.path.join(folder, s.file)) for s in found.module)
    for stub in stubs:
        if not os.path.isfile(stub.file):
            raise InputError(f"rules {path}: module {stub.name}: there is no file {stub.file}")
    ops = tuple(replace(o, cpu=_beside(folder, o, path)) if o.cpu else o for o in found.op)
    return replace(found, op=ops, module=stubs)


def _beside(folder: str, of: Rule, path: str) -> str:
    """Where a rule's code is."""
    file, _, function = str(of.cpu).rpartition(":")
    if not (isinstance(of.cpu, str) and file.endswith(".py") and function.isidentifier()):
        raise InputError(
            f"rules {path}: op {of.function}: cpu {of.cpu!r:.40}: give file.py:function"
        )
    whole = os.path.join(folder, file)
    if not os.path.isfile(whole):
        raise InputError(f"rules {path}: op {of.function}: there is no file {whole}")
    return f"{whole}:{function}"
