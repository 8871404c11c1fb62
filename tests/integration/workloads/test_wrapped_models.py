"""Graph modules, exported programs, TorchScript, wrappers and modes of torch."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import srprof
from tests.normalised import NORMS
from tests.workloads import (
    BODY,
    IMAGE,
    PARAMETERS,
    Command,
    Net,
    ops,
    parameters,
    state_of,
    write,
)


class Block(nn.Module):
    """Enough for a graph: a branch, a split and a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = torch.split(self.first(x), [4, 4], dim=1)
        found: torch.Tensor = self.last(torch.cat([torch.relu(a), b], dim=1)) + x
        return found


BLOCK_OPS = ["convolution", "split_with_sizes", "relu", "cat", "convolution", "add"]


def test_graph_module():
    model = torch.fx.symbolic_trace(Block())
    before = state_of(model)
    found = srprof.analyze(model, IMAGE)
    assert ops(found) == BLOCK_OPS
    assert found.complexity.parameters == sum(p.numel() for p in model.parameters())
    assert state_of(model) == before


@pytest.mark.parametrize("inputs", [(), (IMAGE,), ("1x3x8x8",)])
def test_exported_program(inputs: tuple[Any, ...]):
    program = torch.export.export(Block().eval(), (torch.rand(IMAGE),))
    found = srprof.analyze(program, *inputs)
    assert ops(found) == BLOCK_OPS
    assert found.trace.inputs[0].info.shape == IMAGE
    assert found.complexity.parameters == 3 * 8 * 9 + 8 + 8 * 3 + 3


def test_exported_program_with_any_size():
    size = {2: torch.export.Dim("height", min=2), 3: torch.export.Dim("width", min=2)}
    program = torch.export.export(Block().eval(), (torch.rand(IMAGE),), dynamic_shapes={"x": size})
    found = srprof.analyze(program, (1, 3, 12, 20))
    assert found.trace.nodes[-1].shape == (1, 3, 12, 20)


def test_exported_program_at_a_size_that_it_was_not_exported_for():
    program = torch.export.export(Block().eval(), (torch.rand(IMAGE),))
    with pytest.raises(srprof.ModelError) as raised:
        srprof.analyze(program, (1, 3, 12, 20))
    assert "\n" not in str(raised.value)


def test_exported_program_with_keyword_inputs():
    class Keyword(nn.Module):
        def forward(self, x: torch.Tensor, *, mask: torch.Tensor) -> torch.Tensor:
            return x * mask

    program = torch.export.export(Keyword(), (torch.rand(IMAGE),), {"mask": torch.rand(1, 1, 8, 8)})
    assert ops(srprof.analyze(program)) == ["mul"]


def test_exported_program_of_a_factory(folder: Path, analyze: Command):
    source = f"""\
import torch
{BODY}

def program():
    return torch.export.export(Body(4).eval(), (torch.rand(1, 3, 8, 8),))
"""
    write(folder, {"net.py": source})
    assert parameters(analyze("net.py:program")) == PARAMETERS[4]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("how", ["script", "trace", "freeze"])
@pytest.mark.parametrize("trace_on", ["auto", "cpu"])
def test_torchscript(how: str, trace_on: str):
    model = Block().eval()
    if how == "trace":
        scripted = torch.jit.trace(model, torch.rand(IMAGE))
    else:
        scripted = torch.jit.script(model)
    if how == "freeze":
        scripted = torch.jit.freeze(scripted)
    found = srprof.analyze(scripted, IMAGE, trace_on=trace_on)
    kinds = [op.removeprefix("_") for op in ops(found)]
    assert [op for op in kinds if op in BLOCK_OPS] == BLOCK_OPS
    assert found.complexity.macs == srprof.analyze(model, IMAGE).complexity.macs
    with torch.no_grad():
        assert scripted(torch.rand(IMAGE)).device.type == "cpu"


def test_inference_mode():
    class Decorated(Block):
        @torch.inference_mode()
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x)

    assert ops(srprof.analyze(Decorated(), IMAGE)) == BLOCK_OPS
    assert ops(srprof.analyze(Decorated(), IMAGE, trace_on="cpu")) == BLOCK_OPS


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_caller_in_a_grad_mode(context: Callable[[], Any]):
    expected = srprof.analyze(Block(), IMAGE)
    model = Block()
    with context():
        found = srprof.analyze(model, IMAGE)
        again = srprof.analyze("fmen_s", IMAGE)
    assert ops(found) == BLOCK_OPS
    assert found.memory.eager == expected.memory.eager
    assert again.complexity.convolutions == 34


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_caller_with_a_default_device(device: str):
    expected = srprof.analyze("fmen_s", IMAGE)
    with torch.device(device):
        found = srprof.analyze("fmen_s", IMAGE)
        real = srprof.analyze("fmen_s", IMAGE, trace_on="cpu")
    assert found.memory.eager == expected.memory.eager
    assert ops(real) == ops(expected)


def test_caller_with_a_default_dtype():
    expected = srprof.analyze("fmen_s", IMAGE)
    torch.set_default_dtype(torch.float64)
    try:
        found = srprof.analyze("fmen_s", IMAGE)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.memory.eager == expected.memory.eager


def test_model_on_the_meta_device():
    with torch.device("meta"):
        model = Block()
    assert ops(srprof.analyze(model, IMAGE)) == BLOCK_OPS
    assert model.first.weight.device.type == "meta"


def test_compiled_model_is_analysed_as_its_original():
    assert ops(srprof.analyze(torch.compile(Block()), IMAGE)) == BLOCK_OPS


def test_profiler_marks_are_no_nodes():
    class Marked(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.profiler.record_function("the body"):
                return super().forward(x)

    assert ops(srprof.analyze(Marked(), IMAGE)) == ["convolution", "relu"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="would run on the GPU")
def test_data_parallel_model():
    found = srprof.analyze(nn.DataParallel(Block()), IMAGE)
    assert ops(found) == BLOCK_OPS
    assert found.trace.nodes[0].module == "module.first"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("device_type", ["x.device.type", "'cpu'", "'cuda'"])
def test_autocast_in_forward(device_type: str):
    scope: dict[str, Any] = {"Net": Net, "torch": torch}
    source = (
        "class Autocast(Net):\n    def forward(self, x):\n"
        f"        with torch.autocast({device_type}, dtype=torch.bfloat16):\n"
        "            return self.body(x)\n"
    )
    exec(source, scope)
    assert "convolution" in ops(srprof.analyze(scope["Autocast"](), IMAGE))


def test_checkpointed_forward():
    class Checkpointed(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = torch.utils.checkpoint.checkpoint(
                super().forward, x, use_reentrant=False
            )
            return found

    assert ops(srprof.analyze(Checkpointed(), IMAGE)) == ["convolution", "relu"]


def test_lazy_modules_stay_lazy():
    """Whether it is analysed or refused."""
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU())
    try:
        assert ops(srprof.analyze(model, IMAGE)) == ["convolution", "relu"]
    except srprof.InputError as refusal:
        assert re.search("lazy|uninitiali[sz]ed", str(refusal), re.IGNORECASE)
    assert isinstance(model[0], nn.LazyConv2d)
    assert model[0].has_uninitialized_params()


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("norm", NORMS.values(), ids=list(NORMS))
@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("trace_on", ["auto", "cpu"])
def test_normalised_weights(norm: Callable[[nn.Module], Any], used: bool, trace_on: str):
    model = nn.Sequential(norm(nn.Conv2d(3, 4, 3, padding=1)), nn.ReLU())
    if used:
        model(torch.rand(IMAGE)).sum().backward()
    before = state_of(model)
    found = srprof.analyze(model, IMAGE, trace_on=trace_on)
    assert [op for op in ops(found) if op in ("convolution", "relu")] == ["convolution", "relu"]
    assert found.complexity.parameters == sum(p.numel() for p in model.parameters())
    assert state_of(model) == before
    assert model(torch.rand(IMAGE)).shape == (1, 4, 8, 8)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("norm", list(NORMS))
def test_normalised_weights_of_a_file(folder: Path, analyze: Command, norm: str):
    source = (
        "import importlib, sys\nfrom torch import nn\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from tests.normalised import NORMS\n"
        f"def Net():\n    return NORMS[{norm!r}](nn.Conv2d(3, 4, 3))\n"
    )
    write(folder, {"net.py": source})
    assert "convolution" in [node["op"] for node in analyze("net.py:Net")["nodes"]]
