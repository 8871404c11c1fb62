"""The table of ops: one row each, every op of the zoo has one, and what a row says is seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import srprof
from srprof import models, ops
from srprof.cost.classes import node_cost
from srprof.memory.workspace import WorkspaceTable
from srprof.ops import FAMILIES, Op, Product

NET = """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.tail = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x):
        x = self.head(x)
        x = torch.digamma(x)
        return self.tail(x)
"""


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch):
    """The table, as it was again when the test has ended."""
    monkeypatch.setattr(ops, "OPS", dict(ops.OPS))
    return ops.OPS


def test_every_op_of_the_zoo_has_a_row():
    made = {node.op for network in models.ZOO for node in srprof.trace(network.name, "32x32").nodes}
    assert len(made) > 10
    assert not made - ops.OPS.keys(), "give them a row in srprof/ops.py"


@pytest.mark.parametrize("names", ["relu", "made_up add", "made_up made_up"])
def test_a_second_row_is_refused(table, names: str):
    before = dict(table)
    with pytest.raises(ValueError, match=r"more than one row .*(relu|add|made_up)"):
        ops.add(names, Op())
    assert table == before


def test_families_are_those_of_the_profiles():
    named = {op.family for op in ops.OPS.values() if isinstance(op.family, str)}
    assert named < {*FAMILIES, "view"}


def test_it_needs_no_torch():
    code = "import sys, srprof.ops; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_made_up_row_is_seen_everywhere(table, tmp_path: Path):
    """An op that has none: MACs, latency class, workspace and advice follow from its row."""
    (tmp_path / "net.py").write_text(NET)
    spec = f"{tmp_path / 'net.py'}:Net"
    (index,) = (n.index for n in srprof.trace(spec, "16x16").nodes if n.op == "digamma")

    def facts() -> list[object]:
        analysis = srprof.analyze(spec, "16x16")
        node = analysis.trace.nodes[index]
        cost = node_cost(node, analysis.trace.storages)
        steps = [step.candidate.edit for step in srprof.advise(spec, "16x16").steps]
        return [
            analysis.complexity.node_macs[index],
            (cost.op_class, cost.flops, cost.read),
            index in WorkspaceTable().unknown(analysis.trace.nodes),
            [edit.nodes for edit in steps if hasattr(edit, "operand")],
        ]

    size = 4 * 8 * 16 * 16
    assert facts() == [0, ("elementwise", 0, size), True, []]

    row = Op(
        "norm",
        product=lambda node: Product(1, node.shape[1], 2, 3),
        scratch="none",
        overwrites=True,
        in_place="method",
    )
    ops.add("digamma", row)

    assert facts() == [48, ("norm", 96, 0), False, [(index,)]]
