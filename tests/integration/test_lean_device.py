"""`lean --profile`: what pays on a device, predicted, and the same outputs."""

import copy
import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import srprof
from srprof.call import Call
from srprof.cli import main
from srprof.cost.profiles import load_profile
from srprof.errors import InputError
from srprof.leaning import capture
from srprof.leaning.module import Lean
from srprof.leaning.run import savings
from srprof.placing import copy_model
from srprof.tracing.run import run_trace
from srprof.workload import resolve
from tests.cpu_truth import live_bytes
from tests.fake_stopwatch import TRUTH
from tests.refusals import one_line

SHAPE = (1, 3, 64, 64)

NETWORK = """\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 50, 3, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(50, 50, 3, padding=1) for _ in range(2))
        self.tail = nn.Conv2d(50, 12, 3, padding=1)

    def forward(self, x):
        y = x = self.head(x)
        for layer in self.body:
            y = F.leaky_relu(layer(y), 0.1)
        return F.pixel_shuffle(self.tail(y + x), 2)
"""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 50, 3, padding=1)
        self.body = nn.Conv2d(50, 50, 3, padding=1)
        self.tail = nn.Conv2d(50, 12, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.head(x)
        return F.pixel_shuffle(self.tail(F.leaky_relu(self.body(x), 0.1) + x), 2)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETWORK)
    return tmp_path


@pytest.fixture(scope="module")
def made() -> tuple[nn.Module, Lean]:
    torch.manual_seed(0)
    network = Net().eval()
    lean = srprof.lean(network, (1, 3, 256, 256), profile="h200")
    assert isinstance(lean, Lean)
    assert lean.form is not None
    assert lean.form.widths[50] == 64
    return network, lean


def error(one: torch.Tensor, other: torch.Tensor) -> float:
    assert (one.shape, one.dtype, one.stride()) == (other.shape, other.dtype, other.stride())
    return float((one - other).abs().max() / one.abs().max())


def test_text(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main("lean net.py:Net --input 256x256 --profile h200 --dtype float16".split()) == 0
    text = capsys.readouterr().out
    assert "level equivalent" in text
    assert "of the time, as predicted" in text
    assert "Channels filled up: " in text
    assert "50 as " in text
    assert "They end before aten.pixel_shuffle.default at net.py:17" in text
    for name in ("constants", "layout", "widths", "biases", "steps"):
        assert f"\n{name} " in text


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]):
    command = "lean net.py:Net --input 256x256 --profile h200 --objective time --format json"
    assert main(command.split()) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["profile"], found["objective"], found["backend"]) == ("h200", "time", "eager")
    assert found["widths"]["50"] == 64
    assert found["after"]["latency_ms"] < found["before"]["latency_ms"]
    assert all(row["latency_ms"] > 0 for row in found["passes"])
    assert found["passes"][-1]["latency_ms"] == found["after"]["latency_ms"]
    assert 0 < found["max_relative_error"] < 1e-5


def test_what_a_profile_without_measurements_says_is_a_guess(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    assert main("lean net.py:Net --input 64x64 --profile rtx4090".split()) == 0
    assert "rtx4090 has no measured widths" in capsys.readouterr().out


@pytest.mark.parametrize("profile", [TRUTH, "tesla_p100"])
def test_where_a_step_is_no_kernel_there_are_none(profile: Any):
    """As on a CPU, where each of its calls runs by itself."""
    network = Net().eval()
    lean = srprof.lean(network, SHAPE, profile=profile)
    assert "constants" in lean.passes
    assert "steps" not in lean.passes
    x = torch.rand(SHAPE)
    with torch.no_grad():
        assert error(lean(x), network(x)) < 1e-5


def test_for_a_device_it_is_exported_once(monkeypatch: pytest.MonkeyPatch):
    exports: list[bool] = []
    export = capture._export
    monkeypatch.setattr(capture, "_export", lambda *how: exports.append(True) or export(*how))
    assert isinstance(srprof.lean(Net().eval(), SHAPE, profile="h200"), Lean)
    assert exports == [True]


def test_what_a_cuda_graph_takes_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("srprof.leaning.run.check_backend", lambda _: None)
    workload = resolve(Call(Net().eval(), (SHAPE,)))
    found = savings(workload, "equivalent", profile=load_profile("h200"), backend="cudagraph")
    assert found.after.latency is not None
    assert found.after.latency.graph is not None
    text = str(found)
    assert f"As a CUDA graph, predicted: {found.after.latency.graph * 1e3:.2f} ms" in text
    assert "its pool keeps" in text


def test_at_level_exact_every_bit_stays(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main("lean net.py:Net --input 64x64 --profile h200 --level exact".split()) == 0
    text = capsys.readouterr().out
    assert "every output is the same to the bit" in text
    assert "\nwidths " not in text


def test_outputs_are_the_networks(made: tuple[nn.Module, Lean]):
    network, lean = made
    assert list(network.state_dict()) == list(lean.state_dict())
    with torch.no_grad():
        for shape in (SHAPE, (2, 3, 40, 33)):
            x = torch.rand(shape)
            assert error(network(x), lean(x)) < 1e-5
            for twin in (copy.deepcopy(lean), pickle.loads(pickle.dumps(lean))):
                assert error(network(x), twin(x)) < 1e-5
                assert twin.form == lean.form
        half, x = copy.deepcopy(lean).half(), torch.rand(SHAPE).half()
        assert error(copy.deepcopy(network).half()(x).float(), half(x).float()) < 8e-3


def test_what_it_keeps_is_counted_to_the_byte(made: tuple[nn.Module, Lean]):
    """On the CPU, at every op boundary: filled weights are there beside the network's own."""
    _, lean = made
    x = torch.rand(SHAPE)
    with torch.no_grad():
        lean(x)
    (kept,) = lean.plans[0].keep(lean, [x])
    plain = copy.deepcopy(lean)
    plain.keep([x])

    def build(device: str) -> nn.Module:
        twin = copy_model(lean, device)
        assert isinstance(twin, Lean)
        twin.keep([torch.empty(SHAPE, device=device)])
        return twin

    trace = run_trace(replace(resolve(Call(lean, (SHAPE,))), build=build), "cpu")
    ops, live = live_bytes(plain, x, twin=copy.deepcopy(lean))
    assert [node.op for node in trace.nodes] == ops
    assert [node.live - x.nbytes for node in trace.nodes] == live
    held = sum(t.untyped_storage().nbytes() for t in kept)
    assert held > 4 * 64 * 50 * 9


def test_dynamo_follows_it_without_a_break(made: tuple[nn.Module, Lean]):
    network, lean = made
    x = torch.rand(SHAPE)
    with torch.no_grad():
        compiled = torch.compile(lean, backend="eager", fullgraph=True)
        assert error(network(x), compiled(x)) < 1e-5


def test_inductor_compiles_it_as_one_graph(folder: Path):
    """In a process of its own: Inductor imports setuptools, which wants to be first."""
    script = """
import torch, srprof, net
torch.manual_seed(0)
network = net.Net().eval()
lean = srprof.lean(network, (1, 3, 256, 256), profile="h200", backend="inductor")
x = torch.rand(1, 3, 64, 64)
with torch.no_grad():
    before, after = network(x), lean(x)
assert torch.compiler.is_compiling() is False and lean.backend == "inductor"
assert (before - after).abs().max() < 1e-5 * before.abs().max()
assert len(torch._dynamo.utils.counters["graph_break"]) == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=folder)


def test_emitted_files(folder: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("lean.py", "lean.pt2"):
        command = f"lean net.py:Net --input 256x256 --profile h200 --emit {name}"
        assert main(command.split()) == 0
    assert "widths, biases, steps" in (folder / "lean.py").read_text()
    script = """
import sys, torch
import net, lean
torch.manual_seed(0)
network = net.Net().eval()
other = lean.LeanNet()
other.load_state_dict(network.state_dict())
program = torch.export.load("lean.pt2").module()
for shape in ((1, 3, 64, 64), (2, 3, 40, 33)):
    x = torch.rand(shape)
    with torch.no_grad():
        assert (network(x) - other(x)).abs().max() < 1e-5
        assert (network(x) - program(x)).abs().max() < 1e-5
network.head.weight.data.mul_(2)
other.load_state_dict(network.state_dict())
with torch.no_grad():
    assert (network(x) - other(x)).abs().max() < 1e-5
assert "srprof" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=folder)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_fmen_s_in_three_fifths_of_the_time(dtype: str):
    workload = resolve(Call("fmen_s", ((1, 3, 510, 510),), dtype=dtype))
    found = savings(workload, "equivalent", profile=load_profile("h200"))
    first, last = found.stages[0], found.stages[-1]
    assert first.seconds
    assert last.seconds
    assert last.seconds <= 0.6 * first.seconds
    assert last.peaks["allocated"] <= 0.75 * first.peaks["allocated"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--backend cudagraph", "backend cudagraph needs a GPU, and there is none"),
        ("--profile h20", "h200"),
    ],
)
def test_bad_input(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: str,
    said: str,
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["lean", "net.py:Net", "--input", "64x64", *options.split()]) == 2
    assert said in one_line(capsys.readouterr().err)


def test_bad_arguments():
    x: Any = torch.rand(SHAPE)
    with pytest.raises(InputError, match="objective 'tme' is none of memory, time, both"):
        srprof.lean(Net(), x, profile="h200", objective="tme")  # type: ignore[arg-type]  # the point
    with pytest.raises(InputError, match="backend 'indctor' is none of"):
        srprof.lean(Net(), x, backend="indctor")  # type: ignore[arg-type]  # the point
