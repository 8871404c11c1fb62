"""Runs that are not seen whole: threads are followed; else one note says what is missing."""

from __future__ import annotations

import _thread
import asyncio
import json
import queue
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import srprof
from srprof.cli import main
from tests.cases.inputs import Threads

SHAPE = (1, 3, 32, 32)
#: Two convolutions of 3 x 8 x 3 x 3 at 32x32.
MACS = 2 * 3 * 8 * 9 * 32 * 32

_pool = ThreadPoolExecutor(1)
_pool.submit(time.sleep, 0).result()  # its thread was there before any run


class Two(nn.Module):
    """Two convolutions of one image, run by the steps of a test."""

    def __init__(self, steps: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 8, 3, 1, 1) for _ in range(2))
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(self, x)


def executor(self: Any, x: Tensor) -> Tensor:
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(lambda conv: conv(x), self.convs))


def executor_of_the_program(self: Any, x: Tensor) -> Tensor:
    return sum(_pool.map(lambda conv: conv(x), self.convs))


def pool_of_multiprocessing(self: Any, x: Tensor) -> Tensor:
    with ThreadPool(2) as pool:
        return sum(pool.map(lambda conv: conv(x), self.convs))


def threads(self: Any, x: Tensor) -> Tensor:
    results = {}

    def work(index: int) -> None:
        results[index] = self.convs[index](x)

    started = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return results[0] + results[1]


class Worker(threading.Thread):
    def __init__(self, conv: nn.Module, x: Tensor) -> None:
        super().__init__()
        self.conv, self.x = conv, x

    def run(self) -> None:
        self.result = self.conv(self.x)


def threads_of_a_class(self: Any, x: Tensor) -> Tensor:
    started = [Worker(conv, x) for conv in self.convs]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return started[0].result + started[1].result


def a_queue(self: Any, x: Tensor) -> Tensor:
    tasks: queue.Queue[Any] = queue.Queue()
    results: queue.Queue[Tensor] = queue.Queue()

    def work() -> None:
        while (conv := tasks.get()) is not None:
            results.put(conv(x))

    thread = threading.Thread(target=work)
    thread.start()
    for task in (*self.convs, None):
        tasks.put(task)
    thread.join()
    return results.get() + results.get()


def coroutines(self: Any, x: Tensor) -> Tensor:
    async def both() -> list[Tensor]:
        return await asyncio.gather(*(asyncio.to_thread(conv, x) for conv in self.convs))

    return sum(asyncio.run(both()))


def tasks_of_tasks(self: Any, x: Tensor) -> Tensor:
    with ThreadPoolExecutor(2) as pool:
        inner = lambda: pool.submit(self.convs[0], x).result()  # noqa: E731
        return pool.submit(inner).result() + self.convs[1](x)


WAYS = (
    *(executor, executor_of_the_program, pool_of_multiprocessing, threads, threads_of_a_class),
    *(a_queue, coroutines, tasks_of_tasks),
)


@pytest.mark.parametrize("trace_on", ["auto", "cpu", "cuda-fake"])
@pytest.mark.parametrize("steps", WAYS, ids=lambda steps: steps.__name__)
def test_calls_in_threads_are_seen(steps: Any, trace_on: str):
    found = srprof.analyze(Two(steps), SHAPE, trace_on=trace_on)
    assert (found.complexity.macs, found.complexity.flops_ntire) == (MACS, MACS)
    convolutions = [node for node in found.trace.nodes if node.op == "convolution"]
    assert {node.module for node in convolutions} == {"convs.0", "convs.1"}
    assert {node.file for node in convolutions} == {__file__}
    assert found.trace.unseen == ()
    assert found.trace.device == {"auto": "meta"}.get(trace_on, trace_on)


def test_threads_of_the_cases():
    found = srprof.analyze(Threads(), SHAPE)
    assert found.complexity.macs == 442_368


@pytest.mark.parametrize("steps", [executor, threads, tasks_of_tasks])
def test_threads_take_turns_in_one_order(steps: Any):
    runs = [srprof.trace(Two(steps), SHAPE) for _ in range(5)]
    assert len({tuple((n.op, n.module, n.live) for n in run.nodes) for run in runs}) == 1
    assert not any("two runs" in note for run in runs for note in run.notes)


def test_an_error_in_a_thread_is_the_networks_own():
    def steps(self: Any, x: Tensor) -> Tensor:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self.convs[0], x[:, :2]).result()

    with pytest.raises(srprof.ModelError, match="in convolution of 1x2x32x32"):
        srprof.trace(Two(steps), SHAPE)


def test_nothing_of_the_threads_stays_changed():
    before = (threading.Thread.start, ThreadPoolExecutor.submit, threading.excepthook)
    srprof.trace(Two(executor), SHAPE)
    assert (threading.Thread.start, ThreadPoolExecutor.submit, threading.excepthook) == before


def unfollowed(self: Any, x: Tensor) -> Tensor:
    results: list[Tensor] = []
    for conv in self.convs:
        _thread.start_new_thread(lambda conv=conv: results.append(conv(x)), ())
    while len(results) < 2:
        time.sleep(0.001)
    return results[0] + results[1]


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu())


class Around(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.head, self.body = nn.Conv2d(3, 3, 1), body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.head(x))


def scripted() -> nn.Module:
    return torch.jit.script(Body().eval())


def traced() -> nn.Module:
    return torch.jit.trace(Body().eval(), torch.rand(SHAPE))


def frozen() -> nn.Module:
    return torch.jit.freeze(scripted())


def optimized() -> nn.Module:
    return torch.jit.optimize_for_inference(scripted())


def exported() -> Any:
    return torch.export.export(Body().eval(), (torch.rand(SHAPE),))


def in_part_scripted() -> nn.Module:
    return Around(scripted()).eval()


def in_part_frozen() -> nn.Module:
    return Around(frozen()).eval()


COUNTS = {"flops_ntire", "activations", "convs"}
UNKNOWN = {
    scripted: COUNTS,
    traced: COUNTS,
    in_part_scripted: COUNTS,
    in_part_frozen: COUNTS | {"params"},
    exported: COUNTS,
    frozen: COUNTS | {"params"},
    optimized: COUNTS | {"params", "macs", "fvcore_flops"},
    lambda: Two(unfollowed): {"macs", "fvcore_flops"},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("build", UNKNOWN, ids=lambda build: build.__name__)
def test_what_cannot_be_said_is_null_and_one_note_says_why(build: Callable[[], Any]):
    found = srprof.analyze(build(), SHAPE)
    data = found.to_dict()["complexity"]
    assert {name for name, value in data.items() if value is None} == UNKNOWN[build]
    notes = [note for note in found.trace.notes if note.startswith("not seen whole: ")]
    assert len(notes) == 1 == len(found.trace.unseen) and notes[0] in str(found)
    assert not any("two runs" in note for note in found.trace.notes)


def test_macs_and_memory_of_torchscript_are_right():
    plain = srprof.analyze(Body(), SHAPE, granularity=1, trace_on="cpu")
    for build in (scripted, frozen):
        found = srprof.analyze(build(), SHAPE, granularity=1)
        assert found.complexity.macs == plain.complexity.macs
        assert found.memory.eager.nbytes == plain.memory.eager.nbytes


@torch.compile
def compiled(x: Tensor) -> Tensor:
    return x * 2 + 1


def compiled_function(_self: Any, x: Tensor) -> Tensor:
    return compiled(x)


def own_compile() -> nn.Module:
    model = Around(Body())
    model.body.compile()
    return model


COMPILED: dict[str, Callable[[], Any]] = {
    "the model": lambda: torch.compile(Body()),
    "body": lambda: Around(torch.compile(Body())),
    "body by itself": own_compile,
    "a function": lambda: Two(compiled_function),
}


@pytest.mark.parametrize("what", COMPILED)
def test_compiled_parts_are_recorded_as_they_are_written(what: str):
    found = srprof.analyze(COMPILED[what](), SHAPE)
    assert {node.op for node in found.trace.nodes} <= {"convolution", "relu", "mul", "add"}
    (part,) = found.trace.unseen
    assert part.figures == () and "torch.compile" in part.text
    assert {"the model": "the model", "a function": "compiled"}.get(what, "body") in part.text


FILE = """
import torch
from torch import nn

class Body(nn.Module):
    def __init__(self, n=8):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, n, 3, 1, 1), nn.Conv2d(n, 3, 3, 1, 1)

    def forward(self, x):
        return self.b(self.a(x).relu())

def Script(n=8):
    return torch.jit.script(Body(n).eval())

def Frozen():
    return torch.jit.freeze(Script())
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(FILE)
    return "net.py"


def test_rank_has_a_dash_and_no_best(file: str, capsys: pytest.CaptureFixture[str]):
    models = [f"{file}:{name}" for name in ("Body", "Script", "Frozen")]
    assert main(["rank", *models, "--input", "32x32"]) == 0
    shown = capsys.readouterr().out
    shown = shown.replace("by cost", "")  # none has a PSNR
    rows = {line.split()[1].partition(":")[2]: line.split() for line in shown.splitlines()
            if line.split()[1:] and line.split()[1].startswith(file)}  # fmt: skip
    assert rows["Frozen"][2:4] == ["-", "-"]
    assert rows["Script"][3] == "-" and "0.00*" not in shown
    assert "net.py:Script: not seen whole: TorchScript" in shown


def test_diff_says_it(file: str, capsys: pytest.CaptureFixture[str]):
    assert main(["diff", f"{file}:Body", f"{file}:Script", "--input", "32x32"]) == 0
    shown = capsys.readouterr().out
    assert "net.py:Script: not seen whole: TorchScript" in shown
    assert not re.search("(?m)^ *FLOPs  ", shown) and "MACs" in shown


def test_check_says_it_and_fails_where_a_limit_is_meant(
    file: str, capsys: pytest.CaptureFixture[str]
):
    config = 'baseline = false\n[[check]]\nmodel = "net.py:Script"\ninput = "32x32"\n'
    Path("srprof.toml").write_text(config + 'eager = "10MiB"\n')
    assert main(["check"]) == 0
    assert "note: not seen whole: TorchScript" in capsys.readouterr().out
    Path("srprof.toml").write_text(config + 'flops = "1G"\n')
    assert main(["check", "--format", "json"]) == 1
    (result,) = json.loads(capsys.readouterr().out)["checks"]
    assert "FLOPs cannot be checked: not seen whole: TorchScript" in result["problems"][0]
