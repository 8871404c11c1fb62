"""An analysis in any format that `srprof analyze` has."""

from __future__ import annotations

from typing import Any

from srprof.analysis import Analysis
from srprof.render.exports import EXPORTS, export
from srprof.render.views.analysis import document
from srprof.render.writers import formats, render

FORMATS = (*formats(), *EXPORTS)


def shown(analysis: Analysis, form: str = "text", **options: Any) -> Any:
    """The text, or bytes where the format is binary; options are the view's."""
    if form in EXPORTS:
        return export(analysis, form)
    return render(document(analysis.record, **options), form)
