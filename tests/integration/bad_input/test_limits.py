"""Networks that do not end, or want more memory than there is: one line, exit code 3."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from srprof import timeout
from srprof.cli import main
from tests.cases import strange
from tests.refusals import one_line

FILE = strange.__file__
SIZE = ("--input", "8x8")
SOON = ("--timeout", "800ms")
NET = f"{FILE}:Net"
LOOPS = f"{FILE}:Unending"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has no signal timers")


@pytest.fixture(autouse=True)
def as_before():
    numbers = (signal.SIGALRM, signal.SIGQUIT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.parametrize(
    "kind, at",
    [
        ("loops", "init"),
        ("loops", "forward"),
        ("catches", "forward"),
        ("catches one", "forward"),
        ("sleeps", "forward"),
        ("waits", "init"),
        ("torch", "forward"),
    ],
)
def test_a_network_that_does_not_end(kind, at, capsys):
    assert main(["analyze", f"{LOOPS}({kind!r}, {at!r})", *SIZE, *SOON]) == 3
    line = one_line(capsys.readouterr().err)
    found = r"did not end within 0\.8 s \(--timeout\); it was at .*strange\.py:\d+ in Unending"
    assert re.search(found, line), line


@pytest.mark.parametrize("kind", ["catches all", "in C"])
def test_what_hears_of_no_signal(kind):
    """The watcher ends the process."""
    code = (
        "import sys, srprof.timeout as timeout\n"
        "timeout._GRACE = 0.3\n"
        "from srprof.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["analyze", f"{LOOPS}({kind!r})", *SIZE, *SOON]
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3, done.stderr
    assert "did not end within 0.8 s (--timeout)" in one_line(done.stderr)
    assert done.stdout == ""


def test_the_watcher_is_told_what_a_terminal_takes(monkeypatch):
    told: list[str] = []
    with timeout.timeout(60), timeout.limited("net\x1b[2J\udcff.py\n:Net"):
        monkeypatch.setattr(timeout._timer, "_tell", told.append)
        timeout.begin()
        monkeypatch.undo()
    assert told == ["net [2J .py :Net"]


def test_the_others_results_stand(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    checks = (f"[[check]]\nmodel = {json.dumps(m)}\ninput = '8x8'\n" for m in (LOOPS, NET))
    Path("srprof.toml").write_text("baseline = false\n" + "".join(checks))
    assert main(["check", "--format", "json", *SOON]) == 1
    looping, plain = json.loads(capsys.readouterr().out)["checks"]
    assert "did not end within 0.8 s" in looping["problems"][0] and looping["file"] == FILE
    assert not plain["failed"] and plain["metrics"]

    assert main(["rank", LOOPS, NET, *SIZE, "--format", "csv", *SOON]) == 3
    captured = capsys.readouterr()
    assert "Net" in captured.out
    assert "did not end within 0.8 s" in one_line(captured.err)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_configuration_of_a_sweep(jobs, capsys):
    kinds = "kind='loops','none'"
    arguments = ["sweep", f"{FILE}:Unending", *SIZE, "--set", kinds, "--jobs", jobs]
    assert main([*arguments, "--metric", "params", "--format", "json", "--timeout", "3s"]) == 0
    rows = json.loads(capsys.readouterr().out)
    rows = rows["rows"] if isinstance(rows, dict) else rows
    assert len(rows) == 2 and not rows[1]["error"]
    assert "did not end within 3 s" in rows[0]["error"]


def test_there_is_time_enough(capsys):
    assert main(["analyze", NET, *SIZE, "--timeout", "600s", "--format", "csv"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("time", ["0s", "60", "a while", "5MiB"])
def test_what_is_no_time(time, capsys):
    assert main(["analyze", NET, *SIZE, "--timeout", time]) == 2
    assert "--timeout" in one_line(capsys.readouterr().err)


def test_another_thread_than_the_main_one(capsys):
    codes = []
    arguments = ["analyze", NET, *SIZE, *SOON]
    thread = threading.Thread(target=lambda: codes.append(main(arguments)))
    thread.start()
    thread.join()
    assert codes == [2]
    assert "--timeout needs the main thread" in one_line(capsys.readouterr().err)


# -- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, asked", [("torch", ", 1073741824.00 MiB were asked"), ("bytes", "")]
)
@pytest.mark.parametrize("at", ["init", "forward"])
def test_main_memory_that_runs_out(kind, asked, at, capsys):
    arguments = ["analyze", f"{FILE}:Large({kind!r}, {at!r})", *SIZE, "--trace-on", "cpu"]
    assert main(arguments) == 3
    line = one_line(capsys.readouterr().err)
    assert re.search(
        rf"main memory ran out \(\w+Error\) at .*strange\.py:\d+ in Large\.grow{asked}", line
    ), line
    assert line.endswith("give a smaller input, or more memory")
