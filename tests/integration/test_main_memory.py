"""Work in main memory: who made what on the CPU, how often it was copied, and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import srprof
from srprof.cli import main
from srprof.memory.host import HostWork, host_work
from srprof.paths import place
from srprof.words import MIB

MASKS = Path(__file__).parents[1] / "cases" / "masks.py"
SHAPE = (1, 3, 256, 256)
LINES = MASKS.read_text().splitlines()
#: Where the mask is copied, and where its first tensor is made.
COPY = next(i for i, line in enumerate(LINES, 1) if ".to(x.device)" in line)
MADE = next(i for i, line in enumerate(LINES, 1) if "torch.zeros" in line)


@pytest.fixture(scope="module")
def swin() -> srprof.Analysis:
    return srprof.analyze(f"{MASKS}:Swin", SHAPE)


def test_masks_of_a_swin_are_one_line(swin: srprof.Analysis):
    """Four blocks, each with a mask of 1024 windows x 64 x 64 in float32."""
    (work,) = swin.record.main_memory
    assert work.bytes == 4 * 1024 * 64 * 64 * 4 == 64 * MIB
    assert (work.function, work.line, work.times) == ("Shifted.calculate_mask", COPY, 4)
    assert (work.module, work.made_at, work.copied) == ("body.0", MADE, "to")
    assert work.text.endswith(f"masks.py:{COPY}, 4 times, 64 MiB")
    assert work.text.startswith("on the CPU, then copied: calculate_mask, ")
    assert work.text in swin.trace.notes


def test_its_calls_are_nodes_of_their_own_kind(swin: srprof.Analysis):
    copies = [node for node in swin.trace.nodes if node.on == "to-device"]
    assert [node.op for node in copies] == ["_to_copy"] * 4
    assert {node.line for node in copies} == {COPY}
    assert [node.module for node in copies] == [f"body.{i}" for i in range(4)]
    made = [node for node in swin.trace.nodes if node.on == "host"]
    assert {node.function for node in made} == {"Shifted.calculate_mask", "windows"}
    data = swin.to_dict()
    assert sum(node.get("on") == "host" for node in data["nodes"]) == len(made)
    assert data["main_memory"][0]["bytes"] == 64 * MIB


def test_advise_says_what_to_do(capsys: pytest.CaptureFixture[str]):
    assert main(["advise", f"{MASKS}:Swin", "--input", "64x64"]) == 0
    shown = capsys.readouterr().out
    assert "on the CPU, then copied: calculate_mask" in shown
    assert f"device=x.device at {place(str(MASKS), MADE)}" in shown
    assert "once for each size" in shown
    assert main(["advise", f"{MASKS}:Swin", "--input", "64x64", "--format", "json"]) == 0
    (work,) = json.loads(capsys.readouterr().out)["main_memory"]
    assert work["times"] == 4 and "device=x.device" in work["write"]


class Steps(nn.Module):
    """One convolution, then the steps of a test."""

    def __init__(self, steps: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(self.conv(x))


def work_of(steps: Callable[[Tensor], Tensor], **options: Any) -> list[HostWork]:
    return list(host_work(srprof.trace(Steps(steps), (1, 3, 32, 32), **options)))


IMAGE = 3 * 32 * 32 * 4
COPIES: dict[str, Callable[[Tensor], Tensor]] = {
    "to": lambda x: x + torch.ones(1, 3, 32, 32).to(x.device),
    "to a tensor's": lambda x: x + torch.ones(1, 3, 32, 32).to(x),
    "type_as": lambda x: x + torch.ones(1, 3, 32, 32).type_as(x),
    "copy_": lambda x: x * torch.empty_like(x).copy_(torch.rand(1, 3, 32, 32)),
    "cuda": lambda x: x + torch.ones(1, 3, 32, 32).cuda(),
    "numpy": lambda x: x + torch.from_numpy(np.ones((1, 3, 32, 32), np.float32)).to(x.device),
    "by index": lambda x: x + torch.ones(1, 3, 32, 32).repeat(1, 1, 1, 1).to(x.device),
}


@pytest.mark.parametrize("how", COPIES)
def test_each_way_of_copying(how: str):
    (work,) = work_of(COPIES[how])
    assert (work.copied, work.times, work.bytes) == ("to", 1, IMAGE)
    assert work.file == __file__ and work.line


def test_what_is_made_once_and_copied_often():
    def steps(x: Tensor) -> Tensor:
        table = torch.ones(3, 32, 32)
        for _ in range(3):
            x = x + table.to(x.device)
        return x

    (work,) = work_of(steps)
    assert (work.times, work.bytes, work.made) == (3, 3 * IMAGE, IMAGE)
    assert "steps" in work.text and work.text.endswith("3 times, 0.04 MiB")


def test_what_stays_in_main_memory():
    def steps(x: Tensor) -> Tensor:
        return x[:, :, torch.arange(32)]  # a GPU takes indices from there

    (work,) = work_of(steps)
    assert (work.copied, work.bytes) == ("", 32 * 8)
    assert work.text.startswith("on the CPU: steps, ") and work.text.endswith("once, 256 B")


def test_what_goes_to_main_memory_and_back():
    back = lambda x: (x.cpu() * 2).to(x.device)  # noqa: E731
    found = {work.copied: work for work in work_of(back, trace_on="cuda-fake")}
    assert {copied: work.bytes for copied, work in found.items()} == {"from": IMAGE, "to": IMAGE}
    assert found["to"].of_device and "leave it on the device" in found["to"].mend
    assert found["from"].text.startswith("copied to the CPU: ")


@pytest.mark.parametrize(
    "steps",
    [
        lambda x: x + torch.ones(1, 3, 32, 32, device=x.device),
        lambda x: x * 2 + torch.tensor(2.0),
        lambda x: x + x.new_zeros(3, 32, 32),
    ],
    ids=["on the device", "a number", "new_zeros"],
)
def test_what_costs_nothing_is_not_told(steps: Callable[[Tensor], Tensor]):
    assert work_of(steps) == []


def test_a_run_on_the_cpu_has_no_other_memory():
    assert work_of(COPIES["to"], trace_on="cpu") == []
