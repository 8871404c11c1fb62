"""Global state that a model changes is named and put back."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from srprof.cli import main
from tests.bad_input import (
    Refused,
)


class Setting(NamedTuple):
    """A statement of a model's author, what it changes, and the word by which a note names it."""

    statement: str
    read: Callable[[], Any]
    named: str


SETTINGS = {
    "default dtype": Setting(
        "torch.set_default_dtype(torch.float64)", torch.get_default_dtype, "default dtype"
    ),
    "default device": Setting(
        "torch.set_default_device('cpu')",
        lambda: (torch.get_default_device(), torch.empty(0).device),
        "default device",
    ),
    "cudnn.benchmark": Setting(
        "torch.backends.cudnn.benchmark = True",
        lambda: torch.backends.cudnn.benchmark,
        "cudnn.benchmark",
    ),
    "cudnn.deterministic": Setting(
        "torch.backends.cudnn.deterministic = True",
        lambda: torch.backends.cudnn.deterministic,
        "cudnn.deterministic",
    ),
    "cudnn.enabled": Setting(
        "torch.backends.cudnn.enabled = False",
        lambda: torch.backends.cudnn.enabled,
        "cudnn.enabled",
    ),
    "cudnn.allow_tf32": Setting(
        "torch.backends.cudnn.allow_tf32 = False",
        lambda: torch.backends.cudnn.allow_tf32,
        "tf32",
    ),
    "matmul precision": Setting(
        "torch.set_float32_matmul_precision('high')",
        torch.get_float32_matmul_precision,
        "matmul precision",
    ),
    "deterministic algorithms": Setting(
        "torch.use_deterministic_algorithms(True, warn_only=True)",
        lambda: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        "deterministic_algorithms",
    ),
    "threads": Setting(
        "torch.set_num_threads(torch.get_num_threads() + 1)", torch.get_num_threads, "thread"
    ),
    "anomaly detection": Setting(
        "torch.autograd.set_detect_anomaly(True)", torch.is_anomaly_enabled, "anomaly"
    ),
    "grad mode": Setting("torch.set_grad_enabled(False)", torch.is_grad_enabled, "grad mode"),
    "current folder": Setting("os.chdir('/')", os.getcwd, "folder"),
    "recursion limit": Setting(
        "sys.setrecursionlimit(sys.getrecursionlimit() + 500)",
        sys.getrecursionlimit,
        "recursion limit",
    ),
}

CHANGING = """\
import os, random, sys
import torch
from torch import nn

{at_import}
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)
        {in_constructor}

    def forward(self, x):
        {in_forward}
        return self.body(x)
"""

PLACES = ("at_import", "in_constructor", "in_forward")


def write_changing(folder: Path, place: str, statement: str) -> None:
    statements = dict.fromkeys(PLACES, "pass") | {place: statement}
    (folder / "changing.py").write_text(CHANGING.format(**statements))


@pytest.fixture(params=SETTINGS.values(), ids=list(SETTINGS))
def setting(request: pytest.FixtureRequest) -> Iterator[Setting]:
    """A setting; put back here too, so that one failure does not become many."""
    before = torch.get_num_threads(), sys.getrecursionlimit(), os.getcwd()
    backends = torch.backends.cudnn
    flags = backends.benchmark, backends.deterministic, backends.enabled, backends.allow_tf32
    yield request.param
    torch.set_default_dtype(torch.float32)
    torch._GLOBAL_DEVICE_CONTEXT.device_context = None
    while torch._C._len_torch_function_stack():  # modes that a default device left behind
        torch._C._pop_torch_function_stack()
    torch.set_grad_enabled(True)
    torch.autograd.set_detect_anomaly(False)
    torch.use_deterministic_algorithms(False)
    if torch.get_float32_matmul_precision() != "highest":  # else it would count as set
        torch.set_float32_matmul_precision("highest")
    backends.benchmark, backends.deterministic, backends.enabled, backends.allow_tf32 = flags
    torch.set_num_threads(before[0])
    sys.setrecursionlimit(before[1])
    os.chdir(before[2])


@pytest.mark.parametrize("place", PLACES)
def test_global_state_is_named_and_put_back(
    folder: Path, capsys: pytest.CaptureFixture[str], setting: Setting, place: str
):
    write_changing(folder, place, setting.statement)
    before = setting.read()
    code = main(["analyze", "changing.py:Net", "--input", "8x8", "--format", "json"])
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    assert setting.read() == before
    found = json.loads(captured.out)
    assert found["nodes"][0]["op"] == "convolution"
    if (setting.named, place) != ("grad mode", "in_forward"):  # gradients are off there already
        assert [note for note in found["notes"] if setting.named in note], found["notes"]


def test_global_state_is_named_in_the_text(folder: Path, capsys: pytest.CaptureFixture[str]):
    write_changing(folder, "at_import", "torch.set_default_dtype(torch.float64)")
    try:
        assert main(["analyze", "changing.py:Net", "--input", "8x8"]) == 0
    finally:
        torch.set_default_dtype(torch.float32)
    assert "default dtype" in capsys.readouterr().out


@pytest.mark.parametrize("place", PLACES)
def test_global_state_is_put_back_when_the_model_raises(
    refused: Refused, folder: Path, setting: Setting, place: str
):
    write_changing(folder, place, f"{setting.statement}; raise ValueError('enough')")
    before = setting.read()
    line = refused("analyze", str(folder / "changing.py") + ":Net", "--input", "8x8", code=3)
    assert "enough" in line
    assert setting.read() == before


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("end", ["pass", "raise ValueError"])
def test_random_states_are_put_back(folder: Path, place: str, end: str):
    numpy = pytest.importorskip("numpy")
    write_changing(
        folder, place, "torch.manual_seed(1); random.seed(1); import numpy; "
        f"numpy.random.seed(1); torch.rand(3); {end}"
    )  # fmt: skip
    torch.manual_seed(7), random.seed(7), numpy.random.seed(7)
    states = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].tolist()
    code = main(["analyze", "changing.py:Net", "--input", "8x8"])
    assert code == (0 if end == "pass" else 3)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert numpy.random.get_state()[1].tolist() == states[2]


def test_output_goes_to_the_folder_where_the_command_was_given(folder: Path):
    """Though the model changes it."""
    (folder / "elsewhere").mkdir()
    write_changing(folder, "in_forward", f"os.chdir({str(folder / 'elsewhere')!r})")
    assert main(["analyze", "changing.py:Net", "--input", "8x8", "-o", "result.txt"]) == 0
    assert (folder / "result.txt").exists()
