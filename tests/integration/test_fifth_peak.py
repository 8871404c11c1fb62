"""A made-up fifth peak: one row and one pure function, and every command shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import srprof
from srprof import figures
from srprof.analysis import Analysis
from srprof.cli import main
from srprof.memory.model import Peak
from srprof.render.writers import formats
from tests.golden_files import ROOT

NET = "net.py:Net"
SOURCE = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, nf: int = 4) -> None:
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, nf, 3, padding=1), nn.Conv2d(nf, 3, 3, padding=1)

    def forward(self, x):
        early = self.head(x)
        return self.tail(torch.relu(early))
"""

#: Formats of tables; csv has bytes, the others MiB.
EVERY = [name for name in formats() if name != "json"]


def fused(analysis: Analysis) -> Peak:
    """What a compiler that never makes the largest activation would need."""
    largest = max(s.nbytes for s in analysis.trace.storages if s.role == "activation")
    planned = analysis.memory.planned
    return Peak(planned.nbytes - largest, planned.node)


ROW = figures.peak("fused", "what a made-up compiler needs", fused)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(SOURCE)
    monkeypatch.setattr(figures, "FIGURES", (ROW, *figures.FIGURES))
    return tmp_path


def expected(size: str = "16x24", nf: int = 4) -> int:
    analysis = srprof.analyze(f"{NET}(nf={nf})", size)
    assert fused(analysis).nbytes < analysis.memory.planned.nbytes  # no other peak has its value
    return fused(analysis).nbytes


def mib(nbytes: int) -> str:
    return f"{nbytes / 2**20:.2f}"


def printed(*arguments: str, code: int = 0) -> str:
    """What a command writes; by a file, as a writer for a terminal is one of them."""
    assert main([*arguments, "-o", "out"]) == code
    return Path("out").read_text(encoding="utf-8")


def read(*arguments: str, code: int = 0):
    return json.loads(printed(*arguments, "--format", "json", code=code))


@pytest.mark.parametrize("form", [name for name in EVERY if name != "csv"])  # csv is of the nodes
def test_analyze(form: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")  # a narrow terminal folds the words
    text = printed("analyze", NET, "--input", "96x96", "--format", form)
    assert mib(expected("96x96")) in text
    assert "what a made-up compiler needs" in text


def test_the_json_and_python_have_it():
    memory = read("analyze", NET, "--input", "16x24")["memory"]
    assert next(iter(memory["peak"])) == "fused"
    assert memory["peak"]["fused"] == expected()
    assert memory["peak_node"]["fused"] == memory["peak_node"]["planned"]
    analysis = srprof.analyze(NET, "16x24")
    assert analysis.peaks["fused"].nbytes == analysis.value("fused") == expected()


@pytest.mark.parametrize("form", EVERY)
def test_diff(form: str):
    arguments = ("diff", f"{NET}(nf=4)", f"{NET}(nf=40)", "--input", "96x96")
    text = printed(*arguments, "--format", form)
    (line,) = (row for row in text.splitlines() if "fused" in row and "peak" not in row)
    sizes = expected("96x96", 4), expected("96x96", 40)
    assert all((str if form == "csv" else mib)(size) in line for size in sizes)
    peak = read(*arguments)["peaks"]["fused"]
    assert (peak["before"], peak["after"]) == sizes


def test_an_analysis_of_before_compares_in_what_it_has(monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as before:
        before.setattr(figures, "FIGURES", figures.FIGURES[1:])
        Path("old.json").write_text(printed("analyze", NET, "--format", "json"))
    assert list(read("diff", "old.json", NET)["peaks"]) == [
        "planned",
        "eager",
        "allocated",
        "reserved",
    ]


CHECK = f'[[check]]\nmodel = "{NET}"\ninput = "96x96"\n'


@pytest.mark.parametrize("form", EVERY)
def test_check(form: str):
    Path("srprof.toml").write_text(CHECK + 'fused = "1 KiB"\n')
    assert main(["check", "--update"]) == 1
    entries = json.loads(Path("srprof-baseline.json").read_text())["entries"]
    assert entries[f"{NET} 96x96"]["metrics"]["fused"] == expected("96x96")
    text = printed("check", "--format", form, code=1)
    assert "fused" in text
    assert (str if form == "csv" else mib)(expected("96x96")) in text
    (row,) = (r for r in read("check", code=1)["checks"][0]["metrics"] if r["metric"] == "fused")
    assert (row["now"], row["limit"], row["failed"]) == (expected("96x96"), 1024, True)


def test_a_baseline_of_before_holds(monkeypatch: pytest.MonkeyPatch):
    Path("srprof.toml").write_text(CHECK)
    with monkeypatch.context() as before:
        before.setattr(figures, "FIGURES", figures.FIGURES[1:])
        assert main(["check", "--update"]) == 0
    assert main(["check"]) == 0


@pytest.mark.parametrize("form", EVERY)
def test_sweep(form: str):
    arguments = ("sweep", NET, "--inputs", "96x96", "--set", "nf=4,40", "--jobs", "1")
    text = printed(*arguments, "--metric", "fused", "--format", form)
    sizes = [expected("96x96", nf) for nf in (4, 40)]
    assert all((str if form == "csv" else mib)(size) in text for size in sizes)
    data = read(*arguments)  # it is among the metrics that nobody names too
    assert data["metrics"]["fused"] == "bytes"
    assert [row["fused"] for row in data["rows"]] == sizes


@pytest.mark.parametrize("form", EVERY)
def test_rank(form: str):
    arguments = ("rank", NET, f"{NET}(nf=40)", "--input", "96x96", "--memory", "fused")
    text = printed(*arguments, "--format", form)
    sizes = [expected("96x96", nf) for nf in (4, 40)]
    assert all((str if form == "csv" else mib)(size) in text for size in sizes)
    assert "fused: what a made-up compiler needs" in text
    rows = read(*arguments)["rows"]
    assert sorted(row["memory"] for row in rows) == sizes
    assert sorted(row["peaks"]["fused"] for row in rows) == sizes


@pytest.mark.parametrize("form", EVERY)
def test_fit(form: str):
    budget = expected("96x96")
    arguments = ("fit", NET, "--budget", f"{budget}B", "--memory", "fused")
    found = read(*arguments)
    assert found["largest"]["shape"][-2:] == [96, 96]
    assert found["largest"]["peak"]["fused"] == budget < found["next"]["peak"]["fused"]
    text = printed(*arguments, "--format", form)
    assert (str if form == "csv" else mib)(budget) in text
    assert "fused" in text


def test_report():
    Path("r.toml").write_text(
        f'title = "t"\nmodels = ["{NET}"]\ninput = "96x96"\nsections = ["peaks"]\n'
    )
    assert main(["report", "r.toml"]) == 0
    data = json.loads(Path("r/data.json").read_text())
    assert data["peaks"][0] == {
        "name": "fused",
        "title": "fused peak",
        "unit": "MiB",
        "factor": 2**20,
        "meaning": "what a made-up compiler needs",
    }
    assert data["models"][0]["peak"]["fused"] == expected("96x96")
    for file in ("table.md", "table.tex", "index.html"):
        text = Path("r", file).read_text(encoding="utf-8")
        assert "fused MiB" in text
        assert mib(expected("96x96")) in text
    assert (
        ">fused<" in Path("r/peaks.svg").read_text() or "fused" in Path("r/peaks.svg").read_text()
    )


def test_the_scripts_of_a_page_name_no_peak_of_the_bars():
    for script in ("report/page.js", "render/templates/charts.js", "render/templates/document.js"):
        assert "reserved" not in (ROOT / "srprof" / script).read_text()
