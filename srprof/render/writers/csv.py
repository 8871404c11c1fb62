"""CSV: the document's main table, raw values in bytes and counts, for pandas and spreadsheets."""

from __future__ import annotations

import csv
import io
import re

from srprof.render.document import Column, Document

SUFFIX = ".csv"


def write(document: Document, width: int) -> str:
    """One line a row under a line of names; unknown is empty."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(map(_header, document.table.columns))
    rows.writerows([cell.value for cell in row] for row in document.table.cells())
    return out.getvalue()


def _header(column: Column) -> str:
    """The column's name as one word with the raw value's unit: bytes for MiB, MACs for GMACs."""
    if column.key:
        return column.key
    name = column.name.removesuffix(" MiB").replace("MiB", "size").replace("GMACs", "macs")
    return re.sub(r"\W+", "_", f"{name} bytes" if column.kind == "mib" else name).strip("_")
