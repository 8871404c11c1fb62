"""GitHub's workflow commands: an annotation at the line that costs.

Values are escaped as GitHub's own toolkit does, so that no name of a model ends a command, or
colours the log.
"""

from __future__ import annotations

import os

from srprof.errors import InputError
from srprof.gate.formats import location
from srprof.gate.record import UPDATE, Report, Result
from srprof.words import printable_lines


def render(report: Report, root: str) -> str:
    """One command a line; empty if there is nothing to say."""
    lines = [line for result in report.results for line in _of(result, root)]
    lines += [command("error", text, title="srprof: baseline") for text in report.gone_reasons]
    return "".join(f"{line}\n" for line in lines)


def append_summary(markdown: str) -> None:
    """Add to the job's summary, which other steps write to as well; nothing elsewhere."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(markdown)
    except OSError as error:
        raise InputError(f"GITHUB_STEP_SUMMARY {path}: {error.strerror}") from error


def _of(result: Result, root: str) -> list[str]:
    file, line = location(result, root)
    places = {"file": file, "line": str(line)} if file else {}
    title = f"srprof: {result.name}"
    lines = []
    if result.failed:
        text = "\n".join((*result.reasons, *result.explanation))
        lines.append(command("error", text, **places, title=title))
    elif result.shrank:
        better = ", ".join(row.metric for row in result.rows if row.shrank)
        lines.append(command("notice", f"{better} went down; {UPDATE}", title=title))
    return lines + [command("warning", text, title=title) for text in result.warnings]


def command(name: str, message: str, **properties: str) -> str:
    """`::error file=net.py,line=3,title=T::message`, escaped."""
    given = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{name} {given}::{_data(message)}"


def _data(text: str) -> str:
    return printable_lines(text).replace("%", "%25").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
