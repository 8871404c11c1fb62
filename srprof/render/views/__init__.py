"""Views: a record as a document, one file for each kind of record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from srprof.paths import place
from srprof.render.document import Column
from srprof.words import shape_text

View = Literal["summary", "nodes", "peak", "modules"]

#: Views of an analysis: what `--view` takes.
VIEWS: tuple[View, ...] = ("summary", "nodes", "peak", "modules")

Field = tuple[Column, Callable[[Any], object]]

#: Columns that say what a node is and where, of whatever has its op, module, file and line.
LOCATED: tuple[Field, ...] = (
    (Column("op"), lambda node: node.op),
    (Column("module"), lambda node: node.module),
    (Column("line"), lambda node: place(node.file, node.line)),
)
SHAPED: tuple[Field, ...] = (
    *LOCATED,
    (Column("shape", spare=3), lambda node: shape_text(node.shape)),
)
