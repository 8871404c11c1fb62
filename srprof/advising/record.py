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
