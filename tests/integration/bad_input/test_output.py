"""Output files that cannot be written: refused before the model is built."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bad_input import AS_ROOT, COMMANDS, NETWORKS, files_in, run_main
from tests.refusals import one_line


def check_refused_output(
    capsys: pytest.CaptureFixture[str], folder: Path, argv: tuple[str, ...], path: str
) -> str:
    there = files_in(folder)
    code = run_main(*argv, "-o", path)
    captured = capsys.readouterr()
    line = one_line(captured.err)
    assert (code, captured.out) == (2, "")
    assert f"-o {path}" in line.replace("argument -o/--output: ", "-o ")
    assert files_in(folder) == there
    return line


@pytest.mark.parametrize("argv", COMMANDS)
def test_output_in_a_missing_folder(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
):
    line = check_refused_output(capsys, folder, argv, "missing/result.txt")
    assert "'missing'" in line


@pytest.mark.parametrize("argv", COMMANDS)
@pytest.mark.parametrize("path", [".", "results", "results/", ""])
def test_output_that_is_a_folder(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], path: str
):
    (folder / "results").mkdir()
    check_refused_output(capsys, folder, argv, path)


@pytest.mark.parametrize("argv", COMMANDS)
def test_output_below_a_file(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
):
    check_refused_output(capsys, folder, argv, "net.py/result.txt")


@pytest.mark.parametrize("argv", COMMANDS)
def test_output_with_too_long_a_name(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
):
    check_refused_output(capsys, folder, argv, "x" * 300)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc here")
@pytest.mark.parametrize("argv", COMMANDS)
@pytest.mark.parametrize("path", ["/proc/result.txt", "/proc/self/result.txt", "/proc/version"])
def test_output_where_nobody_may_write(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], path: str
):
    """Not even root."""
    check_refused_output(capsys, folder, argv, path)


@pytest.mark.skipif(AS_ROOT, reason="permissions do not bind root")
@pytest.mark.parametrize("argv", COMMANDS)
def test_output_without_permission(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
):
    locked = folder / "locked"
    locked.mkdir(mode=0o555)
    try:
        assert "permission" in check_refused_output(capsys, folder, argv, "locked/result.txt")
    finally:
        locked.chmod(0o755)
    read_only = folder / "result.txt"
    read_only.write_text("before")
    read_only.chmod(0o444)
    assert "permission" in check_refused_output(capsys, folder, argv, "result.txt")
    assert read_only.read_text() == "before"


def test_output_file_stays_when_the_input_is_wrong(folder: Path):
    (folder / "result.txt").write_text("before")
    assert run_main("analyze", "net.py:Raises", "-o", "result.txt") == 3
    assert run_main("analyze", "net.py:Zork", "-o", "result.txt") == 2
    assert (folder / "result.txt").read_text() == "before"


def test_output_is_refused_before_the_model_is_built(folder: Path):
    (folder / "marks.py").write_text(f"{NETWORKS}\nopen('imported', 'w').close()\n")
    assert run_main("analyze", "marks.py:Net", "-o", "missing/result.txt") == 2
    assert not (folder / "imported").exists()


@pytest.mark.parametrize("argv", COMMANDS)
def test_output_through_a_link_leaves_the_link(folder: Path, argv: tuple[str, ...]):
    (folder / "real.txt").write_text("before")
    (folder / "link.txt").symlink_to("real.txt")
    assert run_main(*argv, "-o", "link.txt") == 0
    assert (folder / "link.txt").is_symlink()
    assert (folder / "real.txt").read_text() not in ("", "before")


@pytest.mark.parametrize("argv", COMMANDS)
def test_output_to_a_pipe_leaves_the_pipe(folder: Path, argv: tuple[str, ...]):
    """As with `/dev/null` and `/dev/stdout`, which root could replace by a file."""
    os.mkfifo(folder / "pipe")
    reader = os.open(folder / "pipe", os.O_RDWR | os.O_NONBLOCK)
    try:
        code = run_main(*argv, "-o", "pipe")
        assert stat.S_ISFIFO(os.stat(folder / "pipe").st_mode)
        assert files_in(folder) == {"net.py", "pipe"}
        if code == 0:
            assert os.read(reader, 65536)
        else:
            assert code == 2
    finally:
        os.close(reader)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["list"], ["--help"]])
def test_stdout_that_is_full(arguments: list[str]):
    command = [sys.executable, "-m", "srprof", *arguments]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    line = one_line(done.stderr)
    assert line == "srprof: stdout: cannot be written: No space left on device"
