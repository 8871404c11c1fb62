"""Networks that fork, end threads' process, and break what Python and torch keep of them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from srprof.cli import main
from tests.bad_input import command
from tests.refusals import one_line

NETWORK = """\
import os, sys, threading, time
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        {}
        return self.body(x)
"""
ANALYZE = ("analyze", "net.py:Net", "--input", "8x8", "--format", "json")


@pytest.fixture
def does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a network that does something in `forward`, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *steps: Path("net.py").write_text(NETWORK.format("\n        ".join(steps)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("child", ["pass", "sys.exit(5)", "raise ValueError", "os._exit(0)"])
def test_a_forked_process_says_nothing(does, child: str):
    """It ends where the network's code ends: each result and each line is there once."""
    does("if os.fork() == 0:", f"    {child}")
    process = command(*ANALYZE, cwd=Path.cwd())
    assert (process.returncode, process.stderr) == (0, "")
    assert len(json.loads(process.stdout)["nodes"]) == 1


@pytest.mark.parametrize(
    "thread",
    ["target=lambda: os._exit(0)", "target=os._exit, args=(0,)", "target=os._exit, args=(2,)"],
)
def test_a_thread_that_ends_the_process(does, thread: str):
    """No gate opens by it."""
    does(f"threading.Thread({thread}).start()", "time.sleep(9)")
    process = command(*ANALYZE, cwd=Path.cwd())
    assert process.returncode == (2 if "2" in thread else 3)
    assert "a thread ended the process at " in one_line(process.stderr)
    assert process.stdout == ""


@pytest.mark.parametrize(
    "step",
    [
        "self._modules[3] = nn.ReLU(); x = self._modules[3](x)",
        "self._modules['three'] = 3",
        "self._modules[None] = None",
        "nn.ReLU.__module__ = 3; self.relu = nn.ReLU(); x = self.relu(x)",
        "sys.argv = None",
        "sys.path = None",
    ],
)
def test_what_torch_runs(does, step: str, capsys: pytest.CaptureFixture[str], monkeypatch):
    from torch import nn

    monkeypatch.setattr(nn.ReLU, "__module__", nn.ReLU.__module__)
    its, argv = sys.path, sys.argv
    does(step)
    assert main(ANALYZE) == 0
    captured = capsys.readouterr()
    assert captured.err == "" and json.loads(captured.out)["nodes"]
    assert sys.path is its and sys.argv is argv


def test_an_error_of_a_class_of_no_module(does, capsys: pytest.CaptureFixture[str]):
    does("raise type('Odd', (Exception,), {'__module__': 3})('enough')")
    assert main(ANALYZE) == 3
    assert "Odd at net.py:10 in Net.forward: enough" in one_line(capsys.readouterr().err)


def test_a_module_whose_name_is_code(
    tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
):
    """The names of modules stand in comments of a lean network's source, which is run."""
    monkeypatch.chdir(tmp_path)
    name = "a\n    open('ran', 'w')\n    #\x1b\udcff"
    source = NETWORK.format(f"x = self._modules[{name!r}](x)")
    kept = f"self._modules[{name!r}] = self.body = "
    Path("net.py").write_text(source.replace("self.body = ", kept))
    for file in ("lean.py", "lean.pt2"):
        assert main(["lean", "net.py:Net", "--input", "8x8", "--emit", file]) == 0
        assert Path(file).exists()
    assert "open('ran'" in Path("lean.py").read_text()
    subprocess.run([sys.executable, "lean.py"], check=True)
    assert not Path("ran").exists()


def test_names_of_files_that_are_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Bytes of a name that no encoding knows: each record is read again, by whatever reads it."""
    folder = tmp_path / "a\udcff"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes text alone")
    monkeypatch.chdir(folder)
    spec, size = "n\udcff.py:Net", ("--input", "8x8")
    Path("n\udcff.py").write_text(NETWORK.format("pass"))
    Path("srprof.toml").write_text('[[check]]\nmodel = "copy.py:Net"\ninput = "8x8"\n')
    Path("copy.py").write_text(NETWORK.format("pass"))
    measured = ("--device", "cpu", "--repeat", "0", "-o", "m.json")
    for argv in (
        ("analyze", spec, *size, "-o", "a\udcff.json"),
        ("diff", "a\udcff.json", spec, *size),
        ("measure", spec, *size, *measured),
        ("validate", "--record", "m.json"),
        ("lean", spec, *size, "--emit", "lean.py"),
        ("sweep", spec, *size, "--jobs", "1", "-o", "s.csv"),
        ("check", "--update"),
        ("check",),
        ("advise", spec, *size, "--diff"),
    ):
        assert main(argv) in (0, 1), capsys.readouterr().err


NAMES = """\
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        odd = "=cmd", "\\x1b[2J\\u202e\\ud800", "</script>", "$\\\\input{x}$|`", ""
        for name in ("\\n::error::x\\n", *odd):
            self._modules[name] = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        kept = [x]
        for module in self._modules.values():
            kept.append(module(kept[-1]))
        return kept[-1].relu()
"""


@pytest.mark.parametrize(
    "argv",
    [
        *(("check", "--format", form) for form in ("junit", "github", "gitlab", "benchmark")),
        ("check", "--update"),
        *((*ANALYZE[:-1], form) for form in ("json", "csv", "html", "perfetto", "latex")),
        ("report", "r.toml"),
        ("sweep", "net.py:Net", "--inputs", "8x8", "--jobs", "1", "-o", "s.csv"),
        ("advise", "net.py:Net", "--input", "8x8"),
    ],
)
def test_names_of_modules_that_are_no_text(argv, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NAMES)
    Path("r.toml").write_text('title = "T"\nmodels = ["net.py:Net"]\ninput = "8x8"\n')
    checks = '[[check]]\nmodel = "net.py:Net"\ninput = "8x8"\n'
    alone = "baseline = false\n" + checks + 'eager = "1B"\n'
    Path("srprof.toml").write_text(checks if "--update" in argv else alone)
    assert main(argv) in (0, 1)
    captured = capsys.readouterr()
    assert captured.err.replace("\n", "").isprintable() and "fault" not in captured.err
    assert not {"\x1b", "\u202e", "\ud800"} & set(captured.out)


def test_what_is_no_text_goes_to_no_stream_of_text(does, capsys: pytest.CaptureFixture[str]):
    does("pass")
    with redirect_stdout(io.StringIO()):
        assert main([*ANALYZE[:-1], "memory-viz"]) == 2
    assert "give -o FILE" in one_line(capsys.readouterr().err)
