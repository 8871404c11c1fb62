"""A merged checkpoint, and how far its outputs are from those of the training form."""

from __future__ import annotations

from srprof.quality.merge import Merge
from srprof.render.document import Column, Document, Section, Table


def document(merge: Merge, path: str | None = None) -> Document:
    """The numbers of both forms, and the proof; `path`: of the checkpoint, if it was written."""
    data = {
        "network": merge.name,
        "output": path,
        "numbers_before": merge.before,
        "numbers_after": merge.after,
        "difference_float64": merge.difference64,
        "difference_float32": merge.difference32,
    }
    differences = (merge.difference64, merge.difference32)
    rows = tuple(zip(("float64", "float32"), map("{:.1e}".format, differences), strict=True))
    section = Section(
        f"{merge.name}: {merge.before:,} numbers in training form, {merge.after:,} merged",
        ("largest difference of outputs, relative to the largest output:",),
        Table((Column("computed in"), Column("difference", "number")), rows),
        (f"written to {path}",) if path else (),
    )
    return Document((section,), lambda: data, main=Table.of([data]))
