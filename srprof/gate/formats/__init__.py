"""Formats of a gate's report for CI servers. Each is one file with `render(report, root) -> str`.

`root` is the folder from which a format names source files.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from srprof.paths import below

if TYPE_CHECKING:
    from srprof.gate.record import Report, Result

#: Formats with how names of such files end.
FORMATS = {
    "junit": ".xml",
    "github": ".annotations",
    "gitlab": ".codequality.json",
    "benchmark": ".benchmark.json",
}


def render(report: Report, name: str, root: str) -> str:
    """A report in a format of `FORMATS`, ending with a newline, or empty."""
    text: str = importlib.import_module(f"{__name__}.{name}").render(report, root)
    return text


def location(result: Result, root: str) -> tuple[str, int]:
    """The file as from `root` and the line that a result points at; "" and 0 if it has none."""
    if not result.file:
        return "", 0
    return below(root, result.file) or os.path.realpath(result.file), result.line
