"""The tests themselves: what they share lives beside them, not in one of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def imported(source: str) -> Iterator[str]:
    """Full names of what is imported anywhere in a file, modules and what is taken from them."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module or ''}.{alias.name}" for alias in node.names)


def among_tests(source: str) -> set[str]:
    """The imported names that are in a test module."""
    return {
        name
        for name in imported(source)
        if any(part.startswith("test_") or part == "conftest" for part in name.split("."))
    }


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: path.stem)
def test_no_test_module_is_imported(path: Path):
    assert not among_tests(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        "from tests.unit.test_gate import helper",
        "from tests.unit import test_gate as here",
        "def test():\n    import tests.conftest",
        "from .test_gate import helper",
    ],
)
def test_an_import_of_one_is_seen(source: str):
    assert among_tests(source)
