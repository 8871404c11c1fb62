"""A pack: what is in it, and what is not."""

from __future__ import annotations

import json

from srprof.adapters.pack import Pack
from srprof.render.document import Column, Document, Section, Table, notes


def document(pack: Pack) -> Document:
    """A row for each network."""
    table = Table.build(
        pack.networks.items(),
        (Column("network"), lambda row: row[0]),
        (Column("from side", "number"), lambda row: row[1]["sides"]["least"]),
        (Column("traces", "number"), lambda row: row[1]["traces"]),
        (Column("exact"), lambda row: "yes" if row[1]["exact"] else "no"),
        (Column("KB", "number"), lambda row: round(len(json.dumps(row[1])) / 1000)),
    )
    run = (f"as {pack.run_as} runs them",) if pack.run_as else ()
    title = f"Estimates of {len(table.rows)} networks of {pack.library}"
    missing = tuple(f"{name}: {why}" for name, why in pack.missing.items())
    return Document((Section(title, run, table), *notes(missing)), pack.to_dict)
