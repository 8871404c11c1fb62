"""An entry's source: its definitions, what guards a line, and what its constructor runs.

Only reads syntax; nothing is imported or run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

from srprof.errors import InputError
from srprof.files import parse_python, read_text

Definition = ast.ClassDef | ast.FunctionDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

#: Blocks that do not run when the file is imported.
_NEVER = frozenset({"__name__ == '__main__'", "TYPE_CHECKING", "typing.TYPE_CHECKING"})
#: Errors that a missing package, extension or GPU raises, as handlers name them.
_CAUGHT = frozenset(
    "ImportError ModuleNotFoundError OSError RuntimeError AttributeError Exception "
    "BaseException".split()
)
#: A condition that asks whether something is there.
_ASKS = re.compile(r"find_spec|available|installed|\bhas_|_ok\b|device_count|is not None", re.I)
#: One that asks for a GPU.
_ASKS_GPU = re.compile(r"cuda|device_count|gpu", re.I)

GuardKind = Literal["", "caught", "asked", "flag"]


class Guard(NamedTuple):
    """What stands around a line.

    Attributes:
        kind: "caught", in a `try` that catches what is missing; "asked", in a branch that asks
            whether it is there; "flag", in a branch of another condition; "" in none.
        test: the condition. otherwise: there is another way to go.
    """

    kind: GuardKind
    test: str = ""
    otherwise: bool = False

    @property
    def gpu(self) -> bool:
        """Whether it asks for a GPU."""
        return self.kind == "asked" and _ASKS_GPU.search(self.test) is not None


@dataclass(frozen=True)
class Part:
    """Code that runs while a network is built: a function, a method of `owner`, or statements."""

    body: tuple[ast.stmt, ...]
    owner: ast.ClassDef | None = None
    own_name: str = ""

    def nodes(self) -> Iterator[ast.AST]:
        """Its syntax, with that of functions in it, but for what does not run on import."""
        for statement in self.body:
            yield from live(statement)


@dataclass(frozen=True)
class Source:
    """A file of Python."""

    file: str
    tree: ast.Module = field(repr=False)
    lines: tuple[str, ...] = field(repr=False)

    def code(self, line: int) -> str:
        """What stands in a line."""
        return " ".join(self.lines[line - 1].split()) if 0 < line <= len(self.lines) else ""

    @cached_property
    def definitions(self) -> Mapping[str, Definition]:
        """Classes and functions of the module, wherever outside of others they stand."""
        return {node.name: node for node in _defined(self.tree.body)}

    @cached_property
    def _parents(self) -> Mapping[ast.AST, ast.AST]:
        return {c: node for node in ast.walk(self.tree) for c in ast.iter_child_nodes(node)}

    def parent(self, node: ast.AST) -> ast.AST | None:
        """What a piece of syntax stands in."""
        return self._parents.get(node)

    @cached_property
    def aliases(self) -> Mapping[str, str]:
        """What each imported name stands for: `F` for `torch.nn.functional`."""
        found: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    found[alias.asname or top] = alias.name if alias.asname else top
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        return found

    def dotted(self, node: ast.AST) -> str:
        """`torch.nn.functional.pad` for `F.pad`; "" where it is no name of a module."""
        if isinstance(node, ast.Name):
            return self.aliases.get(node.id, "")
        if isinstance(node, ast.Attribute):
            owner = self.dotted(node.value)
            return owner and f"{owner}.{node.attr}"
        return ""

    def guard(self, node: ast.AST) -> Guard:
        """What stands around a line: what catches before what asks, and that before a flag."""
        found = [g for g in self._guards(node) if g.kind]
        order: Sequence[GuardKind] = ("caught", "asked", "flag")
        return min(found, key=lambda g: order.index(g.kind), default=Guard(""))

    def _guards(self, node: ast.AST) -> Iterator[Guard]:
        while node in self._parents:
            child, node = node, self._parents[node]
            if isinstance(node, ast.Try) and child not in (*node.orelse, *node.finalbody):
                caught = [h for h in node.handlers if _catches(h)]
                if caught:
                    raises = any(isinstance(h.body[-1], ast.Raise) for h in caught)
                    yield Guard("caught", otherwise=not raises)
            elif isinstance(node, (ast.If, ast.IfExp)) and child is not node.test:
                yield self._branch(node, child)

    def _branch(self, node: ast.If | ast.IfExp, child: ast.AST) -> Guard:
        test = ast.unparse(node.test)
        if isinstance(node, ast.IfExp):
            return Guard("asked" if _ASKS.search(test) else "flag", test, True)
        first = child in node.body
        other = bool(node.orelse) or not first
        if not other and isinstance(node.body[-1], (ast.Return, ast.Raise)):
            other = self._goes_on(node)  # what stands behind it is the other way
        return Guard("asked" if _ASKS.search(test) else "flag", test, other)

    def _goes_on(self, node: ast.stmt) -> bool:
        block = getattr(self._parents[node], "body", [])
        return isinstance(block, list) and node in block and node is not block[-1]

    def imports(self) -> Iterator[Import]:
        """All that the file imports when it is imported and when the network runs."""
        for node in live(self.tree):
            for name in self._imported(node):
                yield Import(name, node.lineno, self.guard(node))  # type: ignore[attr-defined]

    def _imported(self, node: ast.AST) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            return ["." * node.level + (node.module or "")]
        if not isinstance(node, ast.Call) or not node.args:
            return []
        by_name = self.dotted(node.func) == "importlib.import_module"
        name = text(node.args[0]) if by_name or _is_name(node.func, "__import__") else ""
        return [name] if name else []

    def constructor(self, roots: Sequence[str]) -> tuple[Part, ...]:
        """What runs while these are built: the module's statements, constructors, what they call.

        Where nothing is named, of all classes and functions.
        """
        plain = (ast.ClassDef, ast.Import, ast.ImportFrom, *_FUNCTIONS)
        parts = [Part(tuple(s for s in self.tree.body if not isinstance(s, plain)))]
        ahead: list[tuple[Definition, ast.ClassDef | None]] = [
            (self.definitions[name], None) for name in roots or self.definitions
        ]
        seen: set[ast.AST] = set()
        while ahead:
            node, owner = ahead.pop(0)
            if node in seen:
                continue
            seen.add(node)
            if isinstance(node, ast.ClassDef):
                ahead += [(self.definitions[b], None) for b in self._named(node.bases)]
                first = self.method(node, "__init__")
                ahead += [(first, node)] if first is not None else []
                continue
            own_name = node.args.args[0].arg if owner is not None and node.args.args else ""
            parts.append(Part(tuple(node.body), owner, own_name))
            ahead += [(self.definitions[name], None) for name in self._named([node])]
            ahead += [(m, owner) for m in self._methods(node, owner, own_name)]
        return tuple(parts)

    def method(self, owner: ast.ClassDef, name: str) -> ast.FunctionDef | None:
        """A method of a class, or of one of its bases in this file."""
        for node in owner.body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return node
        bases = (self.definitions[b] for b in self._named(owner.bases) if b != owner.name)
        found = (self.method(b, name) for b in bases if isinstance(b, ast.ClassDef))
        return next(filter(None, found), None)

    def _methods(
        self, node: ast.FunctionDef, owner: ast.ClassDef | None, own_name: str
    ) -> Iterator[ast.FunctionDef]:
        """The methods of its own object that a method names; its `forward` is another matter."""
        for part in live(node) if owner is not None else ():
            if isinstance(part, ast.Attribute) and _is_name(part.value, own_name):
                assert owner is not None
                found = None if part.attr == "forward" else self.method(owner, part.attr)
                if found is not None:
                    yield found

    def _named(self, nodes: Sequence[ast.AST]) -> list[str]:
        """Definitions of the module that a piece of syntax names, in their order."""
        names = (n.id for node in nodes for n in live(node) if isinstance(n, ast.Name))
        return [name for name in dict.fromkeys(names) if name in self.definitions]


class Import(NamedTuple):
    """A module that a line imports; the name begins with dots where it is relative."""

    name: str
    line: int
    guard: Guard

    @property
    def top(self) -> str:
        """The package."""
        return self.name.partition(".")[0]


def read_source(file: str) -> Source:
    """The source of a file; an InputError if it cannot be read or is no Python."""
    read = read_text(file, file, "name the file of the entry")
    try:
        tree = parse_python(read, file)
    except SyntaxError as error:
        what = f"{file}:{error.lineno or 0} is no Python: {error.msg}"
        raise InputError(f"{what}; mend it first") from error
    return Source(file, tree, tuple(read.split("\n")))


def live(node: ast.AST) -> Iterator[ast.AST]:
    """A piece of syntax and all that is in it, but for blocks that do not run on import."""
    if isinstance(node, ast.If) and _is_never(node):
        for other in node.orelse:
            yield from live(other)
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from live(child)


def mentioned(nodes: Sequence[ast.stmt], names: Iterable[str]) -> list[str]:
    """Which of these names some statements have, as a name or as a text."""
    said = set()
    for statement in nodes:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name):
                said.add(node.id)
            elif isinstance(node, ast.alias):
                said.add(node.name)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                said.add(node.value)
    return [name for name in names if name in said]


def _is_never(node: ast.If | ast.Try) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in _NEVER


def _defined(body: Sequence[ast.stmt]) -> Iterator[Definition]:
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node
        elif isinstance(node, (ast.If, ast.Try)):
            handlers = (h.body for h in getattr(node, "handlers", ()))
            body = [] if _is_never(node) else node.body
            for block in (body, node.orelse, *handlers):
                yield from _defined(block)


def _catches(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = (n for n in ast.walk(handler.type) if isinstance(n, (ast.Name, ast.Attribute)))
    return any(getattr(n, "id", getattr(n, "attr", "")) in _CAUGHT for n in names)


def _is_name(node: ast.AST, name: str) -> bool:
    return bool(name) and isinstance(node, ast.Name) and node.id == name


def text(node: ast.expr) -> str:
    """The text that stands there, also as an f-string without anything in it; "" if none does."""
    if isinstance(node, ast.JoinedStr) and all(isinstance(v, ast.Constant) for v in node.values):
        return "".join(str(v.value) for v in node.values if isinstance(v, ast.Constant))
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
