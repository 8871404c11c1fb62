"""`customSmallerIsBetter`, which github-action-benchmark and Bencher read and plot over time."""

from __future__ import annotations

import json

from srprof.gate.record import Report

_UNITS = {"bytes": ("MiB", 2**20), "count": ("", 1), "time": ("ms", 10**6)}


def render(report: Report, root: str) -> str:
    """A JSON list of named values; checks that did not run have none."""
    entries = []
    for result in report.results:
        for row in result.rows:
            unit, factor = _UNITS[row.kind]
            value = row.now if factor == 1 else row.now / factor
            entries.append(
                {"name": f"{result.name}: {row.metric}", "unit": unit or "count", "value": value}
            )
    return json.dumps(entries, indent=2) + "\n"
