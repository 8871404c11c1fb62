"""What every result and every document must be, in all formats."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from srprof.analysis import Analysis
from srprof.render.document import Document
from srprof.render.exports import EXPORTS, export
from srprof.render.views.analysis import document
from srprof.render.writers import formats, render
from srprof.shown import Shown

FORMATS = (*formats(), *EXPORTS)


def shown(analysis: Analysis, form: str = "text", **options: Any) -> Any:
    """The text, or bytes where the format is binary; options are the view's."""
    if form in EXPORTS:
        return export(analysis, form)
    return render(document(analysis.record, **options), form)


def check_shown(result: Shown, *words: str) -> None:
    """Its `repr` is one short line; `print`, a notebook and every format have the words."""
    assert repr(result).startswith(f"<{type(result).__name__} of ")
    assert len(repr(result)) < 250 and "\n" not in repr(result)
    assert f"{result}\n" == render(result.document())
    html = result._repr_html_()
    assert "<table>" in html and "<script" not in html
    assert all(word in html for word in words)
    check_document(result.document(), *words)


def check_document(document: Document, *words: str) -> None:
    """Formats for people have the words; CSV and JSON can be read again."""
    assert {"text", "rich", "markdown", "html", "latex", "csv", "json"} <= set(formats())
    for name in formats():
        drawn = render(document, name, 300)
        assert drawn.endswith("\n")
        if name == "json":
            assert json.loads(drawn) == json.loads(json.dumps(document.data()))
        elif name == "csv":
            head, *rows = csv.reader(io.StringIO(drawn))
            assert all(head) and len(set(head)) == len(head)
            assert len(rows) == len(document.table.rows) > 0
            assert all(len(row) == len(head) for row in rows)
        else:
            assert [word for word in words if word not in drawn] == [], name
