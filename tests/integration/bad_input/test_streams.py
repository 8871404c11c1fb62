"""Stdout is the result's, whatever a network prints there, rebinds or closes."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path

import pytest

from srprof.cli import main
from srprof.output import own_streams, say, write
from tests.bad_input import command
from tests.cases import strange
from tests.cases.strange import NOISE

SIZE = ("--input", "8x8")
JSON = ("--format", "json")


def spec(way: str, raises: bool = False) -> str:
    return f"{strange.__file__}:Prints({way!r}, raises={raises})"


@pytest.mark.parametrize("way", ["print", "buffer", "thread", "write", "child"])
def test_what_a_network_prints_goes_to_stderr(capfd, way: str):
    assert main(["analyze", spec(way), *SIZE, *JSON]) == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out)["model"]["spec"] == spec(way)
    assert NOISE in captured.err


@pytest.mark.parametrize(
    "argv",
    [
        ("measure", *SIZE, "--device", "cpu", "--repeat", "0"),
        ("validate", *SIZE, "--device", "cpu", "--repeat", "0"),
        ("fit", "--budget", "1MiB"),
        ("estimate", "--dtype", "float32"),
        ("lean", *SIZE),
        ("advise", *SIZE),
        ("rank", *SIZE),
        ("diff", *SIZE, "--input-b", "9x9"),
        ("sweep", *SIZE, "--jobs", "1"),
    ],
)
def test_in_every_command(capfd, argv: tuple[str, ...]):
    name, *options = argv
    main([name, spec("write"), *options, *JSON])
    captured = capfd.readouterr()
    json.loads(captured.out)
    assert NOISE in captured.err


def test_a_worker_s_prints(capfd):
    argv = ["sweep", spec("print"), *SIZE, "--inputs", "9x9", "--jobs", "2", "--format", "csv"]
    assert main(argv) == 0
    rows = list(csv.DictReader(io.StringIO(capfd.readouterr().out)))
    assert [row["input"] for row in rows] == ["8x8", "9x9"]


@pytest.mark.parametrize("way", ["rebinds", "none", "closes"])
def test_a_network_that_takes_the_streams_away(capsys, way: str):
    before = sys.stdout, sys.stderr
    assert main(["analyze", spec(way), *SIZE, *JSON]) == 0
    json.loads(capsys.readouterr().out)
    assert main(["analyze", spec(way, raises=True), *SIZE]) == 3
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert "behind the noise" in captured.err
    assert (sys.stdout, sys.stderr) == before


def test_until_the_process_ends(tmp_path: Path):
    """Threads that never end, exit handlers, and the stream that the process began with."""
    process = command("analyze", spec("to the end"), *SIZE, *JSON, cwd=tmp_path)
    assert process.returncode == 0
    json.loads(process.stdout)
    assert NOISE in process.stderr


# -- readers that have gone, and streams that are closed ------------------------------------------


@pytest.fixture
def nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stdout is a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = open(writer, "w")  # noqa: SIM115  (as long as the test)
    monkeypatch.setattr(sys, "stdout", stream)


def test_a_reader_that_has_gone_changes_no_code(nobody_reads, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    limit = f"model = '{strange.__file__}:Net'\ninput = '8x8'\nparams = 1\n"
    Path("srprof.toml").write_text(f"baseline = false\n[[check]]\n{limit}")
    assert main(["list"]) == 0
    assert main(["check"]) == 1
    assert capsys.readouterr().err == ""


def test_a_pipe_of_the_network_s_own_is_no_reader(nobody_reads, capsys):
    assert main(["analyze", f"{strange.__file__}:Faulty(kind='pipe')", *SIZE]) == 3
    assert "BrokenPipeError at" in capsys.readouterr().err


def test_closed_streams(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["list"]) == 2
    assert "stdout is closed" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["list"]) == 2


def test_dev_stdout_is_the_result_s(capfd):
    assert main(["analyze", spec("write"), *SIZE, *JSON, "-o", "/dev/stdout"]) == 0
    json.loads(capfd.readouterr().out)


def test_streams_are_put_back(capfd):
    before = sys.stdout, sys.stderr, os.fstat(1), os.fstat(2)
    open_files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(2):
        with own_streams(), own_streams():
            print("to stderr")
            os.write(1, b"to stderr\n")
            write("the result\n", None)
            say("a message")
    os.write(1, b"stdout again\n")
    captured = capfd.readouterr()
    assert captured.out == 2 * "the result\n" + "stdout again\n"
    assert captured.err == 2 * (2 * "to stderr\n" + "a message\n")
    assert before == (sys.stdout, sys.stderr, os.fstat(1), os.fstat(2))
    if open_files:
        assert len(os.listdir("/proc/self/fd")) == open_files


def test_a_stream_that_a_thread_still_has(capsys):
    """What it prints later goes to the stderr of then."""
    with own_streams():
        kept = sys.stdout
    kept.write("later\n")
    assert capsys.readouterr().err == "later\n"


def test_bytes_to_a_stream_without_a_terminal(capfd):
    with own_streams():
        write(b"\x00\xff", None)
