"""What a refused command says."""

from __future__ import annotations


def one_line(text: str) -> str:
    """The one line that the text must be."""
    assert text.startswith("srprof: "), text
    assert text.count("\n") == 1 and text.endswith("\n"), text
    assert "Traceback" not in text
    assert "\x1b" not in text, "control codes of a terminal"
    return text.rstrip("\n")
