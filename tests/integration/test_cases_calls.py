"""Operators without a fake, sizes that a network refuses, and steps of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import srprof
from srprof.cli import main
from srprof.memory.model import memory_model
from srprof.tiling.locality import locality
from srprof.training.analysis import analyze_training
from tests.cases import inputs

IMAGE = (2, 3, 32, 32)
CASES = inputs.__file__


@torch.library.custom_op("srproftests::halve_", mutates_args=("x",))
def halve_(x: Tensor) -> None:
    x.mul_(0.5)


@torch.library.custom_op("srproftests::both", mutates_args=())
def both(x: Tensor) -> tuple[Tensor, Tensor]:
    return x + 1, x - 1


class Steps(nn.Module):
    """One convolution, then the steps of a test."""

    def __init__(self, steps: Callable[[Tensor], Any], inner: nn.Module | None = None) -> None:
        super().__init__()
        self.conv, self.steps, self.inner = nn.Conv2d(3, 3, 3, 1, 1), steps, inner

    def forward(self, x: Tensor) -> Any:
        y = self.conv(x)
        return self.steps(y if self.inner is None else self.inner(y))


def test_an_operator_without_a_fake_runs_on_the_cpu():
    found = srprof.analyze(inputs.CustomOp(), (1, 3, 32, 32), granularity=1)
    assert found.trace.device == "cpu"
    assert [node.op for node in found.trace.nodes] == ["convolution", "srprofcases.double"]
    assert found.complexity.macs == 221_184
    assert "no fake impl" in found.trace.fallback and "inputs.py" in found.trace.fallback
    assert found.complexity.uncounted == {"srprofcases.double": 1}


def test_operators_with_two_results_and_in_place():
    def steps(y: Tensor) -> Tensor:
        halve_(y)
        one, other = both(y)
        return one * other

    ops = [node.op for node in srprof.trace(Steps(steps), IMAGE).nodes]
    assert ops == ["convolution", "srproftests.halve_", "srproftests.both", "mul"]


@pytest.mark.parametrize("trace_on", ["meta", "cuda-fake"])
def test_where_it_must_have_one_one_line_says_so(trace_on: str):
    with pytest.raises(srprof.ModelError, match=r"no fake impl.*use --trace-on (meta or )?cpu"):
        srprof.trace(inputs.CustomOp(), (1, 3, 32, 32), trace_on=trace_on)


def test_fit_of_a_network_that_takes_squares_only(capsys: pytest.CaptureFixture[str]):
    square = ["fit", f"{CASES}:SquareOnly", "--budget", "10MiB", "--image"]
    assert main([*square, "1000x1000"]) == 1  # it fits neither whole nor in tiles
    shown = capsys.readouterr().out
    assert "1x3x311x311" in shown and "whole: does not fit" in shown
    (line,) = [line for line in shown.splitlines() if "tiles" in line]
    assert "square images only" in line and "inputs.py" in line
    assert main([*square, "1000x800"]) == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "square images only" in error


def refusing(steps: Callable[[Tensor], None]) -> nn.Module:
    def checked(y: Tensor) -> Tensor:
        steps(y)
        return F.interpolate(y, scale_factor=2.0)

    return Steps(checked)


def landscape(y: Tensor) -> None:
    assert y.shape[-1] >= y.shape[-2], "landscape only"


def not_narrow(y: Tensor) -> None:
    if min(y.shape[-2:]) * 2 < max(y.shape[-2:]):
        raise IndexError("too narrow")


@pytest.mark.parametrize("steps", [landscape, not_narrow])
def test_a_network_that_refuses_strips_is_not_local_and_says_why(steps: Any):
    known = locality(refusing(steps))
    assert not known.local and "refuses images of other proportions" in known.reason
    fit = srprof.fit(refusing(steps), budget="1MiB", image=(400, 400))
    assert "other proportions" in str(fit)


# -- training -------------------------------------------------------------------------------------


def same_on_the_cpu(model: nn.Module, *shapes: Any) -> None:
    """A step on meta calls and holds what a step on the CPU does, but for counters and numbers."""
    meta, cpu = (
        analyze_training(model, *shapes, trace_on=trace_on, granularity=1).trace
        for trace_on in ("meta", "cpu")
    )
    assert [node.op for node in meta.nodes] == [node.op for node in cpu.nodes]
    small = 8 * (1 + sum(1 for _ in model.parameters()))
    for here, there in zip(meta.nodes, cpu.nodes, strict=True):
        assert 0 <= there.live - here.live <= small, (here.op, here.live, there.live)


def test_a_step_of_the_case():
    """Numbers as operands of backward: `g / (x.pow(2) + 1e-6).sqrt()`."""
    same_on_the_cpu(inputs.OwnBackward(), IMAGE)
    assert analyze_training(inputs.OwnBackward(), IMAGE).trace.step is not None


class Plus(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return x + 1

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return torch.add(1e-3 + (gradient + 1e-6) * 2 + 1, gradient, alpha=2)


def test_sums_with_numbers_and_factors_in_backward():
    same_on_the_cpu(Steps(Plus.apply), IMAGE)


BESIDE: dict[str, Callable[[Tensor], Any]] = {
    "detached": lambda y: (y, y.detach()),
    "boolean": lambda y: (y, y > 0),
    "None": lambda y: (y, None),
    "indices": lambda y: (y, y.argmax(1)),
    "a number": lambda y: (y, 3.0),
    "a dict": lambda y: {"sr": y, "mask": (y > 0).any(), "none": None},
    "nested": lambda y: [None, (y.detach(), {"a": [y * 2], "b": y > 1})],
    "first": lambda y: (y > 0, y),
}


@pytest.mark.parametrize("what", BESIDE)
def test_outputs_that_cannot_be_trained_stand_beside_one_that_can(what: str):
    same_on_the_cpu(Steps(BESIDE[what]), IMAGE)
    step = analyze_training(Steps(BESIDE[what]), IMAGE)
    (target,) = [e for e in step.trace.inputs if e.name.startswith("target")]
    assert target.info.shape == IMAGE


@pytest.mark.parametrize("steps", [lambda y: y.detach(), lambda y: y > 0, lambda _y: None])
def test_nothing_that_can_be_trained_is_one_line(steps: Any):
    with pytest.raises(srprof.ModelError, match="does not depend on a parameter to train"):
        analyze_training(Steps(steps), IMAGE)


NORMS: dict[str, tuple[Callable[[Tensor], Tensor], nn.Module]] = {
    "tokens": (lambda y: y.flatten(2), nn.BatchNorm1d(3)),
    "video": (lambda y: y.unsqueeze(2), nn.BatchNorm3d(3)),
    "vectors": (lambda y: y.mean((2, 3)), nn.BatchNorm1d(3)),
}


class Normed(nn.Module):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.conv, (self.steps, self.norm) = nn.Conv2d(3, 3, 3, 1, 1), NORMS[what]

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.steps(self.conv(x)))


@pytest.mark.parametrize("what", NORMS)
def test_batch_norm_over_maps_of_other_ranks(what: str):
    same_on_the_cpu(Normed(what), IMAGE)
    meta, cpu = (srprof.trace(Normed(what), IMAGE, trace_on=on) for on in ("meta", "cpu"))
    # of vectors torch's own kernel for CUDA, which is not cuDNN's, saves two numbers a channel
    saved = 2 * 3 * 4 if what == "vectors" else 0
    peaks = [memory_model(trace, granularity=1) for trace in (meta, cpu)]
    assert peaks[0].parts[-1].eager - peaks[1].parts[-1].eager == saved


def test_training_on_a_fake_gpu_is_refused():
    with pytest.raises(srprof.InputError, match="cuda-fake"):
        analyze_training(inputs.OwnBackward(), IMAGE, trace_on="cuda-fake")
