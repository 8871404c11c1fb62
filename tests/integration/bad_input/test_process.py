"""Exit codes, signals and pipes of the command in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from srprof.cli import main
from tests.bad_input import COMMANDS, NETWORKS, command, environment, files_in
from tests.refusals import one_line


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (("analyze", "fmen_x"), 2),
        (("analyze", "net.py:Raises", "--input", "8x8"), 3),
        (("analyze", "net.py:Net", "--input", "8x8"), 0),
    ],
)
def test_exit_codes_of_the_process(folder: Path, argv: tuple[str, ...], code: int):
    process = command(*argv, cwd=folder)
    assert process.returncode == code
    if code:
        one_line(process.stderr)
        assert process.stdout == ""
    else:
        assert process.stderr == ""
        assert process.stdout


@pytest.mark.parametrize(
    "argv",
    [
        ("analyze", "net.py:Net", "--input", "8x8", "--format", "json"),
        ("list",),
        ("--help",),
        ("analyze", "--help"),
        ("--version",),
        (),
    ],
)
def test_reader_that_has_gone(folder: Path, argv: tuple[str, ...]):
    """The pipe is broken before the first byte is written."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        process = command(*argv, cwd=folder, stdout=writer)
    finally:
        os.close(writer)
    assert process.stderr == ""
    assert process.returncode == 0


def test_reader_that_takes_one_line(folder: Path):
    pipeline = f"'{sys.executable}' -m srprof analyze imdn --view nodes --format csv | head -1"
    process = subprocess.run(
        ["bash", "-o", "pipefail", "-c", pipeline],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.startswith("node") or process.stdout.startswith("index")
    assert process.stdout.count("\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("argv", COMMANDS)
def test_full_disk_behind_stdout(folder: Path, argv: tuple[str, ...]):
    with open("/dev/full", "w") as full:
        process = command(*argv, cwd=folder, stdout=full)
    assert process.returncode == 2
    assert "No space left" in one_line(process.stderr)


def test_terminal_that_has_no_unicode(folder: Path):
    (folder / "net.py").write_text(NETWORKS + "\nclass Größe(Net):\n    pass\n")
    process = subprocess.run(
        [sys.executable, "-m", "srprof", "analyze", "net.py:Größe", "--input", "8x8"],
        cwd=folder,
        env=environment() | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert b"Traceback" not in process.stderr
    assert process.returncode == 0


SLOW = """\
import time
from torch import nn


def wait():
    open("started", "w").close()
    time.sleep(300)


class SlowToBuild(nn.Module):
    def __init__(self):
        super().__init__()
        wait()


class SlowToRun(nn.Module):
    def forward(self, x):
        wait()
        return x * 2


class Stubborn(nn.Module):
    def forward(self, x):
        try:
            wait()
        except Exception:
            return x
        return x
"""


@pytest.mark.parametrize("factory", ["SlowToBuild", "SlowToRun", "Stubborn"])
def test_control_c(folder: Path, factory: str):
    (folder / "slow.py").write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, "-m", "srprof", "analyze", f"slow.py:{factory}", "-o", "result.txt"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        # A shell that starts pytest in the background has its children ignore SIGINT.
    )
    try:
        while process.poll() is None and not (folder / "started").exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
    assert process.returncode == 130
    assert "interrupted" in one_line(err)
    assert out == ""
    assert files_in(folder) == {"net.py", "slow.py", "started"}


def test_control_c_leaves_nothing_active(folder: Path, capsys: pytest.CaptureFixture[str]):
    source = NETWORKS.replace("raise ValueError", "raise KeyboardInterrupt")
    (folder / "net.py").write_text(source)
    assert main(["analyze", "net.py:Raises", "--input", "8x8"]) == 130
    one_line(capsys.readouterr().err)
    assert not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks
    assert torch.is_grad_enabled()
    assert torch.utils._python_dispatch._get_current_dispatch_mode() is None
