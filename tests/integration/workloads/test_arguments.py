"""What a network is called with and what it returns, in every form."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

import srprof
from srprof.cli import main
from tests.workloads import (
    IMAGE,
    IMAGE_BYTES,
    Net,
    ops,
    write,
)

# -- inputs -------------------------------------------------------------------------------------

SEVERAL = """\
import torch
from torch import nn


class Two(nn.Module):
    def forward(self, image, reference):
        return torch.cat([image, reference[..., ::2, ::2]], dim=1)
"""


def test_several_inputs_from_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]):
    write(folder, {"net.py": SEVERAL})
    code = main(["analyze", "net.py:Two", "--input", "8x10", "--input", "1x5x16x20",
                 "--format", "json"])  # fmt: skip
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    found = json.loads(captured.out)
    assert [tensor["shape"] for tensor in found["inputs"]] == [[1, 3, 8, 10], [1, 5, 16, 20]]
    assert found["nodes"][-1]["shape"] == [1, 8, 8, 10]


class Several(nn.Module):
    """Takes its tensors in every way."""

    def forward(
        self,
        images: list[torch.Tensor],
        mask: torch.Tensor | None = None,
        *,
        scale: float = 1,
        more: Any = (),
    ) -> torch.Tensor:
        x = torch.cat(list(images), dim=1) * scale
        for tensor in more:
            x = x + tensor
        return x if mask is None else x * mask


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 6)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        assert not tokens.is_floating_point()
        found: torch.Tensor = self.table(tokens)
        return found


def test_list_input():
    found = srprof.analyze(Several(), [(1, 3, 8, 8), (1, 2, 8, 8)])
    assert [e.info.shape for e in found.trace.inputs] == [(1, 3, 8, 8), (1, 2, 8, 8)]
    assert found.trace.nodes[-1].shape == (1, 5, 8, 8)


def test_keyword_inputs():
    found = srprof.analyze(
        Several(),
        [IMAGE],
        {"mask": (1, 1, 8, 8), "scale": 0.5, "more": [IMAGE, torch.zeros(IMAGE)]},
    )
    assert len(found.trace.inputs) == 4
    assert ops(found)[-1] == "mul"


def test_sizes_as_text():
    found = srprof.analyze(Net(), "2x3x10x12")
    assert found.trace.inputs[0].info.shape == (2, 3, 10, 12)
    assert srprof.analyze("fmen_s", "10x12").trace.inputs[0].info.shape == (1, 3, 10, 12)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("trace_on", ["meta", "cpu"])
@pytest.mark.parametrize("run_dtype", ["float32", "float16"])
def test_integer_example(dtype: torch.dtype, trace_on: str, run_dtype: str):
    tokens = torch.arange(7, dtype=dtype)
    found = srprof.analyze(Tokens(), tokens, trace_on=trace_on, dtype=run_dtype)
    assert found.trace.inputs[0].info.dtype == str(dtype).removeprefix("torch.")
    assert found.trace.nodes[-1].shape == (7, 6)


@pytest.mark.parametrize("trace_on", ["meta", "cpu"])
def test_example_tensor_is_not_changed(trace_on: str):
    class InPlace(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mul_(2)

    image = torch.rand(IMAGE)
    before = image.clone(), image._version
    found = srprof.analyze(InPlace(), image, trace_on=trace_on)
    assert ops(found) == ["mul_"]
    assert torch.equal(image, before[0])
    assert image._version == before[1]


def test_example_is_as_large_as_its_shape_though_it_is_a_view():
    """A crop of a large image: the network's input is the crop."""
    crop = torch.rand(1, 3, 512, 512)[..., :8, :8]
    found = srprof.analyze(Net(), crop, granularity=1)
    assert found.memory.parts[0].input == IMAGE_BYTES


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_example_tensor_is_brought_to_the_dtype(dtype: str):
    found = srprof.analyze(Net(), torch.rand(IMAGE), dtype=dtype)
    assert found.trace.inputs[0].info.dtype == dtype
    assert found.trace.nodes[-1].outputs[0].dtype == dtype


@pytest.mark.parametrize("trace_on", ["auto", "cpu"])
def test_model_and_example_of_double_precision(trace_on: str):
    found = srprof.analyze(Net().double(), torch.rand(IMAGE).double(), trace_on=trace_on)
    assert ops(found) == ["convolution", "relu"]


def test_example_that_needs_gradients():
    found = srprof.analyze(Net(), torch.rand(IMAGE, requires_grad=True))
    assert ops(found) == ["convolution", "relu"]


def test_same_tensor_given_twice():
    class Sum(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a + b

    image = torch.rand(IMAGE)
    assert len(srprof.analyze(Sum(), image, image).trace.nodes) == 1


# -- outputs ------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """A named tuple of two feature maps."""

    sr: torch.Tensor
    features: torch.Tensor


@dataclasses.dataclass
class Result:
    """A dataclass with tensors inside."""

    sr: torch.Tensor
    features: list[torch.Tensor]
    note: str = "text"


OUTPUTS: dict[str, Callable[[torch.Tensor, torch.Tensor], Any]] = {
    "tuple": lambda a, b: (a, b),
    "list": lambda a, b: [a, b],
    "dict": lambda a, b: {"sr": a, "aux": b},
    "nested": lambda a, b: {"sr": a, "aux": [(b, None), {"x": 3, "y": "text"}]},
    "named tuple": Pair,
    "dataclass": lambda a, b: Result(a, [b]),
    "dataclass in a tuple": lambda a, b: (a, Result(b, [])),
    "the same twice": lambda a, b: (a, b, a),
    "view": lambda a, b: (a, b.permute(0, 2, 3, 1)),
}


class Returns(nn.Module):
    """Gives two feature maps in some form."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.body = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> Any:
        first = self.body(x)
        return OUTPUTS[self.form](first, first * 2)


def tensors_reached(value: Any, depth: int = 6) -> Iterator[torch.Tensor]:
    """Every tensor in a record, whatever holds it."""
    if isinstance(value, torch.Tensor):
        yield value
    elif depth and isinstance(value, (list, tuple, set)):
        for item in value:
            yield from tensors_reached(item, depth - 1)
    elif depth and isinstance(value, dict):
        for item in value.values():
            yield from tensors_reached(item, depth - 1)
    elif depth and dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from tensors_reached(getattr(value, field.name), depth - 1)


@pytest.mark.parametrize("form", OUTPUTS)
def test_forms_of_output(form: str):
    found = srprof.analyze(Returns(form), IMAGE, granularity=1)
    returned = [s.nbytes for s in found.trace.storages if s.returned]
    assert returned == [4 * 8 * 8 * 4] * 2
    assert {s.death for s in found.trace.storages if s.returned} == {len(found.trace.nodes)}
    assert found.memory.eager.nbytes == found.memory.net + IMAGE_BYTES + sum(returned)
    assert not list(tensors_reached(found.trace)), "the record holds a tensor"
    found.trace.graph.lint()
    json.dumps(found.to_dict())


@pytest.mark.parametrize("result", [None, 3, "text", [], {}, object()])
def test_output_without_a_tensor(result: Any):
    class Nothing(Net):
        def forward(self, x: torch.Tensor) -> Any:
            self.body(x)
            return result

    found = srprof.analyze(Nothing(), IMAGE)
    assert ops(found) == ["convolution"]
    assert not [s for s in found.trace.storages if s.returned]
    found.trace.graph.lint()


# -- a call as a value ----------------------------------------------------------------------------


def test_a_call_goes_in_the_place_of_its_parts():
    call = srprof.Call("fsrcnn", ("16",), dtype="float16", channels_last=True, trace_on="cpu")
    options = {"dtype": "float16", "channels_last": True, "trace_on": "cpu"}
    found = srprof.trace(call)
    assert found.nodes == srprof.trace("fsrcnn", (1, 1, 16, 16), **options).nodes
    assert found.device == "cpu"
    assert srprof.analyze(call).to_dict() == srprof.analyze("fsrcnn", "16", **options).to_dict()
    plain = dataclasses.replace(call, dtype="float32", channels_last=False)
    assert srprof.advise(plain).peak == srprof.advise("fsrcnn", "16", trace_on="cpu").peak
    assert srprof.fit(plain, "1MiB").largest == srprof.fit("fsrcnn", "1MiB").largest


@pytest.mark.parametrize(
    ("inputs", "options"), [(["8"], {}), ([], {"dtype": "float16"}), ([], {"trace_on": "cpu"})]
)
def test_what_a_call_says_is_not_said_beside_it(inputs: list[str], options: dict[str, Any]):
    with pytest.raises(srprof.InputError, match="leave those arguments out"):
        srprof.analyze(srprof.Call("fsrcnn", ("16",)), *inputs, **options)
