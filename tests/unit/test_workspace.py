"""Scratch inside nodes: by rule, by measurement, or unknown."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import srprof
from srprof.cost.profiles import load_profile
from srprof.errors import InputError
from srprof.memory.cudnn import copied_for_tensor_cores, copies_made
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


#: Convolutions with the scratch that an H100 took (benchmarks/records/nvidia-h100): channels in and
#: out, kernel, stride, transposed, side, dtype, bytes. The allocator rounds to 512.
TAKEN = [
    (50, 50, 3, 1, False, 510, "float32", 108_299_091),
    (64, 64, 3, 1, False, 1020, "float32", 532_832_403),
    (16, 50, 3, 1, False, 510, "float32", 70_777_168),
    (64, 64, 4, 2, True, 510, "float32", 333_190_291),
    (64, 3, 3, 1, False, 2040, "float32", 1_115_315_728),
    (64, 1, 3, 1, False, 2040, "float32", 1_065_371_920),
    (3, 50, 3, 1, False, 510, "float32", 0),
    (200, 50, 1, 1, False, 510, "float32", 400),
    (50, 50, 3, 1, False, 510, "float16", 58_318_995),
    (42, 48, 3, 1, False, 510, "float16", 49_980_819),
    (64, 256, 3, 1, False, 1020, "float16", 666_151_059),
    (576, 64, 1, 1, False, 2040, "float32", 10_653_696_256),
    (512, 64, 1, 1, False, 2040, "float32", 0),
]


@pytest.mark.parametrize("inner, outer, kernel, stride, transposed, side, dtype, taken", TAKEN)
def test_scratch_on_tensor_cores(inner, outer, kernel, stride, transposed, side, dtype, taken):
    kind = torch.nn.ConvTranspose2d if transposed else torch.nn.Conv2d
    model = kind(inner, outer, kernel, stride, padding=(kernel - 1) // 2, device="meta")
    (node,) = srprof.trace(model, (1, inner, side, side), dtype=dtype).nodes
    assert abs(copied_for_tensor_cores(node) - taken) <= 512


def test_nothing_is_copied_that_is_so_already():
    for channels, copies in ((64, False), (50, True)):
        model = torch.nn.Conv2d(channels, channels, 3, device="meta")
        (node,) = srprof.trace(model, (1, channels, 64, 64), channels_last=True).nodes
        assert bool(copied_for_tensor_cores(node)) is copies


def test_tensor_cores_say_nothing_of_what_was_not_seen():
    model = torch.nn.ConvTranspose2d(64, 1, 4, stride=2, device="meta")
    (node,) = srprof.trace(model, (1, 64, 32, 32)).nodes
    assert copied_for_tensor_cores(node) is None
    table = load_workspaces("tensor-cores")
    nodes = srprof.trace("fmen_s", "32x32").nodes
    assert not table.unknown(nodes)
    assert all(table.scratch(node) == 0 for node in nodes if node.op == "leaky_relu")


@pytest.mark.parametrize(
    "channels, side, dtype, taken",
    [  # as an H200 took: 3x3, four groups
        (16, (339, 510), "float32", 22_132_736),
        (48, (256, 256), "float32", 33_591_808),
        (32, (510, 510), "float16", 33_297_920),
    ],
)
def test_groups_are_filled_up_to_powers_of_two(channels, side, dtype, taken):
    model = torch.nn.Conv2d(channels, channels, 3, padding=1, groups=4, device="meta")
    (node,) = srprof.trace(model, (1, channels, *side), dtype=dtype).nodes
    assert 0 <= taken - copied_for_tensor_cores(node) <= 1024


def test_pointwise_convolutions_take_as_much_whatever_they_are():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(12, 48, 1), torch.nn.Conv2d(48, 48, 3), torch.nn.Conv2d(48, 48, 1, groups=2)
    )
    nodes = srprof.trace(model.to("meta"), (1, 12, 64, 64)).nodes
    table = load_workspaces("pointwise")
    assert [table.scratch(node) for node in nodes] == [128 * 2**20, 0, 0]
    large = srprof.trace(model, (1, 12, 1020, 1020)).nodes
    assert table.scratch(large[0]) == 0


def test_depthwise_convolutions_copy_nothing():
    model = torch.nn.Conv2d(48, 48, 5, padding=2, groups=48, device="meta")
    (node,) = srprof.trace(model, (1, 48, 64, 64)).nodes
    assert copied_for_tensor_cores(node) == 0


def test_a_measured_convolution_is_its_own_model():
    """What the table has for just these widths; beyond them unaligned widths are filled up."""
    assert copies_made("float32", 3, 26, 26, 510 * 510) == "cc"
    assert copies_made("float32", 3, 30, 30, 510 * 510) == "ff"
    assert copies_made("float32", 3, 64, 128, 510 * 510) == "c-"
    assert copies_made("bfloat16", 3, 48, 50, 510 * 510) == "cf"
    assert copies_made("float32", 3, 3, 64, 256 * 256) == "--"


@pytest.mark.parametrize("side, taken", [((339, 510), 11_108_352), ((256, 256), 0), ((120, 90), 0)])
def test_transforms_of_large_prime_factors_take_their_values_again(side, taken):
    class Spectrum(torch.nn.Module):
        def forward(self, x):
            return torch.fft.rfft2(x).abs()

    table = load_workspaces("tensor-cores")
    nodes = srprof.trace(Spectrum(), (1, 16, *side)).nodes
    assert [table.scratch(node) for node in nodes if "fft" in node.op] == [taken]


def test_a_bias_in_the_product_makes_cublaslt_keep_its_own():
    model = torch.nn.Sequential(torch.nn.Linear(64, 64, bias=False), torch.nn.Linear(64, 64))
    profile = load_profile("h200")
    analysis = srprof.analyze(model, (32, 64), profile=profile)
    assert analysis.simulation.libraries == {"cublas": 32 * MIB, "cublaslt": MIB}
    assert srprof.analyze(model, (32, 64)).simulation.libraries["cublas"] == 8.125 * MIB
    allocator = analysis.record.memory.allocator
    parts = allocator.requested + allocator.rounding + allocator.unsplit
    assert parts + sum(allocator.libraries.values()) == analysis.simulation.peak_allocated


def test_the_challenge_of_2022_ran_before_cublas_took_torchs_memory():
    model = torch.nn.Linear(64, 64)
    assert not srprof.analyze(model, (32, 64), profile="ntire2022").simulation.libraries
    assert srprof.analyze(model, (32, 64), profile="gtx1080ti").simulation.libraries


def test_fmen_s_has_its_published_peak_to_the_digit():
    analysis = srprof.analyze("fmen_s", "510x510", profile="ntire2022")
    assert round(analysis.simulation.peak_allocated / MIB, 2) == 204.60  # Table 4


def test_a_profile_implies_its_tensor_cores_unless_the_workspace_says_otherwise():
    def scratch(**options):
        return srprof.analyze("fmen_s", "64x64", **options).simulation.libraries

    assert set(scratch(profile="h200")) == {"cudnn"}
    assert not scratch() and not scratch(profile="h200", workspace="none")
    # a Pascal's are Winograd's filters: 4 x 8 values for each of 50 x 50
    assert scratch(profile="gtx1080ti") == {"cudnn": 4 * 8 * 4 * 50 * 50}
    # Turing's tensor cores know no TF32
    assert not scratch(profile="rtx2080ti") and scratch(profile="rtx2080ti", dtype="float16")


def test_json_round_trip(tmp_path: Path):
    table = WorkspaceTable("gpu, torch 2", "cuda", {"b": 2, "a": 1})
    assert WorkspaceTable.from_json(table.to_json()) == table
    assert list(json.loads(table.to_json())["entries"]) == ["a", "b"]
    (tmp_path / "t.json").write_text(table.to_json())
    assert load_workspaces(str(tmp_path / "t.json")) == table


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is not whole JSON"),
        ("{}", "is no workspace; `srprof validate --save DIR` writes one"),
        ("[]", "is no workspace"),
        ('{"kind": "srprof workspace"}', "is damaged: schema is None, not 1"),
        ('{"entries": 3, "schema": 1}', "is no workspace"),
        (
            '{"kind": "srprof workspace", "schema": 1, "device": "cuda", "source": "", '
            '"entries": {"a": 1.5}}',
            "is damaged: entries.a is 1.5, not a whole number",
        ),
    ],
)
def test_damaged_table(text: str, message: str):
    with pytest.raises(InputError, match=message):
        WorkspaceTable.from_json(text)


def test_newer_table():
    text = WorkspaceTable("gpu", "cuda", {}).to_json().replace('"schema": 1', '"schema": 2')
    with pytest.raises(InputError, match="has schema 2, and this srprof reads up to 1: upd"):
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
    without, with_ = (simulate([trace, trace], kept_workspaces={"cublas": n}) for n in (0, 8 * MIB))
    first = [node.op in ("addmm", "linear", "mm") for node in trace.nodes].index(True)
    for image in range(2):
        pairs = zip(without.images[image].allocated, with_.images[image].allocated, strict=True)
        rises = [more - less for less, more in pairs]
        assert rises == [8 * MIB if image or i >= first else 0 for i in range(len(rises))]
    assert srprof.analyze(trace).simulation.peak_allocated >= without.peak_allocated + 8 * MIB
