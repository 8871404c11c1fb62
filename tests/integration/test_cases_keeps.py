"""Lean networks of those that keep something between their calls, or fuse their branches.

They come out right, whatever is loaded or called in between, or are refused with the line.
"""

from __future__ import annotations

import copy
import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import srprof
from srprof.cli import main
from tests.cases import keeps
from tests.workloads import Command, state_of

SHAPE = (1, 3, 16, 16)
#: Sizes in an order in which each is new, known, or known and not the last one.
SHAPES = (SHAPE, SHAPE, (2, 3, 8, 12), SHAPE)
FILE = "tests/cases/keeps.py"

FUSED = [
    *(keeps.InAList, keeps.InAnAttribute, keeps.AsParameters, keeps.AsAConvolution),
    keeps.AsDataInEachCall,
]
CACHED = [
    *(keeps.OfTheLastSize, keeps.BySize, keeps.AsABuffer, keeps.ByDefault, keeps.Cached),
    keeps.Remembered,
]
OTHERS = [keeps.InEval, keeps.InTrain, keeps.LooksBack, keeps.Running, keeps.AutocastOff]
REFUSED = {
    keeps.MeanOfTheFirst: "keeps for later calls what it makes of its input",
    keeps.TheImageBefore: "keeps an input, which the next call uses",
    keeps.ParameterBefore: "a call uses what the one before it makes",
    keeps.PlainTensor: "changes",
    keeps.CountsCalls: "each of its calls is another",
    keeps.FirstSize: "keeps for later calls what it makes of the first size; they differ",
    keeps.FirstTensor: "keeps what it makes",
    keeps.AddsOnce: "its first call changes its weights",
    keeps.FirstByBranches: "keeps what it makes",
    keeps.InAThread: "uses",
    keeps.OfACopy: "reads a tensor's memory",
    keeps.UnderAutocast: "a region of autocast",
}


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """No test finds what another one's calls have kept."""
    yield
    for kept in (keeps.WEIGHTS, keeps.SEEN, keeps.LAST):
        kept.clear()
    keeps.coordinates.cache_clear()


def build(network: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return network()


def same(network: Callable[..., Any], lean: nn.Module, *shapes: tuple[int, ...]) -> bool:
    """Whether calls in a row give the same bits, without falling back."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        images = [torch.rand(shape) for shape in shapes]
        return all(torch.equal(network(image), lean(image)) for image in images)


@pytest.mark.filterwarnings("error:.*cannot be lean")
@pytest.mark.parametrize("network", [*FUSED, *CACHED, *OTHERS])
def test_it_is_made_lean(network: type[nn.Module]):
    model = build(network)
    before = state_of(model)
    lean = srprof.lean(model, SHAPE).eval()
    assert state_of(model) == before
    assert not (keeps.WEIGHTS or keeps.LAST)
    assert keeps.coordinates.cache_info().currsize == 0
    assert same(model.eval(), lean, *SHAPES)


@pytest.mark.parametrize("network", FUSED)
def test_weights_that_are_loaded_later_are_fused(network: type[nn.Module]):
    lean = srprof.lean(build(network), SHAPE).eval()
    other = network().eval()
    lean.load_state_dict(other.state_dict())
    assert same(other, lean, SHAPE)


def test_weights_that_eval_fused_stay(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """As those of the network itself, until its eval() is called again."""
    model = build(keeps.InEval).eval()
    lean = srprof.lean(model, SHAPE)
    other = keeps.InEval().state_dict()
    model.load_state_dict(other)
    with pytest.warns(UserWarning, match="make that lean"):
        lean.load_state_dict(other)
    assert same(model, lean, SHAPE)
    file = str(tmp_path / "lean.py")
    assert main(["lean", f"{FILE}:InEval", "--input", "1x3x16x16", "--emit", file]) == 2
    assert "name a .pt2" in capsys.readouterr().err


@pytest.mark.parametrize("network", [keeps.AsParameters, keeps.AsAConvolution])
def test_a_call_of_the_network_itself_changes_it(network: type[nn.Module]):
    model = build(network).eval()
    lean = srprof.lean(model, SHAPE).eval()
    with pytest.warns(UserWarning, match="autocast"), torch.autocast("cpu", torch.bfloat16):
        lean(torch.rand(SHAPE))
    assert same(model, lean.eval(), SHAPE, SHAPE)  # a convolution that it makes begins in training


@pytest.mark.parametrize("network", REFUSED)
def test_it_is_refused_with_the_line(network: type[nn.Module]):
    expected = copy.deepcopy(build(network)).eval()
    code = inspect.getsource(keeps).splitlines()
    owner = network if "# here" in inspect.getsource(network) else keeps.Branches
    first = inspect.getsourcelines(owner)[1]
    line = next(i for i in range(first, len(code) + 1) if code[i - 1].endswith("# here"))
    said = f"cannot be lean: .*{REFUSED[network]}.* at {FILE}:{line}"
    with pytest.warns(UserWarning, match=said) as caught:
        lean = srprof.lean(build(network), SHAPE).eval()
    assert "\n" not in str(caught[0].message)
    images = [torch.rand(shape) for shape in SHAPES[:2]]
    with torch.no_grad(), pytest.warns(UserWarning, match=re.escape("not lean in this call")):
        found = [lean(image) for image in images]
    keeps.SEEN.clear()
    with torch.no_grad():
        assert all(torch.equal(expected(i), f) for i, f in zip(images, found, strict=True))


@pytest.mark.filterwarnings("error:.*cannot be lean")
@pytest.mark.parametrize("network", [keeps.AddsOnce, keeps.FirstByBranches])
def test_called_once_before_it_is_lean(network: type[nn.Module]):
    model = build(network).eval()
    with torch.no_grad():
        model(torch.rand(SHAPE))
    assert same(model, srprof.lean(model, SHAPE), SHAPE)


@pytest.mark.filterwarnings("error:.*cannot be lean")
def test_fused_by_its_own_method_it_is_lean():
    model = build(keeps.ByItself).fuse().eval()
    lean = srprof.lean(model, SHAPE)
    assert list(lean.state_dict()) == ["one.weight", "one.bias"]
    assert same(model, lean, SHAPE)


@pytest.mark.filterwarnings("error:.*cannot be lean")
def test_it_waits_for_no_gpu():
    """On a machine without one it does not run, and its lean form does."""
    model = build(keeps.Waits).eval()
    lean = srprof.lean(model, SHAPE)
    assert same(lambda image: nn.functional.relu(model.conv(image)) + 1, lean, SHAPE)


@pytest.mark.parametrize(
    "network", ["InAList", "AsAConvolution", "Running", "Cached", "InEval", "Waits"]
)
def test_from_the_command_line(network: str, run: Command):
    found = run("lean", f"{FILE}:{network}", "--input", "1x3x16x16")
    assert found["identical"]
    assert found["after"]["eager"] <= found["before"]["eager"]
    assert run("advise", f"{FILE}:{network}", "--input", "1x3x16x16")["peak"]


@pytest.mark.parametrize("ending", ["py", "pt2"])
def test_what_is_emitted_fuses_too(ending: str, run: Command, tmp_path: Path):
    file = tmp_path / f"lean.{ending}"
    run("lean", f"{FILE}:InAList", "--input", "1x3x16x16", "--emit", str(file))
    if ending == "py":
        names: dict[str, type[nn.Module]] = {}
        exec(file.read_text(), names)
        lean, network = names["LeanInAList"](), build(keeps.InAList)
        lean.load_state_dict(network.state_dict())
        assert same(network, lean, SHAPE, (1, 3, 8, 12))
    else:
        assert torch.export.load(file).module()(torch.rand(SHAPE)).shape == (1, 3, 32, 32)
