"""The predicted memory of a training step against the CPU's allocator, and what it reports."""

from __future__ import annotations

import gc
import json
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from torch import nn

import srprof
from srprof.call import Call
from srprof.cli import main
from srprof.errors import ModelError
from srprof.memory.model import memory_model
from srprof.memory.training import KINDS
from srprof.models import e_rfdn, edsr_baseline, fmen_s, imdn
from srprof.training.analysis import training_spec
from srprof.workload import resolve
from tests.cpu_truth import live_bytes_of_step
from tests.random_networks import RandomNetwork, random_networks
from tests.shown import check_shown

SHAPE = (2, 3, 48, 48)
SMALL = (1, 3, 24, 24)
NETWORKS = {
    "fmen_s": lambda: fmen_s(form="train"),
    "e_rfdn": e_rfdn,
    "imdn": imdn,
}


@cache
def on_cpu(name: str, shape: tuple[int, ...] = SHAPE) -> srprof.TrainingAnalysis:
    """The step of a network of the zoo, traced on the CPU."""
    return srprof.analyze_training(name, shape, trace_on="cpu", granularity=1)


def truth(model: nn.Module, ops: list[str], shape: tuple[int, ...] = SHAPE) -> list[int]:
    """All that lives at the end of each of these calls of a step: weights and images too."""
    image = torch.rand(shape)
    with torch.no_grad():
        target = torch.zeros_like(model(image))
    there = [image, target, *model.parameters(), *model.buffers()]
    resident = sum(t.nbytes for t in there)
    return [resident + nbytes for nbytes in live_bytes_of_step(model, image, [target], ops)]


def boundaries(found: srprof.TrainingAnalysis) -> tuple[list[str], list[int]]:
    """Calls of a step and the bytes predicted at the end of each.

    `detach` makes no memory, and autograd calls it only where a dispatch mode is watching.
    """
    nodes = [node for node in found.trace.nodes if node.op != "detach"]
    return [n.op for n in nodes], [sum(found.memory.kinds[n.index]) for n in nodes]


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_to_the_cpu_allocator_at_every_op_boundary(name):
    found = on_cpu(name)
    ops, predicted = boundaries(found)
    measured = truth(NETWORKS[name](), ops)
    assert predicted == measured
    assert found.peak == max(measured)


@pytest.mark.parametrize("name", ["rfdn", "repafdn"])
def test_other_networks_of_the_zoo(name):
    ops, predicted = boundaries(on_cpu(name, SMALL))
    model = resolve(Call(training_spec(name), (SMALL,))).build("cpu")
    assert predicted == truth(model, ops, SMALL)


def test_numbers_that_autograd_keeps_are_not_counted():
    """EDSR multiplies by a number 16 times; on the CPU each has 8 bytes until backward."""
    found = on_cpu("edsr_baseline", SMALL)
    ops, predicted = boundaries(found)
    measured = truth(edsr_baseline(), ops, SMALL)
    assert max(measured) - found.peak == 16 * 8
    assert {b - a for a, b in zip(predicted, measured, strict=True)} <= {8 * n for n in range(17)}


class Fork(nn.Module):
    """The gradient of `h` is a sum; of the second network, one that shares its storage."""

    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 1) for _ in range(3))
        self.shared = shared

    def forward(self, x):
        h = self.a(x)
        left = self.c(h)  # autograd's last: what came later is first in backward
        return left + (h.view(h.shape) if self.shared else self.b(h))


@pytest.mark.parametrize(("shared", "in_place"), [(False, 1), (True, 0)])
def test_a_sum_of_gradients_is_in_place_where_the_engine_has_the_only_reference(shared, in_place):
    trace = srprof.analyze_training(Fork(shared), (1, 3, 8, 8)).trace
    backward = [node.op for node in trace.nodes[trace.step.backward : trace.step.update]]
    assert (backward.count("add_"), backward.count("add")) == (in_place, 1 - in_place)
    found = srprof.analyze_training(Fork(shared), (1, 3, 8, 8), trace_on="cpu", granularity=1)
    ops, predicted = boundaries(found)
    image, target = torch.rand(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    model = Fork(shared)
    resident = sum(t.nbytes for t in (image, target, *model.parameters()))
    live = live_bytes_of_step(model, image, [target], ops)
    assert predicted == [resident + nbytes for nbytes in live]


@settings(max_examples=30)
@given(random_networks())
def test_random_networks(network: RandomNetwork):
    """To the byte, but for numbers of 8 bytes that autograd keeps."""
    try:
        found = srprof.analyze_training(
            network.build(), network.shape, trace_on="cpu", granularity=1
        )
    except ModelError as error:  # nothing to train, or in place what backward needs
        assert any(
            word in str(error) for word in ("nothing to train", "depend", "inplace", "in-place")
        )
        return
    ops, predicted = boundaries(found)
    model, image = network.build(), torch.rand(network.shape)
    targets = [torch.zeros(e.info.shape) for e in found.trace.inputs if "target" in e.name]
    resident = sum(t.nbytes for t in (image, *targets, *model.parameters(), *model.buffers()))
    live = live_bytes_of_step(model, image, targets, ops)
    gc.collect()
    numbers = {b + resident - a for a, b in zip(predicted, live, strict=True)}
    assert numbers <= {8 * count for count in range(30)}


@pytest.mark.parametrize("name", NETWORKS)
def test_meta_differs_by_adam_s_counters_alone(name):
    """One number of four bytes a parameter, which Adam keeps in main memory."""
    cpu = on_cpu(name)
    meta = srprof.analyze_training(name, SHAPE, granularity=1)
    assert meta.trace.device == "meta"
    assert [n.op for n in meta.trace.nodes] == [n.op for n in cpu.trace.nodes]
    counters = 4 * len(list(NETWORKS[name]().parameters()))
    assert cpu.peak - meta.peak == counters
    assert meta.memory.peak.node == cpu.memory.peak.node
    assert {k: cpu.at_peak[k] - meta.at_peak[k] for k in KINDS if k != "state"} == dict.fromkeys(
        [k for k in KINDS if k != "state"], 0
    )


def test_kinds_sum_to_the_memory_model_s_eager_bytes():
    found = srprof.analyze_training("imdn", SHAPE)
    eager = [parts.eager for parts in memory_model(found.trace).parts]
    assert [sum(kinds) for kinds in found.memory.kinds] == eager


def test_what_the_kinds_are():
    found = srprof.analyze_training("imdn", SHAPE, granularity=1)
    model = imdn()
    weights = sum(p.nbytes for p in model.parameters())
    assert found.at_peak["net"] == weights
    assert found.at_peak["state"] == 2 * weights  # exp_avg and exp_avg_sq
    assert found.at_peak["images"] == 4 * (2 * 3 * 48 * 48) * (1 + 4 * 4)
    end = dict(zip(KINDS, found.memory.kinds[-1], strict=True))
    assert end["gradients"] == weights


def test_backward_names_the_line_that_it_differentiates():
    nodes = srprof.analyze_training("e_rfdn", SHAPE).to_dict()["nodes"]
    backward = [n for n in nodes if n["op"] == "convolution_backward"]
    forward = [n for n in nodes if n["op"] == "convolution"]
    places = [(n["module"], n["file"], n["line"]) for n in forward]
    assert sorted((n["module"], n["file"], n["line"]) for n in backward) == sorted(places)
    assert all(line for _, _, line in places)


def test_the_caller_s_model_is_left_alone():
    model = e_rfdn().eval()
    model.upsampler[0].bias.requires_grad_(False)
    before = {name: p.clone() for name, p in model.named_parameters()}
    found = srprof.analyze_training(model, SHAPE, trace_on="cpu", granularity=1)
    assert not model.training
    assert all(p.grad is None and p.equal(before[n]) for n, p in model.named_parameters())
    whole = sum(p.nbytes for p in model.parameters())
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    assert whole - trained == 48 * 4
    assert dict(zip(KINDS, found.memory.kinds[-1], strict=True))["gradients"] == trained


def test_text(capsys):
    assert main(["analyze", "fmen_s", "--train", "--batch", "4", "--input", "16x24"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("One training step of fmen_s(form='train') at 4x3x16x24 float32: ")
    for word in ("backward", "Adam's update", "saved", "models/blocks.py:", "foreach=False"):
        assert word in out


def test_it_shows_itself_in_every_format():
    analysis = srprof.analyze_training("fmen_s", (1, 3, 16, 24))
    check_shown(analysis, f"{analysis.peak / 2**20:.2f}", "backward", "temporary")
    assert len(analysis.document().table.rows) == len(analysis.trace.nodes)
    for row, kinds in zip(analysis.document().table.rows, analysis.memory.kinds, strict=True):
        assert row[-len(KINDS) :] == tuple(kinds)


def test_json_holds_together(capsys):
    command = "analyze imdn --train --batch 4 --input 16x24 --format json --granularity 1"
    assert main(command.split()) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1
    assert [i["shape"] for i in found["inputs"]] == [[4, 3, 16, 24], [4, 3, 64, 96]]
    peak = found["peak"]
    assert sum(peak["parts"].values()) == peak["bytes"]
    assert peak["bytes"] == max(sum(n[k] for k in KINDS) for n in found["nodes"])
    assert peak["bytes"] == max(p["bytes"] for p in found["phases"].values())
    assert found["nodes"][peak["node"]]["phase"] == peak["phase"]
    assert sum(s["bytes"] for s in found["saved"]) == peak["parts"]["saved"]


def test_a_network_with_several_results(tmp_path, capsys):
    net = tmp_path / "net.py"
    net.write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(3, 3, 3, padding=1)\n"
        "    def forward(self, x):\n"
        "        y = self.conv(x)\n"
        "        return y, self.conv(y)\n"
    )
    assert main(["analyze", f"{net}:Net", "--train", "--input", "8x8", "--format", "json"]) == 0
    names = [i["name"] for i in json.loads(capsys.readouterr().out)["inputs"]]
    assert names == ["input", "target", "target_1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("fmen_s --train --protocol ntire", "--protocol is of a forward pass"),
        ("fmen_s --train --profile h100", "--profile is of a forward pass"),
        ("fmen_s --train --view nodes", "--view is of a forward pass"),
        ("fmen_s --train --format perfetto", "--format perfetto is of a forward pass"),
        ("fmen_s --train --batch 0", "--batch: '0': give a whole number of at least 1"),
        ("fmen_s --batch 2 --input 1x3x8x8", "has a batch of its own"),
        ("fmen_s --train --granularity 0", "--granularity: '0': give a whole number of at least 1"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, message, capsys):
    assert main(["analyze", *arguments.split()]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and not captured.out


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return x", "does not depend on a parameter"),
        ("return self.conv(x).detach()", "does not depend on a parameter"),
        ("raise ValueError('no')", "ValueError at"),
    ],
)
def test_a_model_that_cannot_be_trained(body, message, tmp_path, capsys):
    net = tmp_path / "net.py"
    net.write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(3, 3, 1)\n"
        "    def forward(self, x):\n"
        f"        {body}\n"
    )
    assert main(["analyze", f"{net}:Net", "--train", "--input", "8x8"]) == 3
    assert message in capsys.readouterr().err


def test_an_inference_form_that_works_in_place(capsys):
    spec = "fmen_s(form='inference')"
    assert main(["analyze", spec, "--train", "--batch", "2", "--input", "16x16"]) == 3
    error = capsys.readouterr().err
    assert f"{spec} cannot be trained as it is" in error and "form='train'" in error
    assert error.count("\n") == 1


def test_bicubic_has_nothing_to_train(capsys):
    assert main(["analyze", "bicubic", "--train", "--input", "8x8"]) == 3
    assert "nothing to train" in capsys.readouterr().err
