"""What became of the checks: frozen data without torch."""

from __future__ import annotations

from dataclasses import dataclass

from srprof import figures
from srprof.quantities import Kind, format_quantity

UPDATE = "run `srprof check --update` and commit the baseline"


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of a check in its smallest unit; `compared` if the baseline's value may be."""

    metric: str
    baseline: int | None
    now: int
    limit: int | None = None
    allowed: int = 0
    compared: bool = True

    @property
    def kind(self) -> Kind:
        """What it counts."""
        return figures.find(self.metric).kind

    @property
    def change(self) -> int | None:
        """Now less the baseline; None if they are not compared."""
        return self.now - self.baseline if self.compared and self.baseline is not None else None

    @property
    def over(self) -> bool:
        """Whether it is beyond its limit."""
        return self.limit is not None and self.now > self.limit

    @property
    def grew(self) -> bool:
        """Whether it grew by more than is allowed."""
        return self.change is not None and self.change > self.allowed

    @property
    def shrank(self) -> bool:
        """Whether it went down by more than the tolerance."""
        return self.change is not None and self.change < -self.allowed

    @property
    def fails(self) -> bool:
        """Whether the check fails for it."""
        return self.over or self.grew

    @property
    def verdict(self) -> str:
        """In words."""
        if self.fails:
            return " and ".join(("over the limit",) * self.over + ("grew",) * self.grew)
        if not self.compared:
            return "not compared"
        return "smaller" if self.shrank else "ok"


@dataclass(frozen=True)
class Result:
    """What became of a check.

    Attributes:
        rows: its metrics, in the order of `srprof.figures`.
        problems: why it fails as a whole: the model does not run, or has no entry.
        left_out: in what the baseline is of another environment, and what that leaves out.
        explanation: why the figures changed, or what makes up a peak that is over its limit.
        file, line: the place in the source to point at; "" and 0 if none is known.
        partial: what was left out is a warning only.
        released: what a baseline of another patch release of torch leaves out: a warning always,
            as no line of the user's made it.
        notes: what of the run is not seen.
    """

    name: str
    rows: tuple[Row, ...] = ()
    problems: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    explanation: tuple[str, ...] = ()
    file: str = ""
    line: int = 0
    partial: bool = False
    notes: tuple[str, ...] = ()
    released: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether the gate is closed for it."""
        left_out = bool(self.left_out) and not self.partial
        return bool(self.problems) or left_out or any(row.fails for row in self.rows)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What does not close the gate, and should be known."""
        return (*self.released, *(self.left_out if self.partial else ()))

    @property
    def shrank(self) -> bool:
        """Whether it improved, so that the baseline should be made anew."""
        return any(row.shrank for row in self.rows)

    @property
    def reasons(self) -> tuple[str, ...]:
        """One sentence for each thing that fails."""
        rows = tuple(describe(row) for row in self.rows if row.fails)
        return (*self.problems, *(() if self.partial else self.left_out), *rows)


@dataclass(frozen=True)
class Report:
    """All checks of a configuration, and entries of the baseline that no check has.

    `updated` says what became of the baseline, and `accepted` in what it differs from the one
    before, a line for each difference.
    """

    results: tuple[Result, ...]
    gone: tuple[str, ...] = ()
    updated: str = ""
    accepted: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether the gate is closed."""
        return bool(self.gone) or any(result.failed for result in self.results)

    @property
    def gone_reasons(self) -> tuple[str, ...]:
        """One sentence for each entry that no check has."""
        what = f"is in the baseline and no longer checked: {UPDATE} if that is meant"
        return tuple(f"{name} {what}" for name in self.gone)


def describe(row: Row) -> str:
    """`eager peak grew by +49.61 MiB, from 788.13 MiB to 837.74 MiB (1.00 MiB is allowed)`."""

    def text(value: int, sign: bool = False) -> str:
        return format_quantity(value, row.kind, sign)

    now, parts = text(row.now), []
    if row.over and row.limit is not None:
        over = text(row.now - row.limit)
        parts.append(f"is {now}, over its limit of {text(row.limit)} by {over}")
    if row.change and row.baseline is not None and not (row.over and not row.grew):
        word = "grew" if row.change > 0 else "went down"
        allowed = f" ({text(row.allowed)} is allowed)" if row.grew and row.allowed else ""
        by = text(row.change, True)
        parts.append(f"{word} by {by}, from {text(row.baseline)} to {now}{allowed}")
    return f"{figures.find(row.metric).title} {' and '.join(parts) or 'is ' + now}"
