"""An edit that may lower the peak: what it does to a record and to the source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from srprof.advising.replay import Edit
from srprof.advising.rewrite import Kind, Rewrite
from srprof.records import Reference

#: In this order edits are applied to a record, and of two that save the same the first is named.
STAGES: Mapping[Kind, int] = {"order": 0, "del": 1, "in-place": 2, "split": 3}


class Holder(NamedTuple):
    """A reference to a storage, and the call whose variable it is; 0 if it is no user's call's."""

    reference: Reference
    call: int

    @property
    def variable(self) -> str:
        """The variable itself: `feats` for `feats[2]`."""
        return self.reference.variable.partition("[")[0].partition(".")[0]


Holders = Mapping[int, Sequence[Holder]]
#: Gives what references each storage that is alive at a node.
Look = Callable[[int], Holders]


@dataclass(frozen=True, eq=False)
class Candidate:
    """An edit; each is equal to itself only, so that what a set of them gives is found at once.

    Attributes:
        rewrite: what it writes in the source; edit: what that does to a record.
        line, other_line: of the edit; the second of two lines, else 0.
        places: calls of the function, or nodes, at which it acts.
        exact: results stay the same bit by bit.
    """

    rewrite: Rewrite
    edit: Edit
    file: str
    line: int
    function: str
    places: int
    other_line: int = 0
    exact: bool = True

    @property
    def kind(self) -> Kind:
        """What sort of edit it is."""
        return self.rewrite.kind


class Suggestion(NamedTuple):
    """An edit of a list, the peak once it and all before it are made, and by how much it fell."""

    candidate: Candidate
    saving: int
    peak_after: int
