"""`--format model-explorer`: the file by the viewer's own description of its formats, and its sums.

The keys and types are those of `graph_builder.py` and `node_data_builder.py` of
ai-edge-model-explorer 0.1.34, whose page drew this file with its node data.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

import srprof
from srprof.cli import main
from srprof.render.exports import export

#: Keys of each object, with their types; those marked by `?` may be missing.
GRAPH = {"id": str, "nodes": list, "groupNodeAttributes?": dict}
NODE = {
    "id": str, "label": str, "namespace": str, "attrs?": list, "incomingEdges?": list,
    "outputsMetadata?": list,
}  # fmt: skip
EDGE = {"sourceNodeId": str, "sourceNodeOutputId": str, "targetNodeInputId": str}
PAIR = {"key": str, "value": str}
OUTPUT = {"id": str, "attrs": list}
DATA = {"name": str, "results": dict, "gradient": list}
STOP = {"stop": (int, float), "bgColor": str, "textColor": str}


def check(value: dict[str, Any], keys: dict[str, Any]) -> None:
    types = {key.rstrip("?"): kind for key, kind in keys.items()}
    assert set(value) <= set(types)
    assert {key for key in keys if not key.endswith("?")} <= set(value)
    assert all(isinstance(item, types[key]) for key, item in value.items())


@pytest.fixture(scope="module")
def analysis() -> srprof.Analysis:
    return srprof.analyze("e_rfdn", "64x64", profile="h100")


@pytest.fixture(scope="module")
def whole(analysis: srprof.Analysis) -> dict[str, Any]:
    return json.loads(export(analysis, "model-explorer"))


def test_it_is_a_graph_collection_and_node_data(whole: dict[str, Any]):
    assert set(whole) == {"label", "graphs", "e_rfdn"}
    (graph,) = whole["graphs"]
    assert graph["id"] == "e_rfdn"
    check(graph, GRAPH)
    for node in graph["nodes"]:
        check(node, NODE)
        for edge in node.get("incomingEdges", ()):
            check(edge, EDGE)
        for output in node.get("outputsMetadata", ()):
            check(output, OUTPUT)
        pairs = [
            *node.get("attrs", ()),
            *(p for o in node.get("outputsMetadata", ()) for p in o["attrs"]),
        ]
        for pair in pairs:
            check(pair, PAIR)
    for attributes in graph["groupNodeAttributes"].values():
        assert all(isinstance(v, str) for pair in attributes.items() for v in pair)
    check(whole["e_rfdn"], DATA)
    for stop in whole["e_rfdn"]["gradient"]:
        check(stop, STOP)


def test_edges_lead_from_outputs_that_there_are(analysis: srprof.Analysis, whole: dict[str, Any]):
    nodes = {node["id"]: node for node in whole["graphs"][0]["nodes"]}
    assert len(nodes) == len(whole["graphs"][0]["nodes"])
    order = list(nodes)
    for name, node in nodes.items():
        for edge in node.get("incomingEdges", ()):
            source = nodes[edge["sourceNodeId"]]
            assert order.index(source["id"]) < order.index(name)
            outputs = [output["id"] for output in source["outputsMetadata"]]
            assert edge["sourceNodeOutputId"] in outputs
    assert nodes["result"]["incomingEdges"][0]["sourceNodeId"] == str(len(analysis.trace.nodes) - 1)
    first = analysis.trace.nodes[0]
    assert nodes["0"]["incomingEdges"][0]["sourceNodeId"].startswith("input ")
    assert nodes["0"]["label"] == first.op and nodes["0"]["namespace"] == first.module


def test_node_data_are_of_every_node_and_reach_the_peak(
    analysis: srprof.Analysis, whole: dict[str, Any]
):
    values = {key: result["value"] for key, result in whole["e_rfdn"]["results"].items()}
    assert list(values) == [str(node.index) for node in analysis.trace.nodes]
    assert set(values) < {node["id"] for node in whole["graphs"][0]["nodes"]}
    peak = analysis.memory.eager
    assert max(values.values()) == values[str(peak.node)] == round(peak.nbytes / 2**20, 2)


def test_layers_are_modules(analysis: srprof.Analysis, whole: dict[str, Any]):
    (graph,) = whole["graphs"]
    attributes = graph["groupNodeAttributes"]
    assert {node["namespace"] for node in graph["nodes"]} <= set(attributes)
    assert attributes[""]["params"] == f"{analysis.record.complexity.params:,}"
    assert attributes[""]["eager peak"] == f"{analysis.memory.eager.nbytes / 2**20:.2f} MiB"
    assert attributes["B1/c1_r"]["class"] == "Conv2d"


class Odd(nn.Module):
    """A module's name with signs of others, a result in a dict, and a part of several outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("a/<b>\n", nn.Conv2d(4, 4, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        (part,) = self.children()
        _, second = part(x).split(2, 1)
        return {"second": second}


def test_several_outputs_and_odd_names():
    whole = json.loads(export(srprof.analyze(Odd(), (1, 4, 8, 8)), "model-explorer"))
    (graph,) = whole["graphs"]
    (edge,) = graph["nodes"][-1]["incomingEdges"]
    assert edge["sourceNodeOutputId"] == "1"
    assert graph["nodes"][1]["namespace"] == "a_<b>"
    assert graph["groupNodeAttributes"]["a_<b>"]["params"] == "20"
    assert graph["id"] in whole and graph["id"] not in ("label", "graphs")


def test_the_ending_of_a_file_says_which_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name, key in (
        ("a.explorer.json", "graphs"), ("a.perfetto.json", "traceEvents"), ("a.json", "schema"),
    ):  # fmt: skip
        assert main(["analyze", "fsrcnn", "--input", "8x8", "-o", name]) == 0
        assert key in json.loads((tmp_path / name).read_text(encoding="utf-8"))
