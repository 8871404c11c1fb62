"""What the process loads, and what its help says: start-up is quick because little is imported."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from srprof.cli import COMMANDS, main

#: Takes long to load, or is not needed to start.
HEAVY = ("torch", "pandas", "matplotlib", "fvcore", "pynvml", "numpy", "sympy", "spandrel")

REPORT = "; import json, sys; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"


def modules_after(statement: str, folder: Path) -> set[str]:
    """Top-level modules that a new interpreter has loaded after a statement."""
    process = subprocess.run(
        [sys.executable, "-c", statement + REPORT],
        cwd=folder, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return {name.split(".")[0] for name in json.loads(process.stderr.splitlines()[-1])}


def command(argv: list[str]) -> str:
    """A statement that runs a command and goes on where argparse would exit."""
    return (
        "import contextlib\nfrom srprof.cli import main\n"
        f"with contextlib.suppress(SystemExit): main({argv!r})\n0"
    )


@pytest.mark.parametrize(
    "statement",
    [
        "import srprof",
        "import srprof.cli",
        "import srprof.models",
        command([]),
        command(["--help"]),
        command(["--version"]),
        command(["list"]),
        command(["list", "--format", "json"]),
        command(["analyze", "--help"]),
        command(["analyze", "no_such_network"]),
        command(["analyze", "fmen_s", "--input", "256x"]),
        command(["analyze", "fmen_s", "-o", "missing/result.txt"]),
        command(["measure", "--help"]),
        command(["measure", "no_such_network"]),
        command(["measure", "fmen_s", "--repeat", "-1"]),
    ],
)
def test_nothing_heavy_is_loaded(statement: str, tmp_path: Path):
    loaded = modules_after(statement, tmp_path)
    assert "srprof" in loaded
    assert not loaded & set(HEAVY)


def test_analysis_loads_no_more_than_torch(tmp_path: Path):
    both = [command(["analyze", name, "--input", "64x64"]) for name in ("fmen_s", "latticenet")]
    loaded = modules_after("\n".join(both), tmp_path)
    assert "torch" in loaded
    assert not loaded & {"pandas", "matplotlib", "fvcore", "sympy", "spandrel"}  # torch has pynvml


def test_measuring_works_where_only_torch_is(tmp_path: Path):
    """GPU machines often have little else."""
    arguments = ["fmen_s", "--input", "32x32", "--device", "cpu", "--repeat", "1"]
    loaded = modules_after(command(["measure", *arguments, "--format", "json"]), tmp_path)
    assert "torch" in loaded
    assert not loaded & {"pandas", "matplotlib", "fvcore", "tabulate", "rich", "sympy", "spandrel"}


@pytest.mark.parametrize("width", [80, 100, 120])
def test_help_fits_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("COLUMNS", str(width))
    for command_name in ("", *COMMANDS):
        assert main([*filter(None, [command_name]), "--help"]) == 0
        shown = capsys.readouterr().out
        assert [line for line in shown.splitlines() if len(line) > width] == []


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for command_name in COMMANDS:
        own = [line.split(maxsplit=1) for line in lines if line.split()[:1] == [command_name]]
        assert len(own) == 1, f"{command_name} is not in the help"
        assert len(own[0]) == 2, f"{command_name} has no text in the help"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_a_module(name: str, capsys: pytest.CaptureFixture[str]):
    module = importlib.import_module(f"srprof.cli.{name}")
    assert callable(module.run)
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"srprof {name}" in out and module.DESCRIPTION.split(maxsplit=1)[0] in out


def test_every_command_module_is_a_command():
    import srprof.cli

    files = {path.stem for path in Path(srprof.cli.__file__).parent.glob("*.py")} - {"__init__"}
    assert files == set(COMMANDS)


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 0
    assert "analyze" in capsys.readouterr().out


def test_console_script_is_installed():
    (script,) = (e for e in entry_points(group="console_scripts") if e.name == "srprof")
    assert script.value == "srprof.cli:entry"
    assert callable(script.load())


def test_module_and_version(tmp_path: Path):
    import srprof

    process = subprocess.run(
        [sys.executable, "-m", "srprof", "--version"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert process.stdout == f"srprof {srprof.__version__}\n"


def test_public_names_are_there():
    import srprof

    for name in srprof.__all__:
        assert getattr(srprof, name)


def test_unknown_public_name_is_an_attribute_error():
    import srprof

    assert not hasattr(srprof, "no_such_name")


def test_output_is_the_same_in_each_process(tmp_path: Path):
    """Whatever the seed of Python's hashes."""
    outputs = {
        subprocess.run(
            [sys.executable, "-m", "srprof", "analyze", "e_rfdn", "--input", "32x32",
             "--format", "json"],
            cwd=tmp_path, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True,
            text=True, timeout=120, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(outputs) == 1


TELLS = """
from torch import nn

class Tells(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 3, 3))

    def forward(self, x):
        print("called")
        return super().forward(x)
"""

ONE_TRACE = """
from srprof.call import call_of
from srprof.tracing.run import trace_call

trace_call(call_of("tells.py:Tells", ((1, 3, 8, 8),)), holders=False)
"""


def test_a_network_that_imports_nothing_is_called_once(tmp_path: Path):
    """Where a call imports something there is a second; what srprof's own code imports is none."""
    (tmp_path / "tells.py").write_text(TELLS)
    process = subprocess.run(
        [sys.executable, "-c", ONE_TRACE],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert process.stdout.split() == ["called"]
