"""For programs: every figure, verdict and explanation."""

from __future__ import annotations

import json

from srprof.gate.check import Report, Result
from srprof.gate.formats import location

#: Version of the JSON object.
SCHEMA = 1

#: What the values of a kind are in.
UNITS = {"bytes": "bytes", "count": "", "time": "ns"}


def render(report: Report, root: str) -> str:
    """One object; values are whole numbers in `unit`."""
    data = {
        "schema": SCHEMA,
        "failed": report.failed,
        "checks": [_check(result, root) for result in report.results],
        "gone": list(report.gone),
        "updated": report.updated or None,
    }
    return json.dumps(data, indent=2) + "\n"


def _check(result: Result, root: str) -> dict[str, object]:
    file, line = location(result, root)
    return {
        "name": result.name,
        "failed": result.failed,
        "problems": list(result.problems),
        "left_out": list(result.left_out),
        "explanation": list(result.explanation),
        "file": file or None,
        "line": line or None,
        "metrics": [
            {
                "metric": row.metric,
                "unit": UNITS[row.kind],
                "baseline": row.baseline,
                "now": row.now,
                "change": row.change,
                "allowed": row.allowed,
                "limit": row.limit,
                "compared": row.compared,
                "failed": row.fails,
                "verdict": row.verdict,
            }
            for row in result.rows
        ],
    }
