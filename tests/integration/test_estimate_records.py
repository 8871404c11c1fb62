"""What docs/estimate.md says of measurements and of other tools is what the records have."""

from __future__ import annotations

import importlib.util
import json
import re
from types import ModuleType

import pytest

from tests.golden_files import ROOT

PAGE = (ROOT / "docs" / "estimate.md").read_text(encoding="utf-8")


def benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_trainners_rows(monkeypatch):
    trainner = benchmark("trainner_memory", monkeypatch)
    rows = json.loads(trainner.RECORD.read_text())
    near, count = re.search(r"(\d+) of (\d+) rows are within", trainner.table(rows)).groups()
    said = f"Of the {count} rows of networks that spandrel has too, with as many parameters, {near}"
    assert said in PAGE.replace("\n", " ")
    within = sum(abs(trainner.error_of(row)) <= 0.01 for row in rows)
    assert f"{within} within 1 %" in PAGE.replace("\n", " ")
    assert int(near) >= trainner.SHARE * int(count)
    assert "not known" not in trainner.table(rows)


def test_the_table_of_tools(monkeypatch):
    tools = benchmark("tools_side_by_side", monkeypatch)
    rows = json.loads(tools.RECORD.read_text())
    assert tools.table(rows) in PAGE
    assert {"fmen_s", "imdn"} <= rows.keys()


def test_h200s_networks(monkeypatch):
    h200 = benchmark("h200_estimates", monkeypatch)
    found = h200.errors(json.loads(h200.ROWS.read_text()))
    near = sum(abs(error) <= h200.GOAL for error in found.values())
    assert f"{near} of {len(found)} peaks" in PAGE.replace("\n", " ")


def test_networks_at_fresh_sizes(monkeypatch):
    estimates = benchmark("estimates", monkeypatch)
    rows = json.loads(estimates.RECORD.read_text())
    made = [row for row in rows if "error" not in row]
    equal = [
        [row["name"] for row in made if row["peaks"][kind]["equal"] == row["sizes"]]
        for kind in ("planned", "eager", "allocated")
    ]
    words = " ".join(PAGE.split())
    assert f"Of {len(made)} networks so far" in words
    both = len(set(equal[0]) & set(equal[1]))
    assert f"to the byte in {both}, and `allocated` in {len(equal[2])}." in words
    assert min(row["sizes"] for row in made) == 20
    slow = [row["name"] for row in made if row["call_ms"] > 1]
    assert f"in all but {len(slow)} (" in words
    pack = json.loads(estimates.PACK.read_text())
    assert f"with {len(pack['networks'])} of the 55" in words
