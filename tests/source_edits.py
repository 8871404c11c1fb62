"""Advice carried out: the advised edits made in a copy of the source, as a person would.

Splits are not among them; those are written by hand in the tests.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

from srprof.advising.search import Step


def carry_out(steps: Sequence[Step], folder: Path) -> None:
    """Make the edits in the folder's files of the same names."""
    by_file: dict[str, list[Step]] = {}
    for step in steps:
        by_file.setdefault(Path(step.candidate.file).name, []).append(step)
    for name, members in by_file.items():
        path = folder / name
        path.write_text(edited(path.read_text(), members))


def edited(text: str, steps: Sequence[Step]) -> str:
    """The source of a file after the edits."""
    lines = _Lines(text)
    in_place = [s for s in steps if s.candidate.kind == "in-place"]
    for step in sorted(in_place, key=lambda s: -len(s.candidate.write)):  # outer before inner
        lines.replace(step.candidate.line, *reversed(step.candidate.write.split(" for ")))
    for step in steps:
        candidate = step.candidate
        if candidate.kind == "del" and candidate.write.startswith("del "):
            row, _, where = candidate.write.partition(" after ")
            start = int(where.split()[-3]) if "block" in where else candidate.line
            lines.after(candidate.line, row, start)
        elif candidate.kind == "del":
            assignment = candidate.write.removesuffix(" on a line of its own before this one")
            name, _, call = assignment.partition(" = ")
            lines.replace(candidate.line, call, name)
            lines.before(candidate.line, assignment)
    for step in steps:
        if step.candidate.kind == "order":
            lines.move(step.candidate.line, step.candidate.write)
    return lines.text()


class _Lines:
    """Lines by their old numbers, each with what was added before and after it."""

    def __init__(self, text: str) -> None:
        self.rows = dict(enumerate(text.splitlines(), 1))
        self.order = list(self.rows)
        self.added: dict[int, list[str]] = {i: [] for i in self.rows}
        self.ahead: dict[int, list[str]] = {i: [] for i in self.rows}
        self.spans = {
            n.lineno: n.end_lineno or n.lineno
            for n in ast.walk(ast.parse(text))
            if isinstance(n, (ast.Assign, ast.AugAssign, ast.Expr, ast.Return))
        }

    def _indentation(self, line: int) -> str:
        start = next((a for a, b in self.spans.items() if a <= line <= b), line)
        row = self.rows[start]
        return row[: len(row) - len(row.lstrip())]

    def replace(self, line: int, old: str, new: str) -> None:
        assert old in self.rows[line], (self.rows[line], old)
        self.rows[line] = self.rows[line].replace(old, new, 1)

    def after(self, line: int, row: str, start: int) -> None:
        self.added[line].append(self._indentation(start) + row)

    def before(self, line: int, row: str) -> None:
        self.ahead[line].append(self._indentation(line) + row)

    def move(self, line: int, write: str) -> None:
        target = int(write.rsplit(maxsplit=1)[-1])
        rows = list(range(line, self.spans[line] + 1))
        self.order = [i for i in self.order if i not in rows]
        below = "below" in write or "exchange" in write
        if "exchange" in write:
            target = self.spans[target]
        at = self.order.index(target) + below
        self.order[at:at] = rows

    def text(self) -> str:
        found = [r for i in self.order for r in (*self.ahead[i], self.rows[i], *self.added[i])]
        return "\n".join(found) + "\n"
