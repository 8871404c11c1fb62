"""CSV: the view's table with raw numbers; sizes in bytes."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import TYPE_CHECKING

from srprof.render.base import Options, Renderer
from srprof.render.tables import main_table

if TYPE_CHECKING:
    from srprof.analysis import Analysis


class CsvRenderer(Renderer):
    """One header line, one line per row; every row, whatever `top` says."""

    name = "csv"
    extension = ".csv"

    def render(self, analysis: Analysis, options: Options) -> str:
        table = main_table(analysis, replace(options, top=0))
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(_header(column.name, column.kind) for column in table.columns)
        writer.writerows(["" if v is None else v for v in row] for row in table.rows)
        return out.getvalue()


def _header(name: str, kind: str) -> str:
    """The column's name with the unit of the raw value: bytes for MiB, MACs for GMACs."""
    name = name.removesuffix(" MiB").replace("MiB", "size").replace("GMACs", "macs")
    return f"{name} bytes".replace(" ", "_") if kind == "mib" else name.replace(" ", "_")
