"""The floors of docs/design.md, held: imports go down, when a module is loaded and later."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "srprof"

#: The floors, from the ground up. A part imports its own floor's earlier parts and those below it.
FLOORS = (
    # leaves
    "_version words errors paths temporary codec files output progress shown records rules",
    "quantities ranges blame watcher timeout failures apart inputs call presets protocol",
    "registry spec",
    # pure functions of a trace
    "ops memory cost figures challenge",
    # where a network is loaded and run
    "running weights networks dtypes redirect factories operators loading copying",
    "placing meta_kernels workload tracing",
    # records of an analysis, and what reads them
    "analysis measuring compare",
    # features
    "tiling leaning advising quality training estimating sizing calibration sweeping auditing",
    "revision gate linting adapters",
    # documents and their writers
    "render",
    "report options topics",
    "cli __main__",
)
ORDER = {part: n for n, part in enumerate(part for floor in FLOORS for part in floor.split())}

#: Names that are looked up by name, so that nothing below knows them when it is loaded.
BY_NAME = {"__init__", "shown", "cli", "render", "gate"}
#: Where what is looked up is not of srprof: optional packages, a user's modules and zoos.
OF_OTHERS = {"errors", "loading", "operators", "registry", "adapters"}


def part_of(module: str) -> str:
    """`srprof.cost.macs` is of the part `cost`; the package itself is `__init__`."""
    return [*module.split("."), "__init__"][1]


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules of srprof that a source imports, inside functions too, but not for types alone."""
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if node in skipped:
            skipped |= set(ast.iter_child_nodes(node))
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped |= set(node.body)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
            if node.module == "srprof":
                names = [f"srprof.{alias.name}" for alias in node.names]
            yield from (n for n in names if n.startswith("srprof"))
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == "srprof")


def upward(sources: dict[str, str]) -> list[str]:
    """Imports that go up, one line each."""
    found = []
    for module, source in sources.items():
        for name in imported(ast.parse(source)):
            here, there = part_of(module), part_of(name)
            if here != there and ORDER.get(there, -1) >= ORDER.get(here, -1):
                found.append(f"{module} imports {name}")
    return found


def sources() -> dict[str, str]:
    files = {p: p.relative_to(ROOT.parent).with_suffix("") for p in ROOT.rglob("*.py")}
    return {".".join(name.parts): p.read_text(encoding="utf-8") for p, name in files.items()}


def test_every_part_has_its_floor():
    parts = {part_of(module) for module in sources()} - {"__init__"}
    assert parts == set(ORDER)


def test_imports_go_down():
    """So packages have no cycle, at import time and inside functions."""
    assert upward({m: s for m, s in sources().items() if m != "srprof.__init__"}) == []


@pytest.mark.parametrize(
    "source",
    [
        "import srprof.render.document",
        "from srprof.cli import main",
        "def late():\n    from srprof.analysis import analyze",
        "from srprof import analysis",
    ],
)
def test_an_import_that_is_turned_round_is_seen(source):
    assert len(upward({"srprof.memory.model": source})) == 1


def test_what_is_for_types_alone_is_free():
    assert upward({"srprof.errors": "if TYPE_CHECKING:\n    import srprof.cli"}) == []


def test_modules_are_named_in_strings_in_few_places():
    """A name in a string would hide an import from the table."""
    by_name = {
        part_of(module)
        for module, source in sources().items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module")
    }
    assert by_name <= BY_NAME | OF_OTHERS


def test_the_design_has_the_same_table():
    page = (ROOT.parent / "docs" / "design.md").read_text(encoding="utf-8")
    for floor in FLOORS:
        assert floor in page, f"docs/design.md does not have the floor {floor!r}"
