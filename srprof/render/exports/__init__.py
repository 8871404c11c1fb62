"""An analysis for other people's viewers: one file each, with a function of its name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from srprof.analysis import Analysis

#: Formats with how names of such files end.
EXPORTS = {
    "perfetto": ".perfetto.json",
    "memory-viz": ".pickle",
    "model-explorer": ".explorer.json",
}


def export(analysis: Analysis, name: str) -> str | bytes:
    """An analysis in one of `EXPORTS`."""
    module = name.replace("-", "_")
    write: Callable[[Analysis], str | bytes]
    write = getattr(importlib.import_module(f"{__name__}.{module}"), module)
    return write(analysis)
