"""JSON: the contract's object; sizes in bytes."""

from __future__ import annotations

import json

from srprof.render.document import Document

SUFFIX = ".json"


def write(document: Document, width: int) -> str:
    """All of it, whatever a person is shown."""
    return json.dumps(document.data(), indent=1, allow_nan=False) + "\n"
