"""For a pull request and GitHub's job summary."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from srprof.gate.check import Report
from srprof.gate.formats.text import sections
from srprof.render.markdown import markdown_sections
from srprof.render.tables import Section

_SPECIAL = re.compile(r"([\\`*_<>\[\]#&])")
_CODE = re.compile(r"((?<!`)`[\w.]+`(?!`))")


def render(report: Report, root: str) -> str:
    """The sections of the text, with what Markdown would take for its own escaped."""
    return markdown_sections([_escaped(section) for section in sections(report)])


def _escaped(section: Section) -> Section:
    table = section.table
    if table is not None:
        table = replace(table, rows=tuple(tuple(map(_cell, row)) for row in table.rows))
    lines = tuple(plain(line.strip()) for line in section.lines)
    return replace(section, title=plain(section.title), lines=lines, table=table)


def _cell(value: Any) -> Any:
    return plain(value) if isinstance(value, str) else value


def plain(text: str) -> str:
    """Text that renders as it is; names in backticks are code already."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(p if i % 2 else _SPECIAL.sub(r"\\\1", p) for i, p in enumerate(parts))
