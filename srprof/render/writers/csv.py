"""CSV: the document's main table, raw values in bytes and counts, for pandas and spreadsheets."""

from __future__ import annotations

import csv
import io
import re
from unicodedata import normalize

from srprof.render.document import Column, Document
from srprof.words import printable

SUFFIX = ".csv"

#: How formulas begin; a dash alone is what is not known, and a number is one.
_FORMULA = re.compile(r"\s*(?:[=@]|[+-](?!$|[\d.,]+%?$))")


def write(document: Document, width: int) -> str:
    """One line a row under a line of names; unknown is empty."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(map(_header, document.table.columns))
    rows.writerows([escaped(cell.value) for cell in row] for row in document.table.cells())
    return out.getvalue()


def escaped(value: object) -> object:
    """A value that no spreadsheet takes for a formula, and no terminal for an order."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    # some spreadsheets take signs of full width too
    return f"'{text}" if _FORMULA.match(normalize("NFKC", text)) else text


def _header(column: Column) -> str:
    """The column's name as one word with the raw value's unit: bytes for MiB, MACs for GMACs."""
    if column.key:
        return str(escaped(column.key))
    name = column.name.removesuffix(" MiB").replace("MiB", "size").replace("GMACs", "macs")
    return re.sub(r"\W+", "_", f"{name} bytes" if column.kind == "mib" else name).strip("_")
