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
from srprof.cli import main
from srprof.leaning.run import savings
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


def warmed_up(device):
    net = Net(device).eval()
    image = torch.rand(1, 3, 24, 24, device=device)
    for _ in range(3):
        result = net(image)
    return net
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
    "results kept": (
        "self.kept = [self.body(torch.ones(1, 3, 24, 24, device=device)) for _ in range(3)]"
    ),
    "calls itself": "for _ in range(3): result = self(torch.ones(1, 3, 24, 24, device=device))",
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
    "warm-up passes": """
        if self.calls == 1:
            with torch.enable_grad():
                for _ in range(3):
                    result = self.body(torch.ones(1, 3, 24, 24, device=x.device))""",
}


def write(folder: Path, constructor: str, forward: str) -> Path:
    file = folder / "net.py"
    file.write_text(SOURCE.format(constructor=constructor, forward=forward))
    return file


class Whole(nn.Module):
    """A program: builds the network and calls it with each image, in the same process."""

    def __init__(self, source: str, factory: str = "Net") -> None:
        super().__init__()
        self.code, self.factory = source, factory

    def forward(self, *images: torch.Tensor) -> Any:
        scope: dict[str, Any] = {"__name__": "net"}
        exec(self.code, scope)
        with torch.enable_grad():
            net = scope[self.factory]("cpu").eval()
        for image in images:
            net(image)
        return net


def program_of(file: Path, shapes: list[tuple[int, ...]] = SHAPES, factory: str = "Net") -> Program:
    return run_program([resolve(Call(f"{file}:{factory}('cuda')", (shape,))) for shape in shapes])


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
    ("constructor", "forward", "factory"),
    [
        *((constructor, "nothing", "Net") for constructor in CONSTRUCTORS),
        *(("graph that stays", forward, "Net") for forward in FORWARDS if forward != "nothing"),
        ("nothing", "nothing", "warmed_up"),
        ("calls itself", "the last", "warmed_up"),
    ],
)
def test_every_op_of_a_program_takes_what_the_cpu_allocator_says(
    tmp_path: Path, constructor: str, forward: str, factory: str
):
    file = write(tmp_path, CONSTRUCTORS[constructor], FORWARDS[forward])
    images = [torch.rand(shape) for shape in SHAPES]
    ops, live = live_bytes(Whole(file.read_text(), factory), *images)
    program = program_of(file, factory=factory)
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


MEMO = """
import functools
import torch

@functools.lru_cache
def table(side, device):
    return torch.ones(1, 3, 1, side, device=device)

"""
#: Where what a call changes can stand, besides the network's own attributes.
ELSEWHERE = {
    "the file's": ("CALLED = []\n", "CALLED.append(1) if CALLED else (CALLED.append(0), x * 2)"),
    "a class's": ("", "Net.ready = hasattr(Net, 'ready') or bool((x * 2).shape)"),
    "an object's": ("", "self.state = getattr(self, 'state', None) or {'of': [x.mean().shape]}"),
    "a mode's": ("", "self.train() if not self.training else x * 2"),
    "a cached function's": (MEMO, "x = x * table(x.shape[-1], x.device)"),
    "a hook's": (
        "",
        "if self.calls == 1: self.hook = self.first.register_forward_hook(lambda m, i, o: o * 2)\n"
        "        elif self.calls == 2: self.hook.remove()",
    ),
}


@pytest.mark.parametrize("forward", [*FORWARDS, *ELSEWHERE])
def test_a_second_call_that_is_another(tmp_path: Path, forward: str):
    """What a network that changes itself takes then is the second image's of its program."""
    before, steps = ELSEWHERE.get(forward) or ("", FORWARDS[forward])
    file = write(tmp_path, "pass", steps)
    file.write_text(before + file.read_text())
    found = analyzed(f"{file}:Net('cpu')")
    program = run_program([resolve(Call(f"{file}:Net('cpu')", (SHAPES[0],)))] * 2)
    second = simulate(program.calls).images[1]
    differs = forward not in ("nothing", "weights merged")
    assert (found.warm is not None) == differs or forward == "weights merged"
    assert second.peaks == (found.warm or found.simulation.images[0]).peaks
    said = "A second call of the same network takes"
    assert (said in str(found)) == (found.warm is not None)


def test_a_first_call_that_warms_up_is_told_and_counts_once(tmp_path: Path):
    file = write(tmp_path, "pass", FORWARDS["warm-up passes"])
    spec = f"{file}:Net('cpu')"
    alone = analyzed(spec)
    warm = alone.to_dict()["memory"]["allocator"]["warm"]
    more = 3 * 5  # the image, two convolutions, relu and what autograd saves of it, each pass
    assert (warm["only_first"], warm["only_second"]) == (more, 0)
    assert Path(warm["file"]) == file
    assert warm["allocated"] < alone.value("allocated")
    assert f"the first makes {more} calls that the second does not" in str(alone)
    several = analyzed(spec, protocol="ntire", sizes=[(16, 16)] * 2)
    first, *others = (image.peaks.requested for image in several.simulation.images)
    assert first == alone.simulation.peak_requested
    assert all(other < first / 2 for other in others)


def test_autograd_on_fake_cuda_tensors_is_refused(tmp_path: Path):
    """It would end the process."""
    file = write(tmp_path, "pass", FORWARDS["warm-up passes"])
    with pytest.raises(srprof.ModelError, match=r"switches autograd on.*use --trace-on meta"):
        analyzed(f"{file}:Net('cpu')", trace_on="cuda-fake")


# -- constructors -------------------------------------------------------------------------------

BUILDS = CONSTRUCTORS["graph that stays"].replace("24, 24", "128, 128")


def test_ntire_counts_the_constructor_and_single_does_not(tmp_path: Path):
    file = write(tmp_path, BUILDS.replace("self.probe = ", ""), "pass")
    spec = f"{file}:Net('cuda')"
    single = analyzed(spec)
    ntire = analyzed(spec, protocol="ntire", sizes=[(16, 16)])
    assert single.trace.builds_on_device
    built = ntire.simulation.construction
    assert built is not None
    assert ntire.simulation.peak_image is None
    assert ntire.simulation.peak_allocated == built.peaks.allocated
    assert ntire.simulation.peak_allocated > 10 * single.simulation.peak_allocated
    allocator = ntire.to_dict()["memory"]["allocator"]
    assert (allocator["construction"], allocator["peak_image"]) == (built.peaks.allocated, None)
    assert allocator["constructor"]["counted"]
    assert "in the constructor" in str(ntire)
    assert "The constructor by itself takes up to" in str(ntire)
    assert "--protocol ntire counts that" not in str(ntire)
    allocator = single.to_dict()["memory"]["allocator"]
    assert allocator["construction"] == built.peaks.allocated
    assert not allocator["constructor"]["counted"]
    assert "--protocol ntire counts that" in str(single)


@pytest.mark.parametrize("protocol", ["single", "ntire"])
def test_what_ran_while_a_network_was_built_is_said(tmp_path: Path, protocol: str):
    """Of three warm-up passes two are alive at once: one's graph, and the next while it runs."""
    file = write(tmp_path, "pass", "pass")
    found = analyzed(f"{file}:warmed_up('cuda')", protocol=protocol, sizes=[(16, 16)])
    line = 1 + file.read_text().splitlines().index("        result = net(image)")
    graph = (4 + 3) * 24 * 24 * 4  # the result, and the map that relu and the convolution save
    running = (4 + 4) * 24 * 24 * 4  # in relu
    image = 3 * 24 * 24 * 4
    (passes,) = found.to_dict()["memory"]["allocator"]["constructor"]["passes"]
    assert passes == {
        "kind": "Net",
        "file": str(file),
        "line": line,
        "calls": 3,
        "alive": 2,
        "autograd": True,
        "bytes": graph + running,
    }
    built = found.simulation.construction
    assert built is not None
    assert built.peaks.requested == graph + running + image + found.memory.net
    assert f"are of 2 of the 3 calls of Net at {file}:{line}, recorded by autograd" in str(found)


def test_a_single_call_finds_what_the_constructor_left(tmp_path: Path):
    graph = (3 + 4 + 3) * 128 * 128 * 4
    plain, kept = (
        analyzed(f"{write(tmp_path, text, 'pass')}:Net('cuda')") for text in ("pass", BUILDS)
    )
    assert kept.memory.net - plain.memory.net == graph
    assert kept.memory.eager.nbytes - plain.memory.eager.nbytes == graph
    assert kept.cold.peak_requested - plain.cold.peak_requested == graph
    assert kept.to_dict()["memory"]["allocator"]["constructor"]["left"] == graph
    assert plain.to_dict()["memory"]["allocator"]["constructor"]["left"] == 0
    assert "of what it made besides weights stay there for every call" in str(kept)


#: Ways to put a pass on the GPU in a constructor; `at` makes an image there.
WAYS = {
    "cuda": "self.cuda()(at.cuda())",
    "to": "self.to('cuda:0')(at.to('cuda:0', non_blocking=True))",
    "number": "self.cuda(0)(at.to(0))",
    "if there is one": (
        "there = torch.device('cuda' if torch.cuda.is_available() else 'cpu'); "
        "self.to(there)(at.to(there))"
    ),
    "a parameter's": "self.cuda()(at.to(next(self.parameters()).device))",
    "context": "self.cuda()\n        with torch.device('cuda'): self(torch.ones(1, 3, 24, 24))",
    "timed": (
        "start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2)); start.record(); "
        "self.cuda()(at.cuda()); end.record(); torch.cuda.synchronize(); start.elapsed_time(end)"
    ),
    "counted": (
        "torch.cuda.reset_peak_memory_stats(); self.cuda()(at.cuda()); "
        "self.took = torch.cuda.max_memory_allocated()"
    ),
    "data taken back": "float(self.cuda()(at.cuda()).detach().mean())",
    "back to main memory": "self.cuda()(at.cuda()); self.cpu()",
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_run_on_the_gpu_while_building(tmp_path: Path, way: str):
    file = write(tmp_path, f"at = torch.ones(1, 3, 24, 24); {WAYS[way]}", "pass")
    found = analyzed(f"{file}:Net('cpu')")
    (passes,) = found.to_dict()["memory"]["allocator"]["constructor"]["passes"]
    assert (passes["kind"], passes["calls"], passes["autograd"]) == ("Net", 1, True)
    built = found.simulation.construction
    assert built is not None
    assert built.peaks.requested == 892 + (3 + 4 + 4) * 24 * 24 * 4  # in relu
    if way == "counted":
        assert "the allocator's counters" in str(found)
    taken_back = [note for note in found.trace.notes if "takes data back from the GPU" in note]
    assert len(taken_back) == (way in ("data taken back", "back to main memory"))


def test_what_a_constructor_left_is_in_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    spec = f"{write(tmp_path, CONSTRUCTORS['graph that stays'], 'pass')}:Net('cuda')"
    assert main(["validate", spec, "--inputs", "16x16"]) == 0, capsys.readouterr().out
    for command in ("advise", "lean", "diff", "rank"):
        specs = [spec] * (1 + (command == "diff"))
        assert main([command, *specs, "--input", "16x16"]) == 0, capsys.readouterr().err
    plain = f"{write(tmp_path, 'pass', 'pass')}:Net('cpu')"
    saved = [savings(resolve(Call(s, (SHAPES[0],))), "exact") for s in (spec, plain)]
    kept, without = ([stage.peaks["eager"] for stage in found.stages] for found in saved)
    assert kept == without  # what stays is nobody's saving


def test_a_constructor_does_not_work_for_real(tmp_path: Path):
    runs = "assert self.body(torch.ones(1, 3, 24, 24).cuda()).is_meta"
    file = write(tmp_path, f"self.cuda(); {runs}", "pass")
    assert analyzed(f"{file}:Net('cpu')").simulation.construction is not None


def test_a_network_that_only_the_cpu_can_run_says_what_its_constructor_takes(tmp_path: Path):
    text = CONSTRUCTORS["graph that goes"]
    file = write(tmp_path, text, "assert float(x.mean()) < 2")
    there, elsewhere = (
        analyzed(f"{file}:Net('cuda')", protocol=protocol, sizes=[(16, 16)])
        for protocol in ("single", "ntire")
    )
    assert there.trace.fallback
    plain = write(tmp_path, text, "pass")
    expected = analyzed(f"{plain}:Net('cuda')").simulation.construction
    assert expected is not None
    for found in (there, elsewhere):
        assert found.simulation.construction is not None
        assert found.simulation.construction.peaks == expected.peaks
        assert found.to_dict()["memory"]["allocator"]["constructor"]["left"] is None
        assert "what the constructor leaves on the GPU is not counted in the calls" in str(found)
    assert elsewhere.simulation.peak_allocated == expected.peaks.allocated


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
