"""Sweeps: rows in the grid's order, through processes, Dask, failures and kills."""

from __future__ import annotations

import csv
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import srprof
from srprof.call import Call
from srprof.cli import main
from srprof.render.views.sweep import document
from srprof.render.writers import render
from srprof.sweeping.journal import Journal
from srprof.sweeping.run import make_plan, rows_of
from tests.shown import check_document

NET = """\
import os, time
from torch import nn


class Net(nn.Sequential):
    def __init__(self, n=8, wait=0.0, log=""):
        time.sleep(wait)
        if log:
            with open(log, "a") as file:
                print(n, os.getpid(), file=file)
        if n == 13:
            raise RuntimeError("thirteen")
        if n == 17:
            os._exit(1)
        super().__init__(nn.Conv2d(3, n, 3), nn.ReLU(), nn.Conv2d(n, 3, 3))
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path}/net.py:Net"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "srprof", "sweep", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts pytest in the background has its children ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def test_each_row_is_what_analyze_says(tmp_path, capsys):
    out = tmp_path / "out.csv"
    arguments = ["fmen", "--inputs", "64..128:64", "--set", "n_feats=16,32"]
    arguments += ["--profile", "ntire2022"]
    metrics = "params,flops,macs,activations,convs,planned,eager,allocated,reserved,latency"
    assert main(["sweep", *arguments, "--metric", metrics, "--jobs", "1", "-o", str(out)]) == 0
    found = rows(out)
    assert [(r["n_feats"], r["input"]) for r in found] == [
        ("16", "64x64"), ("16", "128x128"), ("32", "64x64"), ("32", "128x128"),
    ]  # fmt: skip
    analysis = srprof.analyze("fmen(n_feats=32)", "128x128", profile="ntire2022").to_dict()
    counts, peaks = analysis["complexity"], analysis["memory"]["peak"]
    last = {k: v for k, v in found[-1].items() if k not in ("n_feats", "input", "error")}
    assert {k: float(v) for k, v in last.items()} == {
        **{k: counts[k] for k in ("params", "macs", "activations", "convs")},
        "flops": counts["flops_ntire"],
        **peaks,
        "latency_ms": analysis["latency"]["predicted_ms"],
    }
    assert all(r["error"] == "" for r in found)
    assert not Path(f"{out}.journal").exists()


def test_processes_give_the_same_table_in_the_same_order(tmp_path, net):
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    arguments = ["sweep", net, "--inputs", "16,24", "--set", "n=4..12"]
    assert main([*arguments, "--jobs", "1", "-o", str(one)]) == 0
    assert main([*arguments, "--jobs", "2", "-o", str(two)]) == 0
    assert one.read_bytes() == two.read_bytes() and len(rows(one)) == 18


def test_a_failed_configuration_is_a_row(tmp_path, net, capsys):
    out = tmp_path / "out.csv"
    arguments = ["sweep", net, "--inputs", "16", "--set", "n=12..14", "--jobs", "1"]
    assert main([*arguments, "-o", str(out)]) == 0
    assert "1 of 3 configurations failed" in capsys.readouterr().err
    assert [bool(r["error"]) for r in rows(out)] == [False, True, False]
    assert "thirteen" in rows(out)[1]["error"] and rows(out)[1]["eager"] == ""
    assert main([*arguments, "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == 1 and data["metrics"]["eager"] == "bytes"
    assert data["rows"][1]["eager"] is None and data["rows"][0]["error"] is None
    assert main(arguments) == 0
    assert "thirteen" in capsys.readouterr().out


def test_every_format(net):
    """Programs have the column of errors even if there are none."""
    grid = make_plan(Call(net, ("16x16",)), {"n": (4, 8)}, ["params,eager"])
    with Journal(None, grid.basis) as journal:
        done = rows_of(grid, journal)
    check_document(document(grid, done), "2 configurations", "eager MiB", "223")
    assert "error" not in render(document(grid, done))
    assert render(document(grid, done), "csv").startswith("n,input,params,eager,error\n")


def test_a_worker_that_dies_costs_its_own_row_only(tmp_path, net):
    out = tmp_path / "out.csv"
    command = ["sweep", net, "--inputs", "16", "--set", "n=14..20", "--jobs", "2", "-o", str(out)]
    assert main(command) == 0
    errors = {r["n"]: r["error"] for r in rows(out)}
    assert "died" in errors.pop("17") and set(errors.values()) == {""}


@pytest.mark.parametrize(
    ("which", "code", "message"),
    [("n=13", 3, "thirteen"), ("width=3", 2, "takes no such argument; it takes n, wait, log")],
)
def test_nothing_but_failures_is_an_error(which, code, message, net, tmp_path, capsys):
    out = tmp_path / "out.csv"
    command = ["sweep", net, "--inputs", "16", "--set", which, "--jobs", "1", "-o", str(out)]
    assert main(command) == code
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1
    assert not out.exists()


def test_a_killed_sweep_goes_on_with_nothing_lost_or_doubled(tmp_path, net):
    """SIGKILL in the middle, then the same command; compared with one that nobody killed."""
    out, whole, log = (tmp_path / name for name in ("out.csv", "whole.csv", "log"))
    arguments = [net, "--inputs", "16", "--set", "n=20..39", "--set", "wait=0.05"]
    logged = [*arguments, "--set", f"log='{log}'", "--jobs", "2", "-o", str(out)]
    journal = Path(f"{out}.journal")
    program = start(*logged)
    wait_for(lambda: len(lines(journal)) > 5)
    program.kill()
    program.communicate()
    kept = lines(journal)
    assert 5 < len(kept) < 21 and not out.exists()
    wait_for(lambda: not any(_runs(int(line.split()[1])) for line in lines(log)))

    log.unlink()
    resumed = start(*logged)
    _, said = resumed.communicate(timeout=60)
    assert resumed.returncode == 0 and f"{len(kept) - 1} rows were in" in said
    built = {line.split()[0] for line in lines(log)}
    done = {json.loads(line)["configuration"] for line in kept[1:]}
    assert built == {str(n) for n in range(20, 40) if not any(f"(n={n}," in c for c in done)}

    assert main(["sweep", *logged[:-1], str(whole)]) == 0
    assert out.read_bytes() == whole.read_bytes() and len(rows(out)) == 20
    assert not journal.exists()


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_ctrl_c_keeps_the_rows(tmp_path, net):
    out = tmp_path / "out.csv"
    command = [net, "--inputs", "16", "--set", "n=20..60", "--set", "wait=0.05", "-o", str(out)]
    program = start(*command, "--jobs", "2")
    wait_for(lambda: len(lines(Path(f"{out}.journal"))) > 3)
    program.send_signal(signal.SIGINT)
    _, said = program.communicate(timeout=30)
    assert program.returncode == 130
    assert "the same command goes on" in said and "Traceback" not in said


def test_a_changed_definition_does_not_mix(tmp_path, net, capsys):
    out = tmp_path / "out.csv"
    journal = Path(f"{out}.journal")
    command = ["sweep", net, "--inputs", "16", "--set", "n=4..9", "--jobs", "1", "-o", str(out)]
    program = start(*command[1:-2], "--set", "wait=0.3", "-o", str(out))
    wait_for(lambda: len(lines(journal)) > 1)
    program.kill()
    program.communicate()
    (tmp_path / "net.py").write_text(NET.replace("nn.ReLU()", "nn.Tanh()"))
    assert main(command) == 2
    assert "another definition of the network: --restart" in capsys.readouterr().err
    assert main([*command, "--restart"]) == 0
    assert len(rows(out)) == 6 and not journal.exists()


def test_parquet_and_the_plot(tmp_path, net, monkeypatch, capsys):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    out, figure = tmp_path / "out.parquet", tmp_path / "front.svg"
    command = ["sweep", "fmen", "--inputs", "32,64", "--set", "n_feats=16,32", "--jobs", "1",
               "--set", "up_blocks=[2,1],[1,1]", "-o", str(out)]  # fmt: skip
    assert main([*command, "--figure", str(figure), "--pareto", "flops,params:max"]) == 0
    found = pandas.read_parquet(out)
    assert list(found["n_feats"]) == [16] * 4 + [32] * 4
    assert list(found["up_blocks"])[:4] == ["[2, 1]"] * 2 + ["[1, 1]"] * 2
    drawn = figure.read_text()
    assert "FLOPs" in drawn and "32x32" in drawn and "n_feats=32" in drawn
    for ending, magic in ((".png", b"\x89PNG"), (".pdf", b"%PDF")):
        other = figure.with_suffix(ending)
        assert main([*command, "--figure", str(other)]) == 0
        assert other.read_bytes().startswith(magic)


def test_without_pyarrow_it_says_what_to_install(monkeypatch, capsys):
    import importlib.util

    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "pyarrow" else there(name, *a)
    )
    assert main(["sweep", "fmen", "--format", "parquet"]) == 2
    assert "pip install 'srprof[parquet]'" in capsys.readouterr().err


def test_from_python(net, tmp_path):
    frame = srprof.sweep(net, ["16..18"], {"n": [4, 8]}, metrics=["params", "eager"])
    assert list(frame.columns) == ["n", "input", "params", "eager", "error"]
    assert list(frame["params"][:3]) == [4 * 27 + 4 + 4 * 27 + 3] * 3
    assert str(frame["eager"].dtype) == "Int64"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--inputs", "64..32"], "ends before it begins"),
        (["--inputs", "64MiB"], "neither a size nor a range"),
        (["--set", "n_feats=2..x"], "is no range"),
        (["--set", "n_feats=open('x')"], "literal"),
        (["--set", "n_feats=1", "--set", "n_feats=2"], "given twice"),
        (["--set", "nf=1"], "takes no such argument"),
        (["--metric", "speed"], "unknown"),
        (["--metric", "latency"], "give --profile too"),
        (["--profile", "gtx9"], "gtx9"),
        (["--jobs", "0"], "--jobs: '0'"),
        (["--jobs", "some"], "--jobs"),
        (["-o", "/no/such/folder/x.csv"], "no folder"),
        (["-o", "table.xyz"], "ends in .csv"),
        (["--figure", "x.gif"], ".svg"),
        (["--figure", "x.svg", "--pareto", "eager"], "two of this sweep's metrics"),
        (["--dask", "somewhere"], "is no address"),
        (["--dask", "tcp://127.0.0.1:1"], "no scheduler answers there"),
    ],
)
def test_bad_input_is_one_line(options, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    began = time.monotonic()
    assert main(["sweep", "fmen", "--inputs", "32x32", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and message in captured.err
    assert list(tmp_path.iterdir()) == []
    assert time.monotonic() - began < 15


# -- Dask -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None
    ) as running:
        yield running.scheduler_address


def test_a_dask_cluster_gives_the_same_table(cluster, tmp_path, net):
    here, there = tmp_path / "here.csv", tmp_path / "there.csv"
    command = ["sweep", net, "--inputs", "16,24", "--set", "n=4..13"]
    assert main([*command, "--jobs", "1", "-o", str(here)]) == 0
    assert main([*command, "--dask", cluster, "-o", str(there)]) == 0
    assert here.read_bytes() == there.read_bytes() and len(rows(there)) == 20


def test_what_kills_a_process_on_a_cluster_costs_its_own_row_only(cluster, tmp_path, net):
    out = tmp_path / "out.csv"
    command = ["sweep", net, "--inputs", "16", "--set", "n=16..20", "--dask", cluster]
    assert main([*command, "-o", str(out)]) == 0
    errors = {r["n"]: r["error"] for r in rows(out)}
    assert "died" in errors.pop("17") and set(errors.values()) == {""}


def test_a_scheduler_that_dies_leaves_the_rows(tmp_path, net):
    pytest.importorskip("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address, out = f"tcp://127.0.0.1:{port}", tmp_path / "out.csv"
    command = [net, "--inputs", "16", "--set", "n=20..45", "--set", "wait=0.1", "-o", str(out)]
    scheduler = _dask("scheduler", "--host", "127.0.0.1", "--port", port)
    try:
        worker = _dask("worker", address, "--nthreads", "1", "--no-nanny")
        try:
            program = _with_a_worker(command, address)
            wait_for(lambda: len(lines(Path(f"{out}.journal"))) > 3)
            scheduler.kill()
            _, said = program.communicate(timeout=60)
        finally:
            worker.kill()
            worker.wait()
    finally:
        scheduler.kill()
        scheduler.wait()
    assert program.returncode == 2, said
    assert said.count("\n") == 1 and "the same command goes on" in said
    kept = len(lines(Path(f"{out}.journal"))) - 1
    assert 2 < kept < 26
    assert main(["sweep", *command, "--jobs", "1", "--metric", "params"]) == 2  # other metrics
    resumed = start(*command, "--jobs", "2")
    _, said = resumed.communicate(timeout=60)
    assert resumed.returncode == 0 and f"{kept} rows were in" in said
    assert [r["n"] for r in rows(out)] == [str(n) for n in range(20, 46)]


def _dask(what: str, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--no-dashboard", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _with_a_worker(command: list[str], address: str) -> subprocess.Popen[str]:
    """The sweep, once the scheduler has its worker."""
    from distributed import Client

    def ready() -> bool:
        try:
            with Client(address, timeout=1, set_as_default=False) as client:
                return bool(client.nthreads())
        except OSError:
            return False

    wait_for(ready)
    return start(*command, "--dask", address)
