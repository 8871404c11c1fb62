"""Code that asks for a GPU by itself, traced on meta: what it gets, and who says so."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import srprof
from srprof.memory.host import host_work
from srprof.memory.model import memory_model

SHAPE = (1, 3, 8, 8)
PUTS = "stands on the meta device"


class Net(nn.Module):
    """One convolution, and what the test does with its result."""

    def __init__(self, steps: Callable[[Any, torch.Tensor], Any]) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)
        self.steps = steps

    def forward(self, x: torch.Tensor) -> Any:
        return self.steps(self, x)


def trace(steps: Callable[[Any, torch.Tensor], Any]) -> srprof.Trace:
    """On meta, with any warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return srprof.trace(Net(steps), SHAPE)


def in_default_device(self: Any, x: torch.Tensor) -> Any:
    with torch.device("cuda"):
        return self.body(x) + torch.zeros(8)


PUT = [
    lambda self, x: self.body(x) + torch.zeros(8).cuda(),
    lambda self, x: self.body(x) + torch.zeros(8).cuda(0),
    lambda self, x: self.body(x) + torch.zeros(8).cuda(device="cuda", non_blocking=True),
    lambda self, x: self.body(x) + torch.zeros(8).to("cuda:0"),
    lambda self, x: self.body(x) + torch.zeros(8).to(0),
    lambda self, x: self.body(x) + torch.zeros(8).to(device="cuda"),
    lambda self, x: self.body(x) + torch.zeros(8).to(torch.device("cuda", 0), torch.float32),
    lambda self, x: self.body(x) + torch.zeros(8, device="cuda"),
    lambda self, x: self.body(x) + torch.zeros(8, device=0),
    lambda self, x: self.body(x) + torch.tensor([1.0], device=torch.device("cuda:0")),
    lambda self, x: self.body(x) + x.new_zeros(8, device="cuda"),
    lambda self, x: self.body(x) + torch.rand_like(x[:, :1], device="cuda"),
    lambda self, x: self.body(x) + torch.arange(8.0).cuda(),
    lambda self, x: self.body.cuda()(x.cuda()),
    lambda self, x: self.body.to("cuda")(x),
    lambda self, x: nn.Conv2d(3, 4, 1, device="cuda")(x),
    lambda self, x: nn.Conv2d(3, 4, 1).cuda()(x),
    in_default_device,
]


@pytest.mark.parametrize("steps", PUT, ids=range(len(PUT)))
def test_what_the_code_puts_on_the_gpu_is_device_memory(steps: Callable[[Any, Any], Any]):
    found = trace(steps)
    assert found.device == "meta"
    assert found.nodes[-1].shape == (1, 4, 8, 8)
    (note,) = (n for n in found.notes if PUTS in n)
    assert "test_gpu_requests.py:" in note
    assert not any("mixed" in note for note in found.notes)
    memory = memory_model(found, granularity=1)
    assert [p.eager - p.net for p in memory.parts] == [n.live for n in found.nodes]


def test_bytes_of_what_is_put_there():
    """As if the code had said `device=x.device`."""

    def with_cuda(self: Any, x: torch.Tensor) -> Any:
        return self.body(x) * torch.ones(1, 4, 8, 8, device="cuda")

    def with_device(self: Any, x: torch.Tensor) -> Any:
        return self.body(x) * torch.ones(1, 4, 8, 8, device=x.device)

    here, there = trace(with_cuda), trace(with_device)
    assert [(n.op, n.live) for n in here.nodes] == [(n.op, n.live) for n in there.nodes]
    assert there.notes == ()


def test_main_memory_stays_main_memory():
    def steps(self: Any, x: torch.Tensor) -> Any:
        table = torch.zeros(1, 4, 8, 8)  # 1024 bytes of main memory
        there = torch.zeros(1, 4, 8, 8, device="cpu")
        return self.body(x) + table.cuda() + there.to("cuda")

    found = trace(steps)
    host = [s for s in found.storages if s.host and s.role == "activation"]
    assert [s.nbytes for s in host] == [1024, 1024]
    assert [work.bytes for work in host_work(found)] == [2048]


def test_what_comes_back_to_the_cpu_needs_data_as_ever():
    """A copy to main memory has no data to take: the error, or the run on the CPU, is today's."""
    found = srprof.trace(Net(lambda self, x: self.body(x).cpu()), SHAPE)
    assert found.device == "cpu"


ASKS = """
import torch
from torch import nn

{top}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)
        {constructor}

    def forward(self, x):
        {forward}
        return self.body(x) + torch.zeros(8, device=device)
"""
CHOICE = 'device = torch.device("cuda" if torch.cuda.is_available() else "cpu")'


@pytest.mark.skipif(torch.cuda.is_available(), reason="there the answer is yes anyhow")
@pytest.mark.parametrize(
    "where",
    [
        {"top": CHOICE, "constructor": "", "forward": ""},
        {"top": "", "constructor": f"self.{CHOICE}", "forward": "device = self.device"},
        {"top": "", "constructor": "", "forward": CHOICE},
    ],
    ids=["module", "constructor", "forward"],
)
def test_a_question_is_answered_as_on_a_gpu(tmp_path: Path, where: dict[str, str]):
    (tmp_path / "net.py").write_text(ASKS.format(**where))
    for _ in range(2):
        found = srprof.trace(f"{tmp_path / 'net.py'}:Net", SHAPE)
        assert found.device == "meta"
        assert any("is_available()" in n and "net.py:" in n for n in found.notes)
        assert not any("mixed" in note for note in found.notes)
        assert torch.cuda.is_available() is False


@pytest.mark.skipif(torch.cuda.is_available(), reason="there the answer is yes anyhow")
def test_torchs_own_code_is_answered_truly():
    """`DataParallel` asks too, and would look for the GPU's properties."""
    model = nn.DataParallel(Net(lambda self, x: self.body(x.cuda())))
    found = srprof.trace(model, SHAPE)
    assert found.device == "meta"
    assert any(PUTS in note for note in found.notes)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there the answer is yes anyhow")
def test_the_way_without_a_gpu_is_taken_where_the_other_cannot_be():
    def steps(self: Any, x: torch.Tensor) -> Any:
        if torch.cuda.is_available():
            return torch.cuda.get_device_properties(0).multi_processor_count * self.body(x)
        return self.body(x)

    found = trace(steps)
    assert [node.op for node in found.nodes] == ["convolution"]
    (note,) = found.notes
    assert note.startswith("the code asks for torch.cuda.is_available(); traced as if there was")
    assert "Torch not compiled with CUDA" in note
    assert "\n" not in note


def test_calls_that_only_wait_do_nothing():
    def steps(self: Any, x: torch.Tensor) -> Any:
        torch.cuda.synchronize()
        x = self.body(x.cuda(torch.cuda.current_device()))
        torch.cuda.empty_cache()
        torch.cuda.synchronize()
        return x

    assert [node.op for node in trace(steps).nodes] == ["convolution"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there it works")
@pytest.mark.parametrize(
    "steps",
    [
        lambda self, x: self.body(x) + torch.cuda.FloatTensor(8),
        lambda self, x: torch.cuda.get_device_name() and self.body(x),
        lambda self, x: (torch.cuda.Stream(), self.body(x)),
        lambda self, x: self.body(x) + torch.zeros(8, generator=torch.Generator("cuda")),
    ],
)
def test_what_cannot_be_had_is_one_clear_error(steps: Callable[[Any, Any], Any]):
    with pytest.raises(srprof.ModelError) as caught:
        srprof.trace(Net(steps), SHAPE)
    message = str(caught.value)
    assert "test_gpu_requests.py:" in message
    assert "\n" not in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there it works")
def test_a_run_on_the_cpu_has_no_gpu():
    with pytest.raises(srprof.ModelError, match=r"device=x\.device"):
        srprof.trace(Net(PUT[0]), SHAPE, trace_on="cpu")


def test_who_holds_it_is_known():
    def steps(self: Any, x: torch.Tensor) -> Any:
        first = self.body(x.cuda())
        second = torch.relu(first)
        return torch.relu(second)

    analysis = srprof.analyze(Net(steps), SHAPE)
    assert "first" in {h.variable for h in analysis.held_at_peak}


def test_a_constructor_that_puts_itself_there(tmp_path: Path):
    (tmp_path / "net.py").write_text(
        ASKS.format(top="", constructor="self.cuda()", forward='device = "cuda"')
    )
    found = srprof.trace(f"{tmp_path / 'net.py'}:Net", SHAPE)
    assert [node.op for node in found.nodes] == ["convolution", "zeros", "add"]


def test_plain_code_is_run_once(tmp_path: Path):
    """Nobody pays for a stand-in that he does not ask for."""
    log = str(tmp_path / "calls")  # what a lambda closes over is copied with it

    def forward(self, x):
        with open(log, "a") as calls:
            calls.write(".")
        return self.body(x)

    srprof.trace(Net(forward), SHAPE)
    assert (tmp_path / "calls").read_text() == ".."  # for the record, and for who holds what


def test_a_program_that_uses_the_gpu_already(monkeypatch: pytest.MonkeyPatch):
    """torch initialises CUDA once, so that a later request could not be seen."""
    plain = srprof.trace("fmen_s", "32x32")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert srprof.trace("fmen_s", "32x32") == plain
    found = trace(lambda self, x: self.body(x) + torch.zeros(8, device="cuda"))
    assert any(PUTS in note for note in found.notes)


def test_a_region_around_the_analysis():
    """Of a program with a GPU; here torch is told that it is on."""
    model = Net(lambda self, x: self.body(x))
    torch.set_autocast_enabled("cuda", True)
    try:
        found = srprof.trace(model, SHAPE)
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.clear_autocast_cache()
    assert found.nodes[-1].outputs[0].dtype == "float16"
