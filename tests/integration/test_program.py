"""Constructors that run on the GPU and networks that keep things between calls.

The truth is the CPU's allocator: the same source with "cpu" for "cuda" is built and called for
real, and the bytes alive at each op boundary, from the first of the constructor to the last of
the last call, are what srprof says of "cuda" on meta.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import srprof
from srprof.analysis import Analysis
from srprof.call import Call
from srprof.memory.simulation import simulate
from srprof.records import Program, Trace
from srprof.tracing.run import run_program
from srprof.workload import resolve
from tests.cpu_truth import live_bytes

SHAPES = [(1, 3, 16, 16), (1, 3, 12, 16), (1, 3, 16, 16)]

SOURCE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, device):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1, device=device)
        self.second = nn.Conv2d(4, 3, 3, padding=1, device=device)
        self.calls = 0
        self.cache = {{}}
        {constructor}

    def body(self, x):
        return self.second(torch.relu(self.first(x)))

    def forward(self, x):
        self.calls += 1
        {forward}
        return self.body(x)
"""

CONSTRUCTORS = {
    "nothing": "pass",
    "graph that stays": "self.probe = self.body(torch.ones(1, 3, 24, 24, device=device))",
    "graph that goes": "self.body(torch.ones(1, 3, 24, 24, device=device))",
    "backward": "self.body(torch.ones(1, 3, 24, 24, device=device)).sum().backward()",
    "without gradients": (
        "with torch.no_grad(): self.probe = self.body(torch.ones(1, 3, 24, 24, device=device))"
    ),
    "attribute": "self.mean = torch.ones(1, 3, 1, 1, device=device)",
}
FORWARDS = {
    "nothing": "pass",
    "made once": 'self.cache["table"] = self.cache.get("table", torch.ones_like(x))',
    "by size": "self.cache[x.shape] = self.cache.get(x.shape) or [x * 2]",
    "the last": 'self.cache["last"] = x * 2',
    "grows": "self.cache[self.calls] = x * 2",
    "cleared in the second call": "self.cache = dict(table=x * 2) if self.calls == 1 else dict()",
    "read, then replaced": (
        'old = self.cache.get("last"); self.cache["last"] = x * 2 if old is None else old.mean()'
    ),
    "buffer": 'self.calls == 1 and self.register_buffer("table", x * 2)',
    "weights merged": (
        "self.first.weight = "
        "nn.Parameter(self.first.weight * 2) if self.calls == 1 else self.first.weight"
    ),
    "the result": 'self.cache["result"] = self.body(x); return self.cache["result"]',
}


def write(folder: Path, constructor: str, forward: str) -> Path:
    file = folder / "net.py"
    file.write_text(SOURCE.format(constructor=constructor, forward=forward))
    return file


class Whole(nn.Module):
    """A program: builds the network and calls it with each image, in the same process."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.code = source

    def forward(self, *images: torch.Tensor) -> Any:
        scope: dict[str, Any] = {"__name__": "net"}
        exec(self.code, scope)
        with torch.enable_grad():
            net = scope["Net"]("cpu").eval()
        for image in images:
            net(image)
        return net


def program_of(file: Path, shapes: list[tuple[int, ...]] = SHAPES) -> Program:
    return run_program([resolve(Call(f"{file}:Net('cuda')", (shape,))) for shape in shapes])


def wrapped_numbers(trace: Trace) -> list[int]:
    """Bytes of `x * 2`'s 2 at each node, which are in main memory and on the CPU thus counted."""
    found = [0] * len(trace.nodes)
    for storage in trace.storages:
        if storage.host and storage.name == "number":
            found[storage.birth] += storage.nbytes
    return found


def alive(trace: Trace, image: int) -> list[int]:
    """Bytes on the device at the end of each node, without the image."""
    there = sum(s.nbytes for s in trace.storages if s.resident and not s.host)
    numbers = wrapped_numbers(trace)
    return [
        node.live + there - image + more for node, more in zip(trace.nodes, numbers, strict=True)
    ]


@pytest.mark.parametrize(
    ("constructor", "forward"),
    [
        *((constructor, "nothing") for constructor in CONSTRUCTORS),
        *(("graph that stays", forward) for forward in FORWARDS if forward != "nothing"),
    ],
)
def test_every_op_of_a_program_takes_what_the_cpu_allocator_says(
    tmp_path: Path, constructor: str, forward: str
):
    file = write(tmp_path, CONSTRUCTORS[constructor], FORWARDS[forward])
    images = [torch.rand(shape) for shape in SHAPES]
    ops, live = live_bytes(Whole(file.read_text()), *images)
    program = program_of(file)
    assert program.construction is not None
    traces = [program.construction, *program.calls]
    sizes = [0, *(image.nbytes for image in images)]
    ours = [total for t, size in zip(traces, sizes, strict=True) for total in alive(t, size)]
    assert [node.op for trace in traces for node in trace.nodes] == ops
    assert ours == live
    simulation = simulate(program.calls, construction=program.construction)
    usages = [simulation.construction, *simulation.images]
    for trace, size, usage in zip(traces, sizes, usages, strict=True):
        numbers = wrapped_numbers(trace)
        expected = [a + size - n for a, n in zip(alive(trace, size), numbers, strict=True)]
        assert usage is not None
        assert usage.peaks.requested == max(expected)


# -- caches -------------------------------------------------------------------------------------


class Steps(nn.Module):
    """One convolution, and what the test does."""

    def __init__(self, steps: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.steps = steps

    def forward(self, x: torch.Tensor) -> Any:
        return self.steps(self, x)


def cached(steps: Any, trace_on: str = "auto") -> list[int]:
    trace = srprof.trace(Steps(steps), SHAPES[0], trace_on=trace_on)
    return [s.nbytes for s in trace.storages if s.cached]


FEATURES = 4 * 16 * 16 * 4
KEPT: list[Any] = []


def in_a_cycle(self: Any, x: torch.Tensor) -> Any:
    cycle: list[Any] = [self.conv(x)]
    cycle.append(cycle)
    return x + 1


def in_a_global(self: Any, x: torch.Tensor) -> Any:
    KEPT.append(self.conv(x))
    return x + 1


def in_an_attribute(self: Any, x: torch.Tensor) -> Any:
    self.features = self.conv(x)
    return self.features + 1


def given_and_kept(self: Any, x: torch.Tensor) -> Any:
    self.features = self.conv(x)
    return self.features


def in_a_local(self: Any, x: torch.Tensor) -> Any:
    features = self.conv(x)
    return features + 1


@pytest.mark.parametrize("trace_on", ["meta", "cpu"])
@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (in_a_local, []),
        (in_a_cycle, []),
        (in_an_attribute, [FEATURES]),
        (given_and_kept, [FEATURES]),
        (in_a_global, [FEATURES]),
    ],
)
def test_what_outlives_a_call(steps: Any, expected: list[int], trace_on: str):
    assert cached(steps, trace_on) == expected
    KEPT.clear()


def analyzed(model: Any, **options: Any) -> Analysis:
    return srprof.analyze(model, SHAPES[0], granularity=1, **options)


def test_a_cache_stays_for_later_images():
    """The largest image runs first; what it leaves comes on top of the second's own."""
    options = {"protocol": "ntire", "sizes": [(64, 64), (64, 64)]}
    plain = analyzed(Steps(lambda self, x: self.conv(x)), **options)
    kept = analyzed(Steps(given_and_kept), **options)
    assert plain.program is None
    assert kept.program is not None
    more = kept.simulation.peak_requested - plain.simulation.peak_requested
    assert more == 4 * 64 * 64 * 4  # the second call makes its features while the first's are there


def test_repeat_of_a_call_that_caches_finds_its_cache():
    def steps(self: Any, x: torch.Tensor) -> Any:
        if not hasattr(self, "table"):
            self.table = torch.ones(1, 4, 16, 16, device=x.device)
        return self.conv(x) * self.table

    found = analyzed(Steps(steps), repeat=3)
    assert found.program is not None
    assert [[n.op for n in t.nodes] for t in found.program.calls] == [
        ["ones", "convolution", "mul"],
        ["convolution", "mul"],
        ["convolution", "mul"],
    ]
    peaks = [image.peaks.requested for image in found.simulation.images]
    assert peaks[0] == peaks[1] == peaks[2]
    assert len(found.to_dict()["nodes"]) == 3
    assert found.to_frame()["allocated"].notna().all()


def test_plain_networks_are_traced_once_for_each_size(monkeypatch: pytest.MonkeyPatch):
    found = srprof.analyze("fmen_s", "32x32", protocol="ntire", sizes=[(16, 16), (16, 16)])
    assert found.program is None
    assert len(found.history) == 2


# -- constructors -------------------------------------------------------------------------------

BUILDS = CONSTRUCTORS["graph that stays"].replace("24, 24", "128, 128")


def test_ntire_counts_the_constructor_and_single_does_not(tmp_path: Path):
    file = write(tmp_path, BUILDS, "pass")
    spec = f"{file}:Net('cuda')"
    single = analyzed(spec)
    ntire = analyzed(spec, protocol="ntire", sizes=[(16, 16)])
    assert single.trace.builds_on_device
    assert single.simulation.construction is None
    built = ntire.simulation.construction
    assert built is not None
    assert ntire.simulation.peak_image is None
    assert ntire.simulation.peak_allocated == built.peaks.allocated
    assert ntire.simulation.peak_allocated > 10 * single.simulation.peak_allocated
    allocator = ntire.to_dict()["memory"]["allocator"]
    assert (allocator["construction"], allocator["peak_image"]) == (built.peaks.allocated, None)
    assert single.to_dict()["memory"]["allocator"]["construction"] is None
    assert "in the constructor" in str(ntire)
    assert "The constructor by itself takes up to" in str(ntire)


def test_what_the_constructor_leaves_stays_for_all_images(tmp_path: Path):
    """The graph of its forward: the image, the activation and the result."""
    file = write(tmp_path, BUILDS, "pass")
    (tmp_path / "plain").mkdir()
    without = write(tmp_path / "plain", "pass", "pass")
    graph = (3 + 4 + 3) * 128 * 128 * 4
    runs = [program_of(f) for f in (file, without)]
    kept, plain = (simulate(p.calls, construction=p.construction) for p in runs)
    for more, less in zip(kept.images, plain.images, strict=True):
        assert more.peaks.requested - less.peaks.requested == graph


def test_a_constructor_on_the_cpu_takes_nothing_on_the_gpu(tmp_path: Path):
    file = write(tmp_path, BUILDS, "pass")
    found = analyzed(f"{file}:Net('cpu')", protocol="ntire", sizes=[(16, 16)])
    assert not found.trace.builds_on_device
    assert found.program is None


@pytest.mark.filterwarnings("error::UserWarning")
def test_weights_are_loaded_into_a_constructor_that_uses_the_gpu(tmp_path: Path):
    file = write(tmp_path, BUILDS, "pass")
    scope: dict[str, Any] = {"__name__": "net"}
    exec(file.read_text(), scope)
    torch.save(scope["Net"]("cpu").state_dict(), tmp_path / "weights.pth")
    options = {"weights": str(tmp_path / "weights.pth"), "protocol": "ntire", "sizes": [(16, 16)]}
    found = analyzed(f"{file}:Net('cuda')", **options)
    assert found.simulation.construction is not None
    assert found.memory.net == analyzed(f"{file}:Net('cuda')").memory.net


def test_a_constructor_that_raises_on_the_gpu_is_one_clear_error(tmp_path: Path):
    file = write(tmp_path, "raise ValueError(torch.ones(2, device=device).device.type)", "pass")
    with pytest.raises(srprof.ModelError, match=r"ValueError at .*net\.py:13") as caught:
        analyzed(f"{file}:Net('cuda')", protocol="ntire", sizes=[(16, 16)])
    assert "\n" not in str(caught.value)
