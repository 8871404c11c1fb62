"""Pipes and devices named as input, or beside it: refused at once, since they may never end."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from PIL import Image

from srprof.cli import main
from tests.bad_input import NETWORKS
from tests.refusals import one_line

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has no such pipes")

TRAINING = """\
model = "fmen(scale=2, n_feats=8, mid_feats=6, up_blocks=(1,))"
data = ["hr"]
output = "run"
crop = 96
held_out = 32
iterations = 2
batch = 1
patch = 8
"""
SIZE = ("--input", "8x8")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A network, images and configurations; nothing may take 30 seconds."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETWORKS)
    for name in ("hr", "run", "records", "out"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (96, 96)).save("hr/a.png")
    Path("train.toml").write_text(TRAINING)
    Path("report.toml").write_text('title = "t"\nmodels = ["net.py:Net"]\ninput = "8x8"\n')
    Path("checks.toml").write_text('[[check]]\nmodel = "net.py:Net"\ninput = "8x8"\n')
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits"))
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


#: What is a pipe, and the command that reads it.
READERS = {
    "spec.py": ("analyze", "spec.py:Net", *SIZE),
    "net.pth": ("analyze", "net.pth", *SIZE),
    "weights.pth": ("analyze", "net.py:Net", *SIZE, "--weights", "weights.pth"),
    "weights.safetensors": ("analyze", "net.py:Net", *SIZE, "--weights", "weights.safetensors"),
    "profile.toml": ("analyze", "net.py:Net", *SIZE, "--profile", "profile.toml"),
    "table.json": ("analyze", "net.py:Net", *SIZE, "--workspace", "table.json"),
    "sizes": ("analyze", "net.py:Net", *SIZE, "--protocol", "ntire", "--sizes", "sizes"),
    "hr/b.png": ("analyze", "net.py:Net", *SIZE, "--protocol", "ntire", "--sizes", "hr"),
    "record": ("rank", "net.py:Net", "--record", "record"),
    "rows.csv": ("rank", "net.py:Net", "--from", "rows.csv"),
    "records/a.json": ("validate", "--record", "records"),
    "a.json": ("diff", "a.json", "net.py:Net", *SIZE),
    "config": ("check", "--config", "config"),
    "srprof.toml": ("check",),
    "pyproject.toml": ("check",),
    "srprof-baseline.json": ("check", "--config", "checks.toml"),
    "init.py": ("check", "--init", "init.py"),
    "definition.toml": ("report", "definition.toml"),
    "out/data.json": ("report", "report.toml", "-o", "out"),
    "training.toml": ("train", "training.toml"),
    "run/checkpoint.pth": ("train", "train.toml"),
    "run/log.csv": ("train", "train.toml"),
    "hr/c.png": ("train", "train.toml"),
    "study.toml": ("ablate", "study.toml"),
    "image.png": ("spectrum", "net.py:Net", "--module", "*", "--image", "image.png"),
    "hr/d.png": ("evaluate", "bicubic", "--hr", "hr", "--device", "cpu"),
    "high": ("evaluate", "bicubic", "--hr", "high", "--device", "cpu"),
    "merged.pth": ("merge", "merged.pth", "-o", "new.pth"),
    "out.csv.journal": ("sweep", "net.py:Net", *SIZE, "--jobs", "1", "-o", "out.csv"),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_it_is_refused_at_once(name: str, kind: str, capsys):
    if kind == "pipe":
        os.mkfifo(name)
    else:
        Path(name).symlink_to("/dev/zero")
    assert main(list(READERS[name])) == 2
    captured = capsys.readouterr()
    line = one_line(captured.err)
    assert Path(name).name in line or name in ("high", "out/data.json")


def test_beside_a_network_it_is_left_alone(capsys):
    """A sweep reads the Python files beside the network's, to know of changes."""
    os.mkfifo("other.py")
    assert main(["sweep", "net.py:Net", *SIZE, "--jobs", "1", "--metric", "params"]) == 0


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that gives an error")
@pytest.mark.parametrize(
    "arguments",
    [
        ("diff", "bad.json", "net.py:Net", *SIZE),
        ("check", "--init", "bad"),
        ("rank", "net.py:Net", "--record", "bad"),
        ("analyze", "net.py:Net", *SIZE, "--weights", "bad"),
        ("spectrum", "net.py:Net", "--module", "*", "--image", "bad"),
    ],
)
def test_a_file_that_the_system_does_not_read(arguments: tuple[str, ...], capsys):
    for name in ("bad", "bad.json"):
        Path(name).symlink_to("/proc/self/mem")
    assert main(list(arguments)) == 2
    assert "cannot be read" in one_line(capsys.readouterr().err)
