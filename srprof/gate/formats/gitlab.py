"""GitLab's code quality report: one issue for each thing that fails."""

from __future__ import annotations

import hashlib
import json

from srprof.gate.formats import location
from srprof.gate.record import Report, Result, describe
from srprof.words import one_line


def render(report: Report, root: str) -> str:
    """A JSON list of issues; a fingerprint stays the same from run to run."""
    issues = [issue for result in report.results if result.failed for issue in _of(result, root)]
    issues += [
        _issue(name, "baseline", reason, "", 0)
        for name, reason in zip(report.gone, report.gone_reasons, strict=True)
    ]
    return json.dumps(issues, indent=2) + "\n"


def _of(result: Result, root: str) -> list[dict[str, object]]:
    file, line = location(result, root)
    why = "".join(f"; {text}" for text in result.explanation)
    whole = result.reasons[: len(result.reasons) - sum(row.fails for row in result.rows)]
    found = [_issue(result.name, f"check {i}", text, file, line) for i, text in enumerate(whole)]
    found += [
        _issue(result.name, row.metric, f"{describe(row)}{why}", file, line)
        for row in result.rows
        if row.fails
    ]
    return found


def _issue(name: str, what: str, text: str, file: str, line: int) -> dict[str, object]:
    identity = f"{name}\n{what}".encode("utf-8", "backslashreplace")
    return {
        "description": one_line(f"{name}: {text}"),
        "check_name": f"srprof/{what}",
        "fingerprint": hashlib.sha256(identity).hexdigest(),
        "severity": "major",
        "location": {"path": file or "srprof-baseline.json", "lines": {"begin": line or 1}},
    }
