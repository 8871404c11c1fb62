"""`analyze --view modules`: the tree, against torch's own counts and against the nodes."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
import torch
from torch import nn

import srprof
from srprof.cli import main
from srprof.render.views.analysis import document
from tests.shown import shown


class Branched(nn.Module):
    """A list, a module that never runs, one that stands in two places, and a nested block."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Conv2d(3, 7, 1)
        self.tail = nn.Conv2d(4, 3, 1)
        shared = nn.Conv2d(4, 4, 3, padding=1)
        self.body = nn.ModuleList([nn.Sequential(shared, nn.ReLU()), nn.Sequential(shared)])
        self.head = nn.Conv2d(3, 4, 1, bias=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.head(image)
        for block in self.body:
            x = x + block(x)
        return self.tail(x)


@pytest.fixture(scope="module")
def analysis() -> srprof.Analysis:
    return srprof.analyze(Branched(), "8x8", profile="gtx1080ti")


def module_rows(analysis: srprof.Analysis, top: int) -> tuple[tuple[Any, ...], ...]:
    """The rows of the tree's table."""
    sections = document(analysis.record, "modules", top).sections
    return next(s.table.rows for s in sections if s.title.startswith("Modules"))


def test_parents_come_first_and_siblings_as_they_run(analysis: srprof.Analysis):
    paths = [row.path for row in analysis.record.modules]
    assert paths == [
        "", "head", "body", "body.0", "body.0.0", "body.0.1", "body.1", "tail", "unused",
    ]  # fmt: skip


def test_parameters_are_torchs_of_every_module(analysis: srprof.Analysis):
    model = Branched()
    params = {row.path: row.params for row in analysis.record.modules}
    for path, module in model.named_modules():
        assert params[path] == sum(p.numel() for p in module.parameters()), path
    assert params[""] == analysis.record.complexity.params


def test_a_module_has_what_its_nodes_have(analysis: srprof.Analysis):
    record = analysis.record
    for row in record.modules:
        inside = [n for n in record.nodes if f"{n.module}.".startswith(f"{row.path}.".lstrip("."))]
        assert row.nodes == len(inside)
        assert row.macs == sum(n.macs or 0 for n in inside)
        assert row.created == sum(n.output for n in inside)
        peaks = [record.memory.net + n.referenced for n in inside]
        assert row.peak == max(peaks, default=None)
        if inside:
            assert record.nodes[row.peak_node] in inside
        assert row.predicted_ms == pytest.approx(
            sum(n.predicted_us for n in inside) / 1e3, abs=1e-9
        )
    root = record.modules[0]
    assert root.peak == record.memory.peak["eager"]
    assert root.predicted_ms == pytest.approx(record.latency.predicted_ms)
    unused = record.modules[-1]
    assert (unused.nodes, unused.calls, unused.peak, unused.macs) == (0, 0, None, 0)
    shared = next(row for row in record.modules if row.path == "body.0.0")
    assert shared.calls == 2


def test_the_tree_as_it_is_read(analysis: srprof.Analysis):
    text = shown(analysis, view="modules")
    lines = text[text.index("Modules (9 of 9)") :].splitlines()[4:13]
    assert [line.split("  ")[0] for line in lines] == [
        "(the model)", "├─ head", "├─ body", "│ ├─ 0", "│ │ ├─ 0", "│ │ ├─ 1", "│ ├─ 1",
        "├─ tail", "├─ unused",
    ]  # fmt: skip
    assert "0 nodes: nothing ran in it." in text
    assert "0 nodes" not in shown(srprof.analyze("fsrcnn", "8x8"), view="modules")


@pytest.mark.parametrize("depth, count", [(0, 1), (1, 5), (2, 7), (9, 9)])
def test_depth_in_every_format_that_is_read(analysis: srprof.Analysis, depth: int, count: int):
    text = shown(analysis, view="modules", depth=depth)
    assert f"Modules ({count} of 9)" in text
    page = shown(analysis, "markdown", view="modules", depth=depth)
    assert page.partition("## Modules")[2].count("\n| ") == count + 1  # and the head
    rows = list(csv.DictReader(io.StringIO(shown(analysis, "csv", view="modules", depth=depth))))
    assert len(rows) == 9, "programs get all"
    assert rows[4]["module"] == "body.0.0" and rows[4]["class"] == "Conv2d"


def test_the_largest_are_a_tree(analysis: srprof.Analysis):
    for top in range(1, 9):
        text = shown(analysis, view="modules", top=top)
        assert f"Modules ({top} of 9)" in text
        paths = [row[0].value for row in module_rows(analysis, top)]
        for path in paths:
            above = path.rpartition(".")[0]
            assert path in ("(the model)",) or (above or "(the model)") in paths


def test_json_has_the_tree_whatever_the_view(analysis: srprof.Analysis):
    head = json.loads(shown(analysis, "json"))["modules"][1]
    said = {name: head[name] for name in ("path", "class", "params", "calls", "shape", "macs")}
    assert said == {
        "path": "head", "class": "Conv2d", "params": 12, "calls": 1, "shape": [1, 4, 8, 8],
        "macs": 12 * 64,
    }  # fmt: skip
    assert set(head) - set(said) == {
        "nodes", "peak", "peak_node", "held", "created", "predicted_ms"
    }  # fmt: skip


def test_depth_is_of_the_tree(capsys):
    assert main(["analyze", "fsrcnn", "--input", "8x8", "--depth", "1"]) == 2
    assert capsys.readouterr().err == "srprof: --depth is of --view modules: give both\n"
    assert main(["analyze", "fsrcnn", "--input", "8x8", "--view", "modules", "--depth", "1"]) == 0
    assert "├─" in capsys.readouterr().out
