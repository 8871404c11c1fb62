"""How a split fusion is written: which lines, names and `del`s; or why that is left to a person.

Reads the source and the record; changes neither.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from srprof.advising.candidate import Holders
from srprof.advising.replay import Replay
from srprof.advising.rewrite import Part, SplitFusion
from srprof.advising.source import (
    Function,
    Place,
    Statement,
    assigned_whole,
    expression,
    last_use,
    names_in,
    place_of,
    within,
)
from srprof.advising.splitting import Split, lets_go

_AS_THEY_ARE = (ast.Name, ast.Attribute, ast.Subscript)


class _UnwritableError(Exception):
    """A person has to write it; says why."""


def split_rewrite(base: Replay, split: Split, function: Function, holders: Holders) -> SplitFusion:
    """What a split writes; `holders` has what references each storage at the concatenation."""
    line = base.frames[split.fusions[0][1]][-1].line
    try:
        return _Writer(base, split, function, holders).rewrite(line)
    except _UnwritableError as problem:
        return SplitFusion(line, split.early, problem=str(problem))


class _Writer:
    """A concatenation and its convolution in a function's source.

    Attributes:
        joined, fused: the calls; parts: what is concatenated.
        block: the statements among which both are; first, last: those that have them.
    """

    def __init__(self, base: Replay, split: Split, function: Function, holders: Holders) -> None:
        self.base, self.split, self.function, self.holders = base, split, function, holders
        self.cat, self.convolution, self.call = split.fusions[0]
        places = (base.frames[node][-1].place for node in (self.cat, self.convolution))
        joined, fused = (None if p is None else expression(function, p) for p in places)
        if not isinstance(joined, ast.Call) or not isinstance(fused, ast.Call):
            raise _UnwritableError("it is not written as two calls")
        listed = joined.args[0] if joined.args else None
        parts = listed.elts if isinstance(listed, (ast.List, ast.Tuple)) else None
        if parts is None or any(isinstance(part, ast.Starred) for part in parts):
            raise _UnwritableError("its parts are not written out in a list")
        first, last = function.at(place_of(joined)), function.at(place_of(fused))
        if first is None or last is None or first.block != last.block:
            raise _UnwritableError("the two are not in one block")
        if len(fused.args) != 1 or fused.keywords:
            raise _UnwritableError("the convolution is called with more than its input")
        self.joined, self.fused, self.parts = joined, fused, parts
        self.block, self.first, self.last = first.block, first.statement, last.statement
        self.joins = assigned_whole(self.first, place_of(joined))
        if fused.args[0] is not joined:
            self._check_name(fused.args[0])

    def _check_name(self, argument: ast.expr) -> None:
        """The concatenation's name is there for the convolution, and for nothing else."""
        name, between = self.joins, self.block[self.first.number + 1 : self.last.number]
        if not name or not isinstance(argument, ast.Name) or argument.id != name:
            raise _UnwritableError("the convolution does not take it as it is")
        use = last_use(self.function, name, self.first.line, without=[place_of(self.fused)])
        again = any(name in statement.stores for statement in between)
        if again or use is None or use.statement != self.first:
            raise _UnwritableError(f"{name} is read elsewhere too")

    def _check_bound(self, read: ast.expr, start: Statement, stop: Statement) -> None:
        """What an expression reads must be the same from a statement on until another."""
        between = self.block[start.number + 1 : stop.number]
        if any(names_in(read) & statement.stores for statement in between):
            raise _UnwritableError(f"what {ast.unparse(read)} reads changes in between")

    def _statement_of(self, node: int, call: int) -> Statement | None:
        """The statement of the block in which a call is at a node."""
        frame = self.base.frame(node, call)
        return next((s for s in self.block if frame and s.holds(frame.line)), None)

    def _free(self, name: str) -> str:
        """A name that the function does not have."""
        taken = names_in(self.function.node)
        while name in taken:
            name += "_"
        return name

    def rewrite(self, line: int) -> SplitFusion:
        """What is written; `line` is the convolution's."""
        for node in range(self.cat - 1, -1, -1):
            frame = self.base.frame(node, self.call)
            if frame is None or not self.first.holds(frame.line):
                break
            if frame.place is None or not within(frame.place, place_of(self.joined)):
                raise _UnwritableError("something else in its statement is computed before it")
        tail, inside = _called(self.fused.func, self.base.trace.nodes[self.convolution].module)
        name = assigned_whole(self.last, place_of(self.fused))
        named = self.split.named and name not in names_in(self.joined)
        total = name if named else self._free(f"{tail}_sum")
        let_go = None  # a sum with the name of the convolution's result lives as long as that did
        if not named:
            let_go = self.last.place if self.split.named else self._total_let_go()
        return SplitFusion(
            line=line,
            early=self.split.early,
            cat=place_of(self.joined),
            convolution=place_of(self.fused),
            statement=self.last.place,
            joined=None if self.first == self.last else self.first.place,
            joins=self.joins,
            module=self.function.text(place_of(self.fused.func)),
            inside=inside,
            total=total,
            weights=self._free(f"{tail}_weights"),
            named=named,
            parts=self._parts(total),
            let_go=let_go,
        )

    def _total_let_go(self) -> Place | None:
        """The statement behind which the sum is read no more; None if the function ends there."""
        storage = self.base.trace.nodes[self.convolution].created[0]
        uses = self.base.trace.storages[storage].uses
        reader = self._statement_of(max((self.convolution, *uses)), self.call) or self.last
        statement = max(reader, self.last, key=lambda s: s.number)
        return None if statement.returns else statement.place

    def _parts(self, total: str) -> tuple[Part, ...]:
        afters, *others = (self._afters(cat, call) for cat, _, call in self.split.fusions)
        if any(other != afters for other in others):
            raise _UnwritableError("its parts are made in another order at another place")
        earliest = min((s.number for s in afters if s), default=self.first.number)
        self._check_bound(self.fused.func, self.block[earliest], self.last)
        fresh = []
        for index, (part, after) in enumerate(zip(self.parts, afters, strict=True)):
            self._check_bound(part, after or self.first, self.first)
            plain = after is not None or isinstance(part, _AS_THEY_ARE)
            fresh.append("" if plain else self._free(f"{total}_part{index}"))
        let_go = map(tuple, self._let_go(afters, fresh))
        behind = [None if after is None else after.place for after in afters]
        channels, places = self._channels(), map(place_of, self.parts)
        return tuple(map(Part, places, channels, behind, fresh, let_go))

    def _afters(self, cat: int, call: int) -> list[Statement | None]:
        """For each part the statement behind which it is convolved; None: where they are joined."""
        afters: list[Statement | None] = []
        for info in self.base.trace.nodes[cat].inputs:
            if self.split.place(self.base, info.storage, cat, call) == cat:
                afters.append(None)
                continue
            maker = self._statement_of(self.base.trace.storages[info.storage].birth, call)
            if maker is None or not maker.simple or maker.number >= self.first.number:
                raise _UnwritableError("a part is made in another block")
            afters.append(maker)
        return afters

    def _channels(self) -> list[int]:
        """Channels of each part; the same at each place, or all of one place the same."""
        nodes = [self.base.trace.nodes[cat] for cat, _, _ in self.split.fusions]
        widths = [[info.shape[1] for info in node.inputs] for node in nodes]
        if any(w != widths[0] for w in widths) and any(len(set(w)) > 1 for w in widths):
            raise _UnwritableError("its parts have other widths at another place")
        return widths[0]

    def _let_go(
        self, afters: Sequence[Statement | None], fresh: Sequence[str]
    ) -> list[list[tuple[str, Place | None]]]:
        """For each part the variables to delete, each with the statement behind which that is done.

        A variable goes with the last convolution that needs it, or behind the statement that still
        reads it, whichever is later.
        """
        inputs = self.base.trace.nodes[self.cat].inputs
        members: dict[str, set[int]] = {}
        lines: dict[str, int] = {}
        for index, info in enumerate(inputs):
            own = lets_go(self.base, info.storage, self.call)
            for holder in self.holders.get(info.storage, ()) if own else ():
                if holder.call != self.call:
                    continue
                if holder.variable != holder.reference.variable:
                    raise _UnwritableError(f"{holder.variable} holds other things beside a part")
                members.setdefault(holder.variable, set()).add(index)
                lines[holder.variable] = holder.reference.line
        let_go: list[list[tuple[str, Place | None]]] = [[(n, None)] if n else [] for n in fresh]
        numbers = [(after or self.first).number for after in afters]
        seen = [self._last_seen(info.storage) for info in inputs]
        for name, indices in members.items():
            readers = {i for i, p in enumerate(self.parts) if not fresh[i] and name in names_in(p)}
            last = max(indices | readers, key=lambda i: (numbers[i], i))
            without = [place_of(self.parts[i]) for i in readers]
            use = last_use(self.function, name, lines[name], without)
            if use is None or use.block != self.block:
                raise _UnwritableError(f"where {name} is last read is not one place")
            if use.statement.number > max(numbers[last], *(seen[i] for i in indices)):
                raise _UnwritableError(f"{name} is still read in line {use.statement.line}")
            in_turn = use.statement.number <= numbers[last]
            if in_turn and use.statement not in (self.first, self.last):
                let_go[last].append((name, None))
            elif not use.statement.returns:
                let_go[last].append((name, use.statement.place))
        return let_go

    def _last_seen(self, storage: int) -> int:
        """The number of the statement that uses a storage last in the recorded run."""
        part = self.base.trace.storages[storage]
        last = max(use for use in (*part.uses, part.birth) if use != self.cat)
        return (self._statement_of(last, self.call) or self.last).number


def _called(func: ast.expr, module: str) -> tuple[str, bool]:
    """The attribute that is called, and whether it is a Sequential that begins with the module."""
    depth = 0
    while isinstance(func, ast.Subscript):
        func, depth = func.value, depth + 1
    path = module.split(".")
    name = func.attr if isinstance(func, ast.Attribute) else ""
    if name and path[-1 - depth :][:1] == [name]:
        return name, False
    if name and path[-2 - depth :][:1] == [name] and path[-1] == "0":
        return name, True
    raise _UnwritableError("which module is called is not in plain sight")
