"""What `srprof advise` found, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from srprof.advising.candidate import Suggestion
from srprof.records import Node, Trace
from srprof.shown import Shown

if TYPE_CHECKING:
    from srprof.advising.patching import Applied
    from srprof.cost.profiles import Profile


@dataclass(frozen=True)
class Width:
    """A network with one value of a hyper-parameter, from a trace of it.

    Attributes:
        value: of the hyper-parameter. spec: the whole SPEC.
        latency_ms: predicted; uncertainty_ms: one standard deviation of it.
        allocated: the peak, in bytes. params, flops, macs: as of `srprof.figures`.
        same_size: whether its results are as large as the present network's.
        error: why there is no such network, "" if there is; then the rest says nothing.
    """

    value: int
    spec: str = ""
    latency_ms: float = 0.0
    uncertainty_ms: float = 0.0
    allocated: int = 0
    params: int = 0
    flops: int = 0
    macs: int = 0
    same_size: bool = True
    error: str = ""


@dataclass(frozen=True)
class Widths:
    """A network at several values of one hyper-parameter; wider counts as better.

    Attributes:
        name: of the hyper-parameter. present: its value in the network that was asked about.
        rows: by value, that one's among them.
    """

    name: str
    present: int
    rows: tuple[Width, ...]

    @property
    def built(self) -> tuple[Width, ...]:
        """The rows of networks that there are."""
        return tuple(row for row in self.rows if not row.error)

    @property
    def now(self) -> Width:
        """The row of the present width."""
        return next(row for row in self.rows if row.value == self.present)

    @property
    def best(self) -> Width:
        """The fastest that is not narrower than the present one; of equally fast, the widest."""
        wide = (row for row in self.built if row.value >= self.present)
        return min(wide, key=lambda row: (row.latency_ms, -row.value))

    def dominating(self, row: Width) -> Width | None:
        """The fastest wider one that is as fast or faster; None if there is none."""
        wider = (r for r in self.built if r.value > row.value and r.latency_ms <= row.latency_ms)
        return min(wider, key=lambda r: (r.latency_ms, -r.value), default=None)


@dataclass(frozen=True, repr=False)
class Advice(Shown):
    """The edits that were found for a network, in the order in which they save the most.

    Attributes:
        trace: the run that they were tried on.
        memory: the peak that is meant; see `srprof.analyze`.
        peak: before any edit, in bytes.
        lowest: with every edit that was found, whether the budget needs it or not.
        node: the one at which nothing more was found, or the peak of a budget's steps; None
            without nodes. held: bytes that are dead there.
        steps: the edits, each with what it saves once those before it are made.
        budget: bytes that were asked for, None if none were.
        notes: what a reader must know.
        own: the file that the SPEC names, "" if it names none.
        sources: by file, the text that the edits are for.
        profile: by which widths are compared; None if none was given.
        widths: of each hyper-parameter that was tried; with `widths=` that one, and all it asks.
        table: whether `widths=` asked.
        latency_ms: predicted for `profile`, as it is and after each step with all before it; None
            where those before it are not legal by themselves. () without a profile.
    """

    view = "advice"

    trace: Trace
    memory: str
    granularity: int
    peak: int
    lowest: int
    node: Node | None
    held: int
    steps: tuple[Suggestion, ...]
    budget: int | None = None
    notes: tuple[str, ...] = ()
    own: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    profile: Profile | None = None
    widths: tuple[Widths, ...] = ()
    table: bool = False
    latency_ms: tuple[float | None, ...] = ()

    @property
    def peak_after(self) -> int:
        """The peak once all steps are made."""
        return self.steps[-1].peak_after if self.steps else self.peak

    @property
    def within_budget(self) -> bool:
        """Whether the steps reach the budget; true if there is none."""
        return self.budget is None or self.peak_after <= self.budget

    def diff(self) -> str:
        """The edits as a unified diff of the source files; nothing is written.

        Raises:
            InputError: libcst is missing, a file has changed, or an edit cannot be placed.
        """
        from srprof.advising.patching import patches, unified_diff

        return unified_diff(patches(self))

    def apply(self) -> Applied:
        """Write the edits into the source files: into all of them, or into none.

        Files of installed packages stay as they are, but for the one that the SPEC names.

        Raises:
            InputError: as `diff`; or a file cannot be written, or none of them is the user's.
        """
        from srprof.advising.patching import apply

        return apply(self)

    def to_dict(self) -> dict[str, object]:
        """The JSON object of `srprof advise --format json`; sizes in bytes."""
        data: dict[str, object] = self.document().data()
        return data
