"""Small and odd models, other dtypes and formats, and models that depend on data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import srprof
from srprof.cli import main
from srprof.render.views import VIEWS
from tests.shown import FORMATS
from tests.workloads import (
    BODY,
    IMAGE,
    IMAGE_BYTES,
    Command,
    Net,
    ops,
    write,
)

# -- small and odd models -----------------------------------------------------------------------


class GivesItsInput(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class NoParameters(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(x, scale_factor=2, mode="nearest")


class GivesAParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Parameter(torch.zeros(1, 3, 8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.image


class GivesZeros(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :0]


ODD = [GivesItsInput, NoParameters, GivesAParameter, GivesZeros]


@pytest.mark.parametrize("model", ODD)
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("output_format", FORMATS)
def test_odd_models_in_every_view_and_format(
    capfdbinary: pytest.CaptureFixture[bytes], model: type[nn.Module], view: str, output_format: str
):
    spec = f"{__file__}:{model.__name__}"
    assert main(["analyze", spec, "--input", "8x8", "--view", view,
                 "--format", output_format]) == 0  # fmt: skip
    captured = capfdbinary.readouterr()
    assert captured.err == b""
    assert captured.out.endswith(b"." if output_format == "memory-viz" else b"\n")


def test_model_that_gives_its_input_has_no_nodes():
    found = srprof.analyze(GivesItsInput(), IMAGE, granularity=1)
    assert found.trace.nodes == ()
    assert found.memory.eager.nbytes == found.memory.planned.nbytes == IMAGE_BYTES
    assert found.to_frame().empty
    assert found._repr_html_()


def test_model_without_parameters():
    found = srprof.analyze(NoParameters(), IMAGE, granularity=1)
    assert (found.memory.net, found.complexity.parameters) == (0, 0)
    assert found.memory.eager.nbytes == 5 * IMAGE_BYTES


def test_tied_parameters_count_once():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
            self.second.weight = self.first.weight
            self.third = self.first

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.third(self.second(self.first(x)))

    model = Tied()
    found = srprof.analyze(model, (1, 4, 8, 8), granularity=1)
    once = 4 * 4 * 9 + 4 + 4
    assert found.complexity.parameters == once
    assert found.memory.net == once * 4
    assert found.complexity.convolutions == 3
    assert model.second.weight is model.first.weight


def test_parameters_that_are_views_of_one_storage():
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            flat = torch.zeros(108 + 4)
            self.weight = nn.Parameter(flat[:108].view(4, 3, 3, 3))
            self.bias = nn.Parameter(flat[108:])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.conv2d(x, self.weight, self.bias)

    found = srprof.analyze(Flat(), IMAGE, granularity=1)
    assert found.memory.net == 112 * 4
    assert found.complexity.parameters == 112


@pytest.mark.parametrize("trace_on", ["meta", "cpu"])
def test_plain_tensor_attributes(trace_on: str):
    class Normalized(Net):
        def __init__(self) -> None:
            super().__init__()
            self.mean = torch.tensor([0.4, 0.4, 0.5]).view(1, 3, 1, 1)
            self.scales = [torch.tensor([2.0]).view(1, 1, 1, 1)]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward((x - self.mean) * self.scales[0])

    model = Normalized()
    mean = model.mean
    found = srprof.analyze(model, IMAGE, trace_on=trace_on)
    assert ops(found) == ["sub", "mul", "convolution", "relu"]
    assert model.mean is mean
    assert mean.device.type == "cpu"


LEGACY = BODY.replace("from torch import nn", "import torch\nimport numpy\nfrom torch import nn")


@pytest.mark.parametrize(
    "made",
    [
        "torch.Tensor([1, 2, 3])",
        "torch.FloatTensor([1, 2, 3])",
        "torch.from_numpy(numpy.ones(3, dtype='float32'))",
        "torch.linspace(0, 1, 3)",
        "torch.tensor([1.0, 2.0, float(torch.ones(3).sum())])",
        "nn.Parameter(torch.Tensor([1, 2, 3]), requires_grad=False)",
    ],
)
def test_constructor_that_makes_tensors(folder: Path, analyze: Command, made: str):
    source = LEGACY.replace(
        "super().__init__()", f"super().__init__()\n        self.mean = {made}"
    ).replace("self.body(x)", "self.body(x - self.mean.view(1, 3, 1, 1))")
    write(folder, {"net.py": source})
    assert [node["op"] for node in analyze("net.py:Body(4)")["nodes"]][-1] == "convolution"


@pytest.mark.parametrize("made", ["zeros(x.shape)", "ones(1)", "rand(1, 3, 1, 8)", "arange(8.)"])
def test_forward_that_makes_tensors_without_a_device(made: str):
    scope: dict[str, Any] = {"nn": nn, "torch": torch}
    source = f"class Made(nn.Module):\n    def forward(self, x):\n        return x + torch.{made}"
    exec(source, scope)
    found = srprof.analyze(scope["Made"](), IMAGE)
    assert found.trace.device == "meta"
    assert found.trace.nodes[-1].shape == IMAGE
    assert any("device=x.device" in note for note in found.trace.notes)


def test_forward_that_makes_tensors_on_the_inputs_device():
    class Made(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.zeros(x.shape, device=x.device) + x.new_ones(1)

    found = srprof.analyze(Made(), IMAGE)
    assert (found.trace.device, found.trace.notes) == ("meta", ())


# -- dtype, format, batch -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("network", ["fmen_s", "e_rfdn"])
def test_half_precision_takes_half(network: str, dtype: str):
    full, half = (srprof.analyze(network, (1, 3, 32, 32), dtype=d) for d in ("float32", dtype))
    assert ops(half) == ops(full)
    for kind in ("net", "planned", "eager"):
        whole, halved = getattr(full.requested, kind), getattr(half.requested, kind)
        if kind != "net":
            whole, halved = whole.nbytes, halved.nbytes
        assert halved * 2 == whole
    assert half.trace.nodes[-1].outputs[0].dtype == dtype


def test_half_precision_from_the_command_line(analyze: Command):
    found = analyze("fmen_s", "--dtype", "bfloat16")
    assert found["input"]["dtype"] == "bfloat16"
    assert (
        found["memory"]["requested"]["eager"] * 2
        == (analyze("fmen_s")["memory"]["requested"]["eager"])
    )


@pytest.mark.parametrize("network", ["fmen", "fmen_s", "e_rfdn", "imdn"])
def test_channels_last_takes_the_same(network: str):
    shape = (1, 3, 32, 32)
    plain, last = (srprof.analyze(network, shape, channels_last=c) for c in (False, True))
    assert last.memory.eager.nbytes == plain.memory.eager.nbytes
    assert last.memory.planned.nbytes == plain.memory.planned.nbytes
    assert last.complexity == plain.complexity
    assert last.trace.device == "meta"


def test_channels_last_from_the_command_line(analyze: Command):
    plain, last = analyze("fmen_s"), analyze("fmen_s", "--channels-last")
    assert last["memory"]["peak"] == plain["memory"]["peak"]


def test_channels_last_reaches_the_convolution():
    seen = []

    class Looks(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.body(x)
            seen.append((x.stride(), y.stride(), self.body.weight.stride()))
            return y

    model = Looks()
    srprof.analyze(model, IMAGE, channels_last=True)
    assert set(seen) == {((192, 1, 24, 3), (256, 1, 32, 4), (27, 1, 9, 3))}
    assert model.body.weight.is_contiguous()


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_channels_last_leaves_3d_convolutions_as_they_are(device: str):
    """`Module.to` refuses a network with weights of five dimensions."""

    class Video(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frames, self.image = nn.Conv3d(3, 4, 3), nn.Conv2d(4, 3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.image(self.frames(x).mean(2))

    model = Video()
    traced = srprof.trace(model, (1, 3, 5, 8, 8), channels_last=True, trace_on=device)
    first, _, last = traced.nodes
    assert first.inputs[1].strides == (81, 27, 9, 3, 1) and first.outputs[0].strides[1] == 108
    assert last.inputs[1].strides == (36, 1, 12, 4) and last.outputs[0].strides[1:] == (1, 12, 3)
    assert model.image.weight.is_contiguous()


@pytest.mark.parametrize("network", ["fmen_s", "e_rfdn"])
def test_batch_takes_its_multiple(network: str):
    one, four = (srprof.analyze(network, (n, 3, 32, 32), granularity=1) for n in (1, 4))
    assert four.memory.net == one.memory.net
    for kind in ("planned", "eager"):
        activations = [getattr(f.memory, kind).nbytes - f.memory.net for f in (one, four)]
        assert activations[1] == 4 * activations[0]
    assert four.complexity.macs == 4 * one.complexity.macs


# -- data-dependent models ----------------------------------------------------------------------

DEPENDENT = {
    "item": "return x * x.mean().item()",
    "float": "return x * float(x.max())",
    "if": "return x if x.sum() > 0 else -x",
    "nonzero": "return x.nonzero()",
    "mask": "return x[x > 0.5]",
    "unique": "return torch.unique(x)",
    "tolist": "return x * x.mean().tolist()",
    "numpy": "return x + torch.from_numpy(x.cpu().numpy())",
    "where": "return torch.where(x > 0.5)[0]",
}


@pytest.mark.parametrize("body", DEPENDENT.values(), ids=list(DEPENDENT))
def test_data_dependent_model_falls_back_to_the_cpu(
    folder: Path, analyze: Command, capsys: pytest.CaptureFixture[str], body: str
):
    source = f"import torch\nfrom torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n        {body}\n"  # noqa: E501
    write(folder, {"net.py": source})
    found = analyze("net.py:Net")
    assert found["traced_on"] == "cpu"
    assert found["fallback"]
    assert "\n" not in found["fallback"]
    assert main(["analyze", "net.py:Net", "--input", "8x8"]) == 0
    assert "CPU" in capsys.readouterr().out
    assert main(["analyze", "net.py:Net", "--input", "8x8", "--trace-on", "meta"]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("srprof: ")
    assert captured.err.count("\n") == 1
    assert "--trace-on cpu" in captured.err


def test_model_that_runs_on_meta_has_no_fallback(analyze: Command):
    found = analyze("fmen_s")
    assert (found["traced_on"], found["fallback"]) == ("meta", None)
    found = analyze("fmen_s", "--trace-on", "cpu")
    assert (found["traced_on"], found["fallback"]) == ("cpu", None)


def test_error_of_the_model_is_no_reason_to_fall_back():
    class Says(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            runs.append(x.device.type)
            raise ValueError("the metadata of this image is wrong")

    runs: list[str] = []
    with pytest.raises(srprof.ModelError, match="the metadata of this image"):
        srprof.analyze(Says(), IMAGE)
    assert set(runs) == {"meta"}
