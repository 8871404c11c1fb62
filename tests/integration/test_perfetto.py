"""The run as a timeline for Perfetto: slices that nest, and counters that sum to the peak."""

from __future__ import annotations

import json

import pytest
from torch import Tensor, nn

import srprof
from srprof.render.exports import export


@pytest.fixture(scope="module")
def analysis() -> srprof.Analysis:
    return srprof.analyze("e_rfdn", "64x64")


@pytest.fixture(scope="module")
def events(analysis: srprof.Analysis) -> list[dict]:
    return json.loads(export(analysis, "perfetto"))["traceEvents"]


def test_a_slice_for_each_node(analysis: srprof.Analysis, events: list[dict]):
    slices = [e for e in events if e.get("cat") == "op"]
    assert [s["name"] for s in slices] == [node.op for node in analysis.trace.nodes]
    assert [s["ts"] for s in slices] == list(range(len(slices)))
    assert "models/" in slices[0]["args"]["line"]


def test_module_slices_nest_and_cover_their_nodes(analysis: srprof.Analysis, events: list[dict]):
    slices = [e for e in events if e.get("cat") == "module"]
    for node in analysis.trace.nodes:
        over = [s for s in slices if s["ts"] <= node.index < s["ts"] + s["dur"]]
        over.sort(key=lambda s: -s["dur"])
        assert [s["name"] for s in sorted(over, key=lambda s: (s["ts"], -s["dur"]))] == [
            part for part in node.module.split(".") if part
        ]
    for one in slices:
        for other in slices:
            starts, ends = (
                (one["ts"], other["ts"]),
                (
                    one["ts"] + one["dur"],
                    other["ts"] + other["dur"],
                ),
            )
            apart = min(ends) <= max(starts)
            inside = (starts[0] <= starts[1]) == (ends[0] >= ends[1]) or starts[0] == starts[1]
            assert apart or inside or ends[0] == ends[1]


def test_counters_sum_to_the_eager_peak(analysis: srprof.Analysis, events: list[dict]):
    totals = [sum(e["args"].values()) for e in events if e["ph"] == "C"]
    assert max(totals) == analysis.memory.eager.nbytes
    assert len(totals) == len(analysis.trace.nodes)


def test_names_are_escaped():
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module('<b>"\n', nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            return self._modules['<b>"\n'](x)

    data = json.loads(export(srprof.analyze(Odd(), (1, 3, 4, 4)), "perfetto"))
    assert any(event.get("name") == '<b>"\n' for event in data["traceEvents"])
