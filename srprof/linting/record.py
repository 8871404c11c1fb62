"""What `srprof lint` found, as frozen data. Times in milliseconds, sizes in bytes. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from srprof._version import __version__
from srprof.challenge.years import Year, find
from srprof.codec import encode, pick
from srprof.shown import Shown

#: Version of the JSON object.
SCHEMA = 1

Status = Literal["not applicable", "passed", "warned", "failed"]

#: From what needs nothing to what needs the most.
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, at one place.

    Attributes:
        status: "passed", "warned", "failed", or "not applicable" where nothing could be looked at.
        what: was found, in one line. mend: what to do about it, "" if nothing.
        file, line: of the source, "" and 0 where it is no line's. code: what stands there.
    """

    status: Status
    what: str
    mend: str = ""
    file: str = ""
    line: int = 0
    code: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """A question about an entry, and what was found; `title` is what should hold."""

    name: str
    title: str
    findings: tuple[Finding, ...]

    @property
    def status(self) -> Status:
        """The worst of what was found."""
        return max((f.status for f in self.findings), key=STATUSES.index, default="passed")


@dataclass(frozen=True, slots=True)
class Term:
    """A metric's part of a score.

    Attributes:
        metric: "runtime_ms", "flops" or "params". value: of the entry; baseline: the year's.
        score: what it adds. worth: by how much the score falls if the value does by one `unit`,
            as the derivative says. unit: in the metric's smallest unit (1 ms, 1e9, 1e3).
    """

    metric: str
    value: float
    baseline: float
    score: float
    worth: float
    unit: float


@dataclass(frozen=True, slots=True)
class Price:
    """A change of the entry that `srprof advise` found, in the score.

    Attributes:
        kind: of the edit, "del", "in-place", "order" or "split"; or "width".
        what: to write, or the width. file, line: where; "" and 0 of a width.
        runtime_ms, flops, params: with it, and with all edits above it.
        score: then. change: of the score, against the row above; of a width against the entry.
    """

    kind: str
    what: str
    file: str
    line: int
    runtime_ms: float
    flops: float
    params: float
    score: float
    change: float


@dataclass(frozen=True, slots=True)
class Standing:
    """What an entry's score is, as predicted.

    Attributes:
        score: the lower the better; uncertainty: one standard deviation of it, by the runtime's.
        profile, image: the device that the runtime is predicted for, and the input's shape.
        runtime_ms: predicted; uncertainty_ms: one standard deviation of it.
        terms: what the score is made of. edits, widths: what advise found, priced.
    """

    score: float
    uncertainty: float
    profile: str
    image: tuple[int, ...]
    runtime_ms: float
    uncertainty_ms: float
    terms: tuple[Term, ...]
    edits: tuple[Price, ...] = ()
    widths: tuple[Price, ...] = ()


@dataclass(frozen=True, repr=False)
class Lint(Shown):
    """An entry, held against what a challenge asks of one.

    Attributes:
        entry: what was asked about; name: of the network; file: of its source, "" if it has none.
        script, team: the challenge's program that builds it, and its number there; "" and None
            without one.
        year: name of the challenge whose rules are meant. scale: from LR to HR.
        checks: in the order of a report.
        standing: the score; None where there is none, and `unscored` says why.
        notes: what a reader must know, one line each.
    """

    view = "lint"

    entry: str
    name: str
    file: str
    script: str
    team: int | None
    year: str
    scale: int
    checks: tuple[Check, ...]
    standing: Standing | None = None
    unscored: str = ""
    notes: tuple[str, ...] = ()

    @property
    def rules(self) -> Year:
        """Those of the year."""
        return find(self.year)

    @property
    def failed(self) -> bool:
        """Whether a check failed."""
        return any(check.status == "failed" for check in self.checks)

    @property
    def counts(self) -> Mapping[Status, int]:
        """Checks by status, the worst first."""
        found = [check.status for check in self.checks]
        return {s: found.count(s) for s in reversed(STATUSES) if s in found}

    def check(self, name: str) -> Check:
        """The check of that name."""
        return next(check for check in self.checks if check.name == name)

    def to_dict(self) -> dict[str, object]:
        """The JSON object of `srprof lint --format json`."""
        return {
            "schema": SCHEMA,
            "srprof": __version__,
            **pick(self, "entry name file script team year scale failed"),
            "checks": [
                {**pick(c, "name title status"), "findings": [encode(f) for f in c.findings]}
                for c in self.checks
            ],
            "score": None if self.standing is None else encode(self.standing),
            "unscored": self.unscored or None,
            **pick(self, "notes"),
        }


def passed(what: str) -> Finding:
    """A finding that needs nothing."""
    return Finding("passed", what)


def skipped(why: str) -> Finding:
    """Nothing could be looked at."""
    return Finding("not applicable", why)


def check(name: str, title: str, findings: Iterable[Finding], well: str) -> Check:
    """A check of what was found; where that is nothing, it passes with `well`."""
    return Check(name, title, tuple(findings) or (passed(well),))
