"""Edits carried out in a file by libcst, which keeps comments and formatting.

Needs the extra `apply`; imported only when edits are carried out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import libcst as cst
import libcst.matchers as m
from libcst.metadata import MetadataWrapper, PositionProvider

from srprof.advising.rewrite import (
    BindCall,
    Construct,
    Delete,
    ExchangeStatements,
    MoveStatement,
    Overwrite,
    Part,
    Rewrite,
    SplitFusion,
)
from srprof.advising.source import Place
from srprof.advising.syntax import (
    apart,
    comment_line,
    comments,
    constructed_in_place,
    functional,
)

#: Where a statement begins: line and column.
Start = tuple[int, int]
Row = cst.SimpleStatementLine | cst.BaseCompoundStatement
_Suite = cst.IndentedBlock | cst.SimpleStatementSuite
_N = TypeVar("_N", bound=cst.CSTNode)

_NOWHERE: Start = (0, 0)
_Deletions = dict[Start, list[str]]
_ATOMS = (cst.Name, cst.Attribute, cst.Subscript, cst.Call)


class Edit(NamedTuple):
    """A rewrite, the function that it is in, and the line that names it in messages."""

    rewrite: Rewrite
    function: str
    line: int


class UnplaceableError(Exception):
    """An edit cannot be carried out; says why, and has its line."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def edited(source: bytes, text: str, edits: Sequence[Edit]) -> bytes:
    """A file after edits.

    Args:
        source: the file; text: the same decoded, with plain newlines.

    Raises:
        UnplaceableError: one of them cannot be carried out.
    """
    for rewrite, _, line in edits:
        if isinstance(rewrite, SplitFusion) and rewrite.problem:
            raise UnplaceableError(line, rewrite.problem)
        if isinstance(rewrite, Construct) and rewrite.call is None:
            raise UnplaceableError(line, f"{rewrite.path} is not constructed in plain sight")
    try:
        module = cst.parse_module(source)
    except cst.ParserSyntaxError as error:
        raise UnplaceableError(error.raw_line, "libcst cannot read this line") from error
    edits = _with_own_names(edits)
    editor = _Editor(module, text, edits)
    after = MetadataWrapper(module, unsafe_skip_copy=True).visit(editor)
    for rewrite, _, line in edits:
        if id(rewrite) not in editor.done:
            raise UnplaceableError(line, "what it changes is not there")
    return after.bytes


def _with_own_names(edits: Sequence[Edit]) -> list[Edit]:
    """The edits, with no name for two sums of one function."""
    taken: set[tuple[str, str]] = set()
    named = []
    for edit in edits:
        split, tail = edit.rewrite, ""
        if isinstance(split, SplitFusion):
            while (edit.function, split.weights + tail) in taken:
                tail += "_"
            taken.add((edit.function, split.weights + tail))
            total = split.total if split.named else split.total + tail
            split = replace(split, weights=split.weights + tail, total=total)
        named.append(edit._replace(rewrite=split))
    return named


class _Editor(cst.CSTTransformer):
    """Makes all edits of a file in one walk, inner syntax before outer.

    Attributes:
        done: ids of the rewrites that were made.
    """

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, module: cst.Module, text: str, edits: Sequence[Edit]) -> None:
        super().__init__()
        self.done: set[int] = set()
        self._module = module
        self._lines = text.split("\n")
        self._functional = functional(text)
        self._numbers = {id(rewrite): line for rewrite, _, line in edits}
        rewrites = [edit.rewrite for edit in edits]
        self._splits = [r for r in rewrites if isinstance(r, SplitFusion)]
        self._deletes = [r for r in rewrites if isinstance(r, Delete)]
        self._binds = [r for r in rewrites if isinstance(r, BindCall)]
        self._moves = [r for r in rewrites if isinstance(r, (MoveStatement, ExchangeStatements))]
        self._expressions = self._by_expression(rewrites)
        self._touched = {self._start(place) for r in rewrites for place in _statements(r)}
        whole = [s.statement for s in self._splits if s.named and not s.inside]
        self._replaced_whole = {self._start(p) for p in (*whole, *(s.joined for s in self._splits))}
        self._values: dict[Place, cst.BaseExpression] = {}
        self._bound: dict[int, cst.BaseExpression] = {}
        self._begun: set[int] = set()
        self._late: set[tuple[int, str]] = set()
        self._comments: list[str] = []

    # -- places: columns are characters here, where `ast` has bytes

    def _at(self, place: Place) -> Place:
        line, column, last, end = place
        return line, self._column(line, column), last, self._column(last, end)

    def _column(self, line: int, column: int) -> int:
        return len(self._lines[line - 1].encode()[:column].decode())

    def _start(self, place: Place | None) -> Start:
        return _NOWHERE if place is None else self._at(place)[:2]

    def _range(self, node: cst.CSTNode) -> Place:
        found = self.get_metadata(PositionProvider, node)
        return found.start.line, found.start.column, found.end.line, found.end.column

    def _by_expression(self, rewrites: Iterable[Rewrite]) -> dict[Place, list[Rewrite]]:
        """Rewrites by the expression that they replace, `BindCall` last."""
        by_place: dict[Place, list[Rewrite]] = {}
        for rewrite in sorted(rewrites, key=lambda r: isinstance(r, BindCall)):
            place = _expression(rewrite)
            if place is not None:
                by_place.setdefault(self._at(place), []).append(rewrite)
        return by_place

    # -- expressions

    def on_leave(self, original_node: _N, updated_node: _N) -> Any:
        """Change an expression or a block, once what is inside is changed."""
        node: Any = super().on_leave(original_node, updated_node)
        if isinstance(original_node, cst.BaseExpression):
            place = self._range(original_node)
            for rewrite in self._expressions.get(place, ()):
                node = self._replaced(rewrite, node)
            self._values[place] = node
        elif isinstance(original_node, (cst.IndentedBlock, cst.SimpleStatementSuite)):
            node = self._block(original_node, node)
        elif isinstance(original_node, cst.SimpleStatementLine) and self._comments:
            kept = [comment_line(text) for text in self._comments]
            self._comments.clear()
            node = node.with_changes(leading_lines=[*node.leading_lines, *kept])
        return node

    def _replaced(self, rewrite: Rewrite, node: cst.BaseExpression) -> cst.BaseExpression:
        if isinstance(rewrite, BindCall):
            self._bound[id(rewrite)] = node
            return cst.Name(rewrite.name)
        self.done.add(id(rewrite))
        if isinstance(rewrite, SplitFusion):
            then, total = f"{rewrite.module}[1:]", rewrite.total  # what follows in a Sequential
            new = cst.parse_expression(f"{then}({total})" if rewrite.inside else total)
        elif isinstance(rewrite, Construct):
            new = constructed_in_place(cst.ensure_type(node, cst.Call))
        else:
            assert isinstance(rewrite, Overwrite)
            new = self._overwritten(rewrite, node)
        lost = Counter(comments(node)) - Counter(comments(new))
        self._comments += lost.elements()
        return new.with_changes(lpar=node.lpar, rpar=node.rpar)

    def _overwritten(self, rewrite: Overwrite, node: cst.BaseExpression) -> cst.BaseExpression:
        into = self._values[self._at(rewrite.into)]
        if not rewrite.call.endswith("_"):
            numbers = "".join(f"{number!r}, " for number in rewrite.numbers)
            name = self._named(rewrite)
            return self._parsed(f"{name}.{rewrite.call}({self._code(into)}, {numbers}inplace=True)")
        others = [self._code(self._values[self._at(place)]) for place in rewrite.others]
        for argument in node.args if isinstance(node, cst.Call) else ():
            if argument.keyword is not None:
                others.append(self._code(argument.with_changes(comma=cst.MaybeSentinel.DEFAULT)))
        plain = isinstance(into, _ATOMS) or into.lpar
        atom = self._code(into) if plain else f"({self._code(into)})"
        return self._parsed(f"{atom}.{rewrite.call}({', '.join(others)})")

    def _named(self, rewrite: Rewrite) -> str:
        if not self._functional:
            number = self._numbers[id(rewrite)]
            raise UnplaceableError(number, "the file does not import torch.nn.functional")
        return self._functional

    def _code(self, node: cst.CSTNode) -> str:
        return self._module.code_for_node(node)

    def _parsed(self, code: str) -> cst.BaseExpression:
        """An expression, in brackets if it takes several lines."""
        return cst.parse_expression(f"({code})" if "\n" in code else code)

    def _row(self, code: str) -> Row:
        return cst.parse_statement(code, config=self._module.config_for_parsing)

    # -- statements

    def _block(self, original: _Suite, updated: _Suite) -> cst.BaseSuite:
        rows = dict(self._rows(original, updated))
        if not self._touched & rows.keys():
            return updated
        order = self._in_order(list(rows))
        deletions = self._deletions(order, rows)
        lead: list[cst.EmptyLine] = []
        body: list[Row] = []
        for start in order:
            row = rows[start]
            lead += row.leading_lines
            group = self._ahead(start)
            if start in self._replaced_whole:
                lead += map(comment_line, comments(row.with_changes(leading_lines=())))
            else:
                group.append(row.with_changes(leading_lines=()))
            group += [*self._deleted(deletions.get(start, ())), *self._behind(start)]
            if group:
                body += [group[0].with_changes(leading_lines=lead), *group[1:]]
                lead = []
        if isinstance(updated, cst.IndentedBlock):
            return updated.with_changes(body=body, footer=[*lead, *updated.footer])
        return cst.IndentedBlock(body=body, footer=lead)

    def _rows(self, original: _Suite, updated: _Suite) -> Iterator[tuple[Start, Row]]:
        """The statements of a block by where they began, each on a line of its own if need be."""
        pairs: Iterable[tuple[Any, Any]] = [(original, updated)]
        if isinstance(original, cst.IndentedBlock):
            pairs = zip(original.body, updated.body, strict=True)
        for old, new in pairs:
            if isinstance(old, cst.BaseCompoundStatement):
                yield self._range(old)[:2], new
                continue
            starts = [self._range(small)[:2] for small in old.body]
            alone = len(starts) == 1 or not self._touched.intersection(starts)
            if alone and isinstance(new, cst.SimpleStatementLine):
                yield starts[0], new
            else:
                yield from zip(starts, apart(new), strict=True)

    def _in_order(self, starts: list[Start]) -> list[Start]:
        """The statements of a block as the moves have them."""
        for move in self._moves:
            if isinstance(move, MoveStatement):
                places, below = (move.statement, move.beside), move.below
            else:
                places, below = (move.first, move.second), True
            moved, beside = map(self._start, places)
            if moved in starts and beside in starts:
                starts.remove(moved)
                starts.insert(starts.index(beside) + below, moved)
                self.done.add(id(move))
        return starts

    def _ahead(self, start: Start) -> list[Row]:
        """What stands before a statement."""
        rows = []
        for bind in self._binds:
            if self._start(bind.before) == start and id(bind) in self._bound:
                rows.append(self._assigned(bind.name, self._bound[id(bind)]))
                self.done.add(id(bind))
        for split in self._splits:
            if self._start(split.joined or split.statement) == start:
                parts = [part for part in split.parts if part.after is None]
                for part in (part for part in parts if part.fresh):
                    rows.append(self._assigned(part.fresh, self._values[self._at(part.place)]))
                for part in parts:
                    rows += self._convolved(split, part)
        return rows

    def _behind(self, start: Start) -> list[Row]:
        """The convolutions that stand behind a statement."""
        return [
            row
            for split in self._splits
            for part in split.parts
            if self._start(part.after) == start
            for row in self._convolved(split, part)
        ]

    def _deletions(self, order: Sequence[Start], rows: Mapping[Start, Row]) -> _Deletions:
        """The names to delete behind each statement of a block, where none is read any more."""
        here = [split for split in self._splits if self._start(split.statement) in rows]
        pairs = [(split.total, split.let_go) for split in here]
        own = {split.joins for split in here}
        for split in here:
            for part in split.parts:
                own.update(name for name, _ in part.let_go)
                pairs += [(n, behind) for n, behind in part.let_go if behind is not None]
                at = part.after or split.joined or split.statement
                for name, _ in (pair for pair in part.let_go if pair[1] is None):
                    if self._last_reader(name, self._start(at), order, rows) != self._start(at):
                        pairs.append((name, at))
                        self._late.add((id(split), name))
        for delete in self._deletes:
            if self._start(delete.after) in rows:
                self.done.add(id(delete))
                pairs += [(name, delete.after) for name in delete.names if name not in own]
        found: _Deletions = {}
        for name, place in pairs:
            start = self._start(place)
            if start in rows:
                found.setdefault(self._last_reader(name, start, order, rows), []).append(name)
        return found

    def _last_reader(
        self, name: str, start: Start, order: Sequence[Start], rows: Mapping[Start, Row]
    ) -> Start:
        """The statement, or a later one that stood before it and reads the name."""
        later = order[order.index(start) + 1 :] if start in order else ()
        moved = (s for s in reversed(later) if s < start and m.findall(rows[s], m.Name(name)))
        return next(moved, start)

    def _convolved(self, split: SplitFusion, part: Part) -> Iterator[Row]:
        """The convolution of one part of a split fusion."""
        module = split.module + "[0]" * split.inside
        index, channels = split.parts.index(part), [p.channels for p in split.parts]
        value = part.fresh or self._code(self._values[self._at(part.place)])
        call = f"{self._named(split)}.conv2d({value}, {split.weights}[{index}]"
        if id(split) in self._begun:
            yield self._row(f"{split.total} += {call})")
        else:
            self._begun.add(id(split))
            even = f"chunk({len(channels)}, dim=1)"
            cut = even if len(set(channels)) == 1 else f"split({channels}, dim=1)"
            yield self._row(f"{split.weights} = {module}.weight.{cut}")
            yield self._row(f"{split.total} = {call}, {module}.bias)")
        yield from self._deleted(
            name
            for name, behind in part.let_go
            if behind is None and (id(split), name) not in self._late
        )

    def _assigned(self, name: str, value: cst.BaseExpression) -> Row:
        code = self._code(value)
        return self._row(f"{name} = ({code})" if "\n" in code else f"{name} = {code}")

    def _deleted(self, names: Iterable[str]) -> list[Row]:
        listed = ", ".join(dict.fromkeys(names))
        return [self._row(f"del {listed}")] if listed else []


def _expression(rewrite: Rewrite) -> Place | None:
    """The expression that a rewrite replaces."""
    match rewrite:
        case Overwrite(place=place) | BindCall(call=place) | Construct(call=place):
            return place
        case SplitFusion(convolution=place):
            return place
    return None


def _statements(rewrite: Rewrite) -> Iterator[Place]:
    """The statements that a rewrite names."""
    match rewrite:
        case Delete(after=place) | BindCall(before=place):
            yield place
        case MoveStatement(statement=one, beside=other) | ExchangeStatements(one, other):
            yield from (one, other)
        case SplitFusion():
            places = [rewrite.joined, rewrite.statement, rewrite.let_go]
            for part in rewrite.parts:
                places += [part.after, *(place for _, place in part.let_go)]
            yield from filter(None, places)
