"""What each format prints: golden text, and parts that must sum to totals in any format."""

from __future__ import annotations

import csv
import io
import json

import pytest

import srprof
from srprof.render.document import Table
from srprof.render.views import VIEWS
from srprof.render.views.analysis import document
from tests.golden_files import ROOT, without_source_lines
from tests.shown import FORMATS, shown

CASES = {
    "analyze_e_rfdn.txt": ("e_rfdn", "text", {}),
    "analyze_e_rfdn_peak.txt": ("e_rfdn", "text", {"view": "peak"}),
    "analyze_fmen_s_modules.txt": ("fmen_s", "text", {"view": "modules"}),
    "analyze_imdn.md": ("imdn", "markdown", {"top": 5}),
    "analyze_fmen_s.csv": ("fmen_s", "csv", {}),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, golden, monkeypatch):
    monkeypatch.chdir(ROOT)
    model, form, options = CASES[name]
    text = shown(srprof.analyze(model, "256x256"), form, **options)
    golden(without_source_lines(text), name)


@pytest.fixture(scope="module")
def e_rfdn():
    return srprof.analyze("e_rfdn", "256x256")


def test_json_is_the_contract(e_rfdn):
    data = json.loads(shown(e_rfdn, "json"))
    assert data["schema"] == 1
    assert data["traced_on"] == "meta"
    assert data["model"] == {"spec": "e_rfdn", "name": "e_rfdn", "scale": 4}
    assert data["input"] == {"shape": [1, 3, 256, 256], "dtype": "float32"}
    assert set(data["complexity"]) == {
        "params", "flops_ntire", "fvcore_flops", "macs", "activations", "convs", "uncounted"
    }  # fmt: skip
    memory = data["memory"]
    assert set(memory["peak"]) == {"planned", "eager", "allocated", "reserved"}
    assert set(memory["peak_node"]) == {"planned", "eager", "allocated"}
    for held in memory["held_at_peak"]:
        assert {"variable", "function", "file", "line", "bytes", "last_use"} <= set(held)
    node_keys = {
        "index", "op", "module", "file", "line", "inplace", "shape", "input", "output", "kept",
        "held", "workspace", "allocated", "macs", "bytes_moved", "op_class", "predicted_us",
        "bound",
    }  # fmt: skip
    assert all(set(node) == node_keys for node in data["nodes"])


def test_json_sums(e_rfdn):
    data = json.loads(shown(e_rfdn, "json"))
    memory, nodes = data["memory"], data["nodes"]
    eager = [memory["net"] + sum(n[k] for k in ("input", "output", "kept", "held")) for n in nodes]
    planned = [total - node["held"] for total, node in zip(eager, nodes, strict=True)]
    assert memory["peak"]["eager"] == max(eager) == eager[memory["peak_node"]["eager"]]
    assert memory["peak"]["planned"] == max(planned) == planned[memory["peak_node"]["planned"]]
    held = sum(h["bytes"] for h in memory["held_at_peak"])
    assert held == nodes[memory["peak_node"]["eager"]]["held"]
    live = memory["net"] + sum(s["bytes"] for s in memory["live_at_peak"])
    assert live == memory["peak"]["eager"]
    assert data["complexity"]["macs"] == sum(n["macs"] for n in nodes)
    assert memory["requested"]["eager"] <= memory["peak"]["eager"]


def test_unknown_is_null_and_not_zero(e_rfdn):
    data = json.loads(shown(e_rfdn, "json"))
    assert data["latency"] is None
    assert data["memory"]["allocator"]["workspace_source"] is None
    assert {n["workspace"] for n in data["nodes"] if n["op"] == "convolution"} == {None}
    assert {n["workspace"] for n in data["nodes"] if n["op"] == "leaky_relu_"} == {0}


def test_bytes_moved_are_operands_once(e_rfdn):
    data = json.loads(shown(e_rfdn, "json"))
    plane = 256 * 256 * 4
    first = data["nodes"][0]
    assert first["bytes_moved"] == (3 + 50) * plane + (50 * 3 * 9 + 50) * 4
    in_place = next(n for n in data["nodes"] if n["op"] == "leaky_relu_")
    assert in_place["inplace"]
    assert in_place["bytes_moved"] == 2 * 25 * plane


def test_views_move_nothing():
    nodes = srprof.analyze("imdn", "64x64").to_dict()["nodes"]
    assert {n["bytes_moved"] for n in nodes if n["op"] == "split_with_sizes"} == {0}


def test_frame_has_the_nodes(e_rfdn):
    frame = e_rfdn.to_frame()
    assert len(frame) == len(e_rfdn.trace.nodes)
    assert frame["eager"].max() == e_rfdn.memory.eager.nbytes
    assert frame["eager"].idxmax() == e_rfdn.memory.eager.node
    assert frame["macs"].sum() == e_rfdn.complexity.macs
    assert frame["workspace"][frame["op"] == "convolution"].isna().all()


def test_csv_has_every_node_whatever_top_says(e_rfdn):
    rows = list(csv.DictReader(io.StringIO(shown(e_rfdn, "csv", top=3))))
    assert len(rows) == len(e_rfdn.trace.nodes)
    assert max(int(row["eager_bytes"]) for row in rows) == e_rfdn.memory.eager.nbytes


def test_top_keeps_the_largest_in_the_order_of_the_run(e_rfdn):
    def rows(view: str, top: int) -> tuple:
        tables = [s.table for s in document(e_rfdn.record, view, top).sections if s.table]
        names = {"nodes": "eager MiB", "modules": "created MiB", "peak": "made by"}
        shown = [t for t in tables if names[view] in [column.name for column in t.columns]]
        assert isinstance(shown[0], Table)
        return shown[0].rows

    eager = [parts.eager for parts in e_rfdn.memory.parts]
    largest = sorted(range(len(eager)), key=lambda i: (-eager[i], i))[:3]
    assert [row[0] for row in rows("nodes", 3)] == sorted(largest)
    assert len(rows("nodes", 0)) == len(eager)
    assert len(rows("modules", 5)) == 5
    assert len(rows("peak", 5)) == 5


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "memory-viz"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_in_every_format(e_rfdn, form, view):
    text = shown(e_rfdn, form, view=view)
    assert text.endswith("\n")
    assert len(text) > 200


def test_a_terminal_gets_colour_and_a_pipe_does_not(e_rfdn):
    assert "\x1b[" in shown(e_rfdn, "rich")
    assert "\x1b[" not in shown(e_rfdn, "text")


def test_without_rich_a_terminal_gets_plain_text(e_rfdn, monkeypatch):
    import builtins

    real = builtins.__import__

    def without_rich(name, *args, **kwargs):
        if name.split(".")[0] == "rich":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_rich)
    assert shown(e_rfdn, "rich") == shown(e_rfdn, "text")


def test_notebook_and_repr(e_rfdn):
    assert "<table>" in e_rfdn._repr_html_()
    assert "eager 199.84 MiB" in repr(e_rfdn)
    assert len(repr(e_rfdn)) < 200
    assert str(e_rfdn) == shown(e_rfdn, "text").rstrip("\n")


def test_html_escapes():
    from torch import nn

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("<b>", nn.Conv2d(3, 3, 1))

        def forward(self, x):
            return self.get_submodule("<b>")(x)

    assert "<b>" not in srprof.analyze(Odd(), "16x16")._repr_html_()
