"""Scratch inside nodes: by rule, by measurement, or unknown."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import srprof
from srprof.errors import InputError
from srprof.memory.simulation import simulate
from srprof.memory.workspace import (
    WorkspaceTable,
    blas_workspace,
    call_key,
    load_workspaces,
)

KIB, MIB = 2**10, 2**20


@pytest.mark.parametrize(
    "capability, config, nbytes",
    [
        (None, "", int(8.125 * MIB)),
        ((8, 0), "", int(8.125 * MIB)),
        ((9, 0), "", 32 * MIB),
        ((9, 0), ":4096:2:16:8", int(8.125 * MIB)),
        (None, ":16:8", 128 * KIB),
        (None, ":0:0", 0),
    ],
)
def test_what_cublas_keeps(capability, config, nbytes):
    assert blas_workspace(capability, config) == nbytes


@pytest.mark.parametrize("config", ["4096:2", ":4096", ":4096:2:16", ":a:b", ":-1:2", ": 4:2"])
def test_configuration_that_is_none(config):
    with pytest.raises(InputError, match="CUBLAS_WORKSPACE_CONFIG"):
        blas_workspace(config=config)


@pytest.fixture(scope="module")
def trace():
    return srprof.trace("fmen_s", "32x32")


def test_key_says_what_scratch_depends_on(trace):
    convolutions = [node for node in trace.nodes if node.op == "convolution"]
    first = call_key(convolutions[0])
    assert first.startswith("convolution(1x3x32x32 float32, 50x3x3x3 float32, 50 float32, [1, 1]")
    assert call_key(srprof.trace("fmen_s", "32x33").nodes[0]) != first
    half = srprof.trace("fmen_s", "32x32", dtype="float16").nodes[0]
    assert "float16" in call_key(half)
    last = srprof.trace("fmen_s", "32x32", channels_last=True).nodes[0]
    assert call_key(last) not in (first, call_key(half))
    assert call_key(srprof.trace("fmen_s", "32x32").nodes[0]) == first
    assert len({call_key(node) for node in convolutions}) < len(convolutions)


def test_unknown_is_none_and_rules_are_zero(trace):
    table = WorkspaceTable()
    for node in trace.nodes:
        assert table.scratch(node) == (None if node.op == "convolution" else 0)
    assert len(table.unknown(trace.nodes)) == 34


def test_a_measurement_goes_before_the_rule(trace):
    node = next(node for node in trace.nodes if node.op == "leaky_relu")
    assert WorkspaceTable("gpu", "cuda", {call_key(node): 7}).scratch(node) == 7


def test_json_round_trip(tmp_path: Path):
    table = WorkspaceTable("gpu, torch 2", "cuda", {"b": 2, "a": 1})
    assert WorkspaceTable.from_json(table.to_json()) == table
    assert list(json.loads(table.to_json())["entries"]) == ["a", "b"]
    (tmp_path / "t.json").write_text(table.to_json())
    assert load_workspaces(str(tmp_path / "t.json")) == table


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"kind": "srprof workspace"}', '{"entries": 3, "schema": 1}']
)
def test_damaged_table(text: str):
    with pytest.raises(InputError, match="no table of workspaces"):
        WorkspaceTable.from_json(text)


def test_newer_table():
    text = WorkspaceTable("gpu", "cuda", {}).to_json().replace('"schema": 1', '"schema": 2')
    with pytest.raises(InputError, match="update it"):
        WorkspaceTable.from_json(text)


def test_a_cpus_table_is_not_for_cuda(tmp_path: Path):
    (tmp_path / "t.json").write_text(WorkspaceTable("EPYC", "cpu", {"a": 1}).to_json())
    with pytest.raises(InputError, match="measured on EPYC"):
        srprof.analyze("fmen_s", "32x32", workspace=str(tmp_path / "t.json"))
    with pytest.raises(InputError, match="cannot be read"):
        load_workspaces(str(tmp_path / "nowhere.json"))


def test_joined_tables_take_the_larger():
    one = WorkspaceTable("gpu", "cuda", {"a": 1, "b": 5})
    two = WorkspaceTable("gpu", "cuda", {"a": 3, "c": 2})
    assert one.joined(two).entries == {"a": 3, "b": 5, "c": 2}
    assert WorkspaceTable().joined(one) == one
    assert one.joined(WorkspaceTable()) == one
    with pytest.raises(InputError, match="does not mix"):
        one.joined(dataclasses.replace(two, source="another"))


def test_scratch_raises_allocated_at_its_node(trace, tmp_path: Path):
    peak = srprof.analyze(trace).simulation
    node = trace.nodes[peak.peak_node]
    convolution = trace.nodes[1]
    table = WorkspaceTable("gpu", "cuda", {call_key(convolution): 64 * MIB})
    (tmp_path / "t.json").write_text(table.to_json())
    more = srprof.analyze(trace, workspace=str(tmp_path / "t.json"))
    assert more.simulation.peak_allocated > peak.peak_allocated + 60 * MIB
    assert more.simulation.peak_node != node.index
    data = more.to_dict()
    assert data["memory"]["allocator"]["workspace"] == 64 * MIB
    assert data["memory"]["allocator"]["workspace_unknown"] < 34
    assert data["memory"]["allocator"]["workspace_source"] == "gpu"
    assert {n["workspace"] for n in data["nodes"]} == {None, 0, 64 * MIB}
    assert data["memory"]["peak"]["eager"] == srprof.analyze(trace).memory.eager.nbytes


def test_cublas_is_taken_at_the_first_product_and_kept():
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64))
    trace = srprof.trace(model, (32, 64))
    without, with_ = (simulate([trace, trace], blas_workspace=n) for n in (0, 8 * MIB))
    first = [node.op in ("addmm", "linear", "mm") for node in trace.nodes].index(True)
    for image in range(2):
        pairs = zip(without.images[image].allocated, with_.images[image].allocated, strict=True)
        rises = [more - less for less, more in pairs]
        assert rises == [8 * MIB if image or i >= first else 0 for i in range(len(rises))]
    assert srprof.analyze(trace).simulation.peak_allocated >= without.peak_allocated + 8 * MIB
