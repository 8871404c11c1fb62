"""Views: a record as a document, one file for each kind of record."""

from __future__ import annotations

from typing import Literal

View = Literal["summary", "nodes", "peak", "modules"]

#: Views of an analysis: what `--view` takes.
VIEWS: tuple[View, ...] = ("summary", "nodes", "peak", "modules")
