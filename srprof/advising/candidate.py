"""An edit as a person reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from srprof.advising.replay import Edit
from srprof.advising.source import Function
from srprof.records import Frame

Kind = Literal["del", "in-place", "order", "split"]

#: In this order edits are applied to a record, and of two that save the same the first is named.
STAGES: Mapping[Kind, int] = {"order": 0, "del": 1, "in-place": 2, "split": 3}

#: Gives the function that a frame runs, where its source can be read.
Functions = Callable[[Frame], Function | None]


@dataclass(frozen=True)
class Candidate:
    """An edit, as a person reads it.

    Attributes:
        write: what to do, in one line.
        line, other_line: of the edit; the second of two lines, else 0.
        places: calls of the function, or nodes, at which it acts.
        exact: results stay the same bit by bit.
    """

    kind: Kind
    edit: Edit
    write: str
    file: str
    line: int
    function: str
    places: int
    other_line: int = 0
    exact: bool = True
