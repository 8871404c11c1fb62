"""Advice carried out in the source gives the peak that was predicted, to the byte."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings

import srprof
from srprof import registry
from srprof.call import Call
from srprof.cli import main
from srprof.tracing.recorder import tensors_in
from tests.random_fusions import fused_networks
from tests.random_networks import RandomNetwork, random_networks

MODELS = Path(__file__).parents[2] / "models"

NET = """\
import torch
import torch.nn.functional as F
from torch import nn


class Mix(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.wide = nn.Conv2d(n, 4 * n, 3, padding=1)
        self.narrow = nn.Conv2d(4 * n, n, 3, padding=1)
        self.side = nn.Conv2d(n, 3 * n, 3, padding=1)
        self.last = nn.Conv2d(3 * n, n, 3, padding=1)
        self.act = nn.ReLU()

    def forward(self, x):
        wide = self.wide(x)
        side = self.side(x)
        narrow = self.narrow(wide)
        side = self.act(side)
        return self.last(side) * narrow


class Net(nn.Module):
    def __init__(self, n=8):
        super().__init__()
        self.head = nn.Conv2d(3, n, 3, padding=1)
        self.a = Mix(n)
        self.b = Mix(n)
        self.tail = nn.Conv2d(n, 3, 3, padding=1)

    def forward(self, x):
        x = self.head(x)
        a = self.a(x)
        b = self.b(a)
        return self.tail(b + x)
"""

FUSION = """\
import torch
import torch.nn.functional as F
from torch import nn


class Fusion(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.one = nn.Conv2d(n, n, 3, padding=1)
        self.two = nn.Conv2d(n, n, 3, padding=1)
        self.three = nn.Conv2d(n, n, 3, padding=1)
        self.fuse = nn.Conv2d(3 * n, n, 1)

    def forward(self, x):
        a = self.one(x)
        b = self.two(a)
        c = self.three(b)
        y = self.fuse(torch.cat([a, b, c], dim=1))
        return torch.relu(y)


class Net(nn.Module):
    def __init__(self, n=8):
        super().__init__()
        self.head = nn.Conv2d(3, n, 3, padding=1)
        self.body = nn.Sequential(Fusion(n), Fusion(n))

    def forward(self, x):
        return self.body(self.head(x))
"""


@pytest.fixture(autouse=True)
def _no_bytecode(monkeypatch):
    """A file that is edited at once, and keeps its size, is not run from its cache."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def peak(spec: str, shape: tuple[int, ...]) -> int:
    return srprof.analyze(spec, shape, granularity=1).memory.eager.nbytes


def outputs(spec: str, shape: tuple[int, ...]) -> torch.Tensor:
    """What the network makes of an image, with weights that depend on their names only."""
    from srprof.workload import resolve

    workload = resolve(Call(spec, (shape,)))
    with workload.environment(), torch.no_grad():
        model = workload.build("cpu").eval()
        generator = torch.Generator().manual_seed(0)
        for _, tensor in sorted(model.named_parameters()):
            tensor.copy_((torch.rand(tensor.shape, generator=generator) - 0.4) / 4)
        found = model(torch.rand(shape, generator=generator))
    assert found.isfinite().all() and found.std() > 0
    return found


def assert_equivalent(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Rounding only: 1e-5 of the largest value, as for `srprof lean`."""
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def assert_keeps_its_promise(advice: srprof.Advice, spec: str, shape: tuple[int, ...]) -> None:
    """Carried out, it gives the peak that it predicts, and the same outputs."""
    before = outputs(spec, shape)
    advice.apply()
    assert peak(spec, shape) == advice.peak_after < advice.peak
    assert_equivalent(outputs(spec, shape), before)


def zoo_copy(name: str, folder: Path) -> str:
    """The SPEC of a zoo network in a copy of the zoo."""
    shutil.copytree(MODELS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "__init__.py").write_text("")
    module, _, factory = registry.find(name).factory.rpartition(".")[2].partition(":")
    return f"{folder}/{module}.py:{factory}"


def test_a_small_network_edited_as_advised_has_the_predicted_peak(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    spec, shape = f"{tmp_path}/net.py:Net", (1, 3, 40, 40)
    advice = srprof.advise(spec, shape, level="exact", granularity=1)
    assert advice.peak == peak(spec, shape)
    assert {s.candidate.kind for s in advice.steps} == {"del", "in-place", "order"}
    before = outputs(spec, shape)

    for count, step in enumerate(advice.steps, 1):  # each line's peak, not only the last one's
        (tmp_path / "net.py").write_text(NET)
        replace(advice, steps=advice.steps[:count]).apply()
        assert peak(spec, shape) == step.peak_after, step.candidate.rewrite
    assert torch.equal(outputs(spec, shape), before)


def test_a_split_fusion_has_the_predicted_peak(tmp_path):
    (tmp_path / "net.py").write_text(FUSION)
    spec, shape = f"{tmp_path}/net.py:Net", (1, 3, 40, 40)
    advice = srprof.advise(spec, shape, granularity=1)
    assert [s.candidate.kind for s in advice.steps] == ["split"]
    split = advice.steps[0].candidate
    lines = FUSION.splitlines()
    assert "torch.cat" in lines[split.line - 1] and "self.fuse" in lines[split.other_line - 1]
    assert not split.exact
    assert_keeps_its_promise(advice, spec, shape)


def test_a_sum_with_a_name_of_its_own_is_let_go(tmp_path):
    """The fusion's result has no name in the source; what follows is larger than the fusion."""
    source = FUSION
    for old, new in (
        ("torch.cat([a, b, c], dim=1))", "torch.cat([a, b, c], dim=1)) + self.bias"),
        ("        self.fuse", "        self.bias = nn.Parameter(torch.ones(1))\n        self.fuse"),
        ("return torch.relu(y)", "return torch.relu(y).repeat(1, 4, 1, 1).mean(1, True) + y"),
    ):
        source = source.replace(old, new, 1)
    (tmp_path / "net.py").write_text(source)
    spec, shape = f"{tmp_path}/net.py:Net", (1, 3, 40, 40)
    advice = srprof.advise(spec, shape, granularity=1)
    assert [s.candidate.kind for s in advice.steps] == ["split"]
    assert_keeps_its_promise(advice, spec, shape)
    assert "del fuse_sum" in (tmp_path / "net.py").read_text()


@pytest.mark.parametrize("name", ["e_rfdn", "imdn", "latticenet", "rlfn", "carn", "memnet"])
def test_zoo_networks_edited_as_advised_have_the_predicted_peak(name, tmp_path):
    spec, shape = zoo_copy(name, tmp_path / "zoo_copy"), (1, registry.find(name).channels, 64, 64)
    advice = srprof.advise(spec, shape, level="exact", granularity=1)
    assert advice.steps and advice.peak == peak(name, shape)
    advice.apply()
    assert peak(spec, shape) == advice.peak_after < advice.peak
    if name == "latticenet":  # it has edits of every kind
        assert torch.equal(outputs(spec, shape), outputs(name, shape))


@pytest.mark.parametrize("name", ["e_rfdn", "imdn"])
def test_zoo_networks_with_split_fusions_have_the_predicted_peak(name, tmp_path):
    spec, shape = zoo_copy(name, tmp_path / "zoo_copy"), (1, 3, 64, 64)
    advice = srprof.advise(spec, shape, granularity=1)
    assert "split" in {step.candidate.kind for step in advice.steps}
    assert_keeps_its_promise(advice, spec, shape)


def test_e_rfdn_s_advice_halves_its_peak(capsys):
    assert main(["advise", "e_rfdn", "--input", "510x510", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1 and found["memory"] == "eager"
    assert round(found["peak"] / 2**20, 2) == 788.13
    assert round(found["peak_after"] / 2**20, 2) == 327.14
    peaks = [found["peak"], *(step["peak_after"] for step in found["advice"])]
    savings = [step["saving"] for step in found["advice"]]
    assert [a - b for a, b in pairwise(peaks)] == savings
    assert "split" in {step["kind"] for step in found["advice"]}
    assert all(Path(step["file"]).is_file() and step["line"] > 0 for step in found["advice"])


def test_a_budget_takes_the_fewest_edits_and_says_when_none_reach_it(tmp_path, capsys):
    (tmp_path / "net.py").write_text(NET)
    spec = f"{tmp_path}/net.py:Net"
    everything = srprof.advise(spec, (1, 3, 40, 40))
    middle = everything.steps[0].peak_after
    some = srprof.advise(spec, (1, 3, 40, 40), budget=middle)
    assert len(some.steps) == 1 and some.within_budget
    assert not srprof.advise(spec, (1, 3, 40, 40), budget=everything.peak).steps
    assert main(["advise", spec, "--input", "40x40", "--budget", "1KiB"]) == 1
    assert "the budget of 0.00 MiB is not reached" in capsys.readouterr().out


@pytest.mark.parametrize("memory", ["planned", "allocated"])
def test_other_peaks_are_lowered_too(memory, tmp_path):
    (tmp_path / "net.py").write_text(NET)
    advice = srprof.advise(f"{tmp_path}/net.py:Net", (1, 3, 40, 40), memory=memory)
    kinds = {s.candidate.kind for s in advice.steps}
    assert advice.peak_after < advice.peak
    assert ("del" in kinds) == (memory == "allocated")  # planned holds nothing dead


def test_text_and_markdown_name_each_line(tmp_path, capsys):
    (tmp_path / "net.py").write_text(NET)
    spec = f"{tmp_path}/net.py:Net"
    for form in ("text", "markdown"):
        assert main(["advise", spec, "--input", "40x40", "--format", form]) == 0
        shown = capsys.readouterr().out
        assert "del wide after this line" in shown
        assert f"net.py:{NET[: NET.index('self.narrow(wide)')].count(chr(10)) + 1}" in shown


def test_a_model_without_source_gets_no_advice_and_no_error():
    model = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()))
    advice = srprof.advise(model, (1, 3, 32, 32))
    assert advice.steps == () and advice.peak_after == advice.peak


def test_a_network_that_cannot_be_exported_is_advised(tmp_path):
    """A loop on a tensor's value: traced on the CPU."""
    (tmp_path / "net.py").write_text(
        NET.replace(
            "        a = self.a(x)", "        a = self.a(x) if x.sum() > 1e9 else self.a(x)"
        )
    )
    advice = srprof.advise(f"{tmp_path}/net.py:Net", (1, 3, 40, 40))
    assert advice.trace.device == "cpu" and advice.steps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", "400"], "the unit is missing"),
        (["--budget", "lots"], "--budget"),
        (["--budget", "0MiB"], "positive"),
        (["--memory", "reserved"], "--memory"),
        (["--granularity", "0"], "granularity 0"),
        (["--level", "most"], "--level"),
        (["-o", "/no/such/folder/x"], "no folder"),
    ],
)
def test_bad_input_is_one_line(options, message, capsys):
    assert main(["advise", "fmen_s", "--input", "64x64", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and message in captured.err


@pytest.mark.parametrize("name", ["e_rfdn", "latticenet", "carn"])
def test_the_record_after_all_edits_is_one_that_a_run_could_have_made(name, monkeypatch):
    from srprof.advising import run
    from srprof.advising.replay import settled
    from srprof.advising.search import Search
    from srprof.memory.model import memory_model

    searches = []

    def kept(base, levels):
        searches.append(Search(base, levels))
        return searches[-1]

    monkeypatch.setattr(run, "Search", kept)
    steps = srprof.advise(name, (1, 3, 48, 48), granularity=1).steps
    after = settled(searches[0].replay([step.candidate for step in steps]))

    assert [node.index for node in after.nodes] == list(range(len(after.nodes)))
    for index, storage in enumerate(after.storages):
        if storage.resident or storage.host or not storage.nbytes:
            continue
        assert all(storage.birth <= use < storage.death for use in storage.uses)
        readers = [n.index for n in after.nodes if any(i.storage == index for i in n.inputs)]
        assert set(readers) <= {storage.birth, *storage.uses}
        assert storage.birth < 0 or index in after.nodes[storage.birth].created
    model = memory_model(after, granularity=1)
    assert [p.eager - model.net for p in model.parts] == [node.live for node in after.nodes]


@settings(max_examples=25)
@given(random_networks())
def test_any_network_edited_as_advised_keeps_its_outputs_and_its_promise(network):
    """The peak is never above the prediction; below it where a list's items had other names too."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "net.py").write_text(network.source)
        spec = f"{folder}/net.py:Net"
        advice = srprof.advise(spec, network.shape, level="exact", granularity=1)
        peaks = [advice.peak, *(step.peak_after for step in advice.steps)]
        assert advice.peak == peak(spec, network.shape) and peaks == sorted(peaks, reverse=True)
        before = results(spec, network)
        advice.apply()
        assert peak(spec, network.shape) <= advice.peak_after
        same = zip(before, results(spec, network), strict=True)
        assert all(torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)) for a, b in same)


def results(spec: str, network: RandomNetwork) -> list[torch.Tensor]:
    from srprof.workload import resolve

    workload = resolve(Call(spec, (network.shape,)))
    with workload.environment(), torch.no_grad():
        torch.manual_seed(0)
        model = workload.build("cpu").eval()
        found = model(torch.rand(network.shape))
    return [tensor.clone() for tensor in tensors_in(found)]


@settings(max_examples=25)
@given(fused_networks())
def test_any_fusion_split_as_advised_keeps_its_outputs_and_its_promise(source):
    shape = (1, 4, 8, 8)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "net.py").write_text(source)
        spec = f"{folder}/net.py:Net"
        advice = srprof.advise(spec, shape, granularity=1)
        before = outputs(spec, shape)
        advice.apply()
        assert peak(spec, shape) == advice.peak_after
        assert_equivalent(outputs(spec, shape), before)
        assert source.count("#") == (Path(folder) / "net.py").read_text().count("#")
