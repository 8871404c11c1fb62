"""Measuring on the CPU: what the record says is what PyTorch's own allocator did."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from torch import nn

import srprof
from srprof import models
from srprof.cli import main
from srprof.errors import InputError, Interrupted, ModelError
from srprof.measuring import cpu
from srprof.measuring.record import Measurement, load, workspace_by_op
from tests.cpu_truth import live_bytes
from tests.random_networks import RandomNetwork, random_networks

SHAPE = (1, 3, 32, 32)


class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x):
        return self.body(x).relu()


# -- bytes ----------------------------------------------------------------------------------------


#: Luma networks are deep, and most of them run on the enlarged image.
zoo = pytest.mark.parametrize(
    "name, shape",
    [(n.name, (1, 3, 8, 7) if n.channels == 1 else (1, 3, 48, 40)) for n in models.ZOO],
    ids=[n.name for n in models.ZOO],
)


@cache
def measured(name: str, shape: tuple[int, ...]) -> Measurement:
    """The memory of a network of the zoo."""
    return srprof.measure(name, shape, device="cpu", repeat=0)


@zoo
def test_the_whole_zoo_op_by_op(name: str, shape: tuple[int, ...]):
    """Live bytes at each op's end are those of the trace and of the allocator."""
    image = torch.rand(shape)
    measurement = measured(name, shape)
    nodes, memory = measurement.nodes, measurement.memory
    trace = srprof.trace(name, shape, trace_on="cpu")
    assert [n.op for n in nodes] == [n.op for n in trace.nodes]
    assert [n.module for n in nodes] == [n.module for n in trace.nodes]
    assert [n.line for n in nodes] == [n.line for n in trace.nodes]
    assert [n.allocated.after - memory.net for n in nodes] == [n.live for n in trace.nodes]

    ops, live = live_bytes(getattr(models, name)(), image)
    assert [n.op for n in nodes] == ops
    assert [n.allocated.after - memory.start for n in nodes] == live

    assert memory.start == memory.net + memory.inputs
    assert all(n.workspace >= 0 and n.retained == 0 for n in nodes)
    scratch = {w.op for w in workspace_by_op(nodes)}  # oneDNN's, and the tables of a resampling
    assert "convolution" in scratch or name == "bicubic"
    assert measurement.deterministic is True
    assert measurement.notes == ()
    measurement.require_same_network(trace)


@zoo
def test_the_instrument_adds_nothing(name: str, shape: tuple[int, ...]):
    """The second run has no recorder, and the same peak."""
    memory = measured(name, shape).memory
    assert memory.cold is not None and memory.warm is not None
    assert memory.cold.max_allocated == memory.warm.max_allocated
    assert memory.cold.max_reserved is memory.warm.max_reserved is None  # the CPU reserves nothing


@settings(max_examples=25)
@given(random_networks())
def test_networks_that_nobody_wrote(network: RandomNetwork):
    model = network.build()
    measurement = srprof.measure(model, network.shape, device="cpu", repeat=0)
    ops, live = live_bytes(network.build(), torch.rand(network.shape))
    start = measurement.memory.start
    assert [n.op for n in measurement.nodes] == ops
    assert [n.allocated.after - start for n in measurement.nodes] == live
    assert all(n.workspace >= 0 for n in measurement.nodes)
    cold, warm = measurement.memory.cold, measurement.memory.warm
    assert cold is not None and warm is not None
    if "cache" not in network.source:  # what the first run leaves is there in the second
        assert cold == warm


def test_numbers_that_torch_wraps_twice_count_once():
    """`x * 2` makes a tensor of the 2, and the recorder has another made."""

    class Numbers(Conv):
        def forward(self, x):
            return self.body(x) * 2 + 0.5

    measurement = srprof.measure(Numbers(), SHAPE, device="cpu", repeat=0)
    multiply, add = measurement.nodes[1:]
    assert (multiply.op, add.op) == ("mul", "add")
    assert multiply.allocated.after - multiply.allocated.before == multiply.outputs
    assert 0 <= multiply.workspace <= 8
    cold, warm = measurement.memory.cold, measurement.memory.warm
    assert cold == warm


def test_a_cache_makes_the_warm_run_differ():
    class Caches(Conv):
        def __init__(self):
            super().__init__()
            self.mask = None

        def forward(self, x):
            if self.mask is None:
                big = torch.ones(16, *x.shape[1:])
                self.mask = big.mean(0, keepdim=True)
            return self.body(x * self.mask)

    memory = srprof.measure(Caches(), SHAPE, device="cpu", repeat=0).memory
    assert memory.cold is not None and memory.warm is not None
    assert memory.cold.max_allocated > memory.warm.max_allocated


def test_a_buffer_that_the_run_replaces():
    class Counts(Conv):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(SHAPE))

        def forward(self, x):
            self.seen = self.seen + x
            return self.body(self.seen)

    model = Counts()
    measurement = srprof.measure(model, SHAPE, device="cpu", repeat=0)
    memory = measurement.memory
    assert memory.net == sum(t.nbytes for t in (*model.parameters(), *model.buffers()))
    assert memory.start == memory.net + memory.inputs
    first = measurement.nodes[0]
    assert first.op == "add" and first.allocated.after - first.allocated.before == first.outputs
    second = measurement.nodes[1]
    assert second.allocated.before == first.allocated.after - model.seen.nbytes  # the old one went


def test_other_dtypes_layouts_and_inputs():
    half = srprof.measure(Conv(), SHAPE, device="cpu", repeat=0, dtype="bfloat16")
    assert (half.dtype, half.inputs[0].dtype, half.layout) == ("bfloat16", "bfloat16", "contiguous")
    assert half.memory.inputs == 3 * 32 * 32 * 2
    last = srprof.measure(Conv(), SHAPE, device="cpu", repeat=0, channels_last=True)
    assert last.layout == "channels_last"

    class Two(nn.Module):
        def forward(self, x, *, mask):
            return x * mask

    two = srprof.measure(Two(), SHAPE, {"mask": torch.ones(SHAPE)}, device="cpu", repeat=0)
    assert [(t.name, t.shape) for t in two.inputs] == [("input", SHAPE), ("mask", SHAPE)]
    assert two.memory.inputs == 2 * 3 * 32 * 32 * 4


def test_a_model_that_calls_nothing():
    measurement = srprof.measure(nn.Identity(), SHAPE, device="cpu", repeat=1)
    assert measurement.nodes == ()
    assert measurement.memory.cold is not None
    assert measurement.memory.cold.max_allocated == measurement.memory.inputs
    assert "no op took memory" in str(measurement)


def test_exported_programs_and_graphs_are_models():
    model = Conv().eval()
    plain = srprof.measure(model, SHAPE, device="cpu", repeat=0)
    program = torch.export.export(model, (torch.rand(SHAPE),))
    for other in (program, torch.fx.symbolic_trace(model)):
        measurement = srprof.measure(other, SHAPE, device="cpu", repeat=0)
        assert [n.allocated for n in measurement.nodes] == [n.allocated for n in plain.nodes]


def test_as_csv_a_line_for_each_node(tmp_path: Path):
    path = tmp_path / "nodes.csv"
    arguments = ["--input", "32x32", "--device", "cpu", "--repeat", "0", "-o", str(path)]
    assert main(["measure", "fmen_s", *arguments]) == 0
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    assert list(rows[0]) == [
        "node", "op", "module", "line", "shape", "before_bytes", "at_most_bytes", "after_bytes",
        "outputs_bytes", "workspace_bytes",
    ]  # fmt: skip
    trace = srprof.trace("fmen_s", "32x32", trace_on="cpu")
    assert [row["op"] for row in rows] == [node.op for node in trace.nodes]
    assert all(int(row["outputs_bytes"]) >= 0 for row in rows)
    net = int(rows[0]["after_bytes"]) - trace.nodes[0].live
    assert [int(row["after_bytes"]) - net for row in rows] == [n.live for n in trace.nodes]


# -- runs -----------------------------------------------------------------------------------------


class Counted(Conv):
    """Writes down each of its calls, where no copy of a model is kept apart from another."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self.log = str(log)

    @property
    def calls(self) -> int:
        """That were made so far."""
        return len(Path(self.log).read_text()) if Path(self.log).exists() else 0

    def forward(self, x):
        with open(self.log, "a") as log:
            log.write(".")
        return super().forward(x)


@pytest.mark.parametrize("repeat, warmup, calls", [(0, None, 3), (4, 0, 7), (2, 3, 8)])
def test_how_often_the_model_runs(repeat: int, warmup: int | None, calls: int, tmp_path: Path):
    """What bounds the cost: three passes for the memory, and then those asked for."""
    model = Counted(tmp_path / "calls")
    srprof.measure(model, SHAPE, device="cpu", repeat=repeat, warmup=warmup)
    assert model.calls == calls


def test_latency_by_a_clock(monkeypatch: pytest.MonkeyPatch):
    readings = iter([0.0, 0.010, 1.0, 1.012, 2.0, 2.011])
    monkeypatch.setattr(cpu, "perf_counter", lambda: next(readings))
    before = torch.get_num_threads()
    threads = before + 1
    measurement = srprof.measure(Conv(), SHAPE, device="cpu", repeat=3, warmup=5, threads=threads)
    latency = measurement.latency
    assert latency is not None
    assert latency.samples_ms == pytest.approx((10, 12, 11))
    assert latency.value_ms == pytest.approx(11)
    assert (latency.clock, latency.warmup, latency.protocol) == ("perf_counter", 5, "strict")
    assert latency.flags.threads == measurement.flags.threads == threads
    assert torch.get_num_threads() == before
    assert latency.before is latency.after is latency.energy_j is None


def test_a_model_that_sets_threads_is_named_and_its_number_recorded():
    class Greedy(Conv):
        def forward(self, x):
            torch.set_num_threads(1)
            return super().forward(x)

    before = torch.get_num_threads()
    measurement = srprof.measure(Greedy(), SHAPE, device="cpu", repeat=1, threads=2)
    assert measurement.latency is not None and measurement.latency.flags.threads == 1
    assert measurement.notes == ("the model set torch's thread count to 1; srprof put it back",)
    assert torch.get_num_threads() == before


def test_models_that_are_not_deterministic_are_named():
    turn = itertools.count()

    class Fickle(Conv):
        def forward(self, x):
            x = self.body(x)
            return x.relu() if next(turn) % 2 else x.sigmoid()

    class Draws(Conv):
        def forward(self, x):
            return self.body(x)[..., : int(torch.randint(1, 10**6, ())) % 31 + 1].clone()

    for model, parts in ((Fickle(), ("relu", "sigmoid")), (Draws(), ("slice to",))):
        measurement = srprof.measure(model, SHAPE, device="cpu", repeat=0)
        assert measurement.deterministic is False
        (note,) = measurement.notes
        assert note.startswith("the model is not deterministic: at node")
        assert all(part in note for part in parts)
        assert "test_measure_cpu.py:" in note


def test_nothing_of_the_callers_changes():
    model = Conv().train()
    weight = model.body.weight
    torch.manual_seed(7)
    state, environment = torch.get_rng_state(), dict(os.environ)
    srprof.measure(model, SHAPE, device="cpu", repeat=1)
    assert model.training and model.body.weight is weight and weight.grad is None
    assert torch.equal(torch.get_rng_state(), state)
    assert dict(os.environ) == environment


def test_weights_are_the_callers():
    """Data-dependent models must see their own weights, not fresh ones."""

    class Depends(nn.Module):
        def __init__(self):
            super().__init__()
            self.steps = nn.Parameter(torch.tensor(3.0))

        def forward(self, x):
            for _ in range(int(self.steps)):
                x = x.relu()
            return x

    measurement = srprof.measure(Depends(), SHAPE, device="cpu", repeat=0)
    assert [n.op for n in measurement.nodes].count("relu") == 3


# -- interruption ---------------------------------------------------------------------------------

STOPS = """\
import os, signal
import torch
from torch import nn


class Net(nn.Module):
    calls = 0

    def __init__(self, at, built=False):
        super().__init__()
        self.at = at
        self.body = nn.Conv2d(3, 8, 3, padding=1)
        if built:
            os.kill(os.getpid(), signal.SIGINT)

    def forward(self, x):
        x = self.body(x)
        Net.calls += 1
        if Net.calls == self.at:
            os.kill(os.getpid(), signal.SIGINT)
        return x.relu()
"""


def interrupt(tmp_path: Path, spec: str, *options: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "stops.py").write_text(STOPS)
    return subprocess.run(
        [sys.executable, "-m", "srprof", "measure", f"stops.py:{spec}", "--input", "32x32",
         "--device", "cpu", *options],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


@pytest.mark.parametrize(
    "at, nodes, cold, warm, samples",
    [(2, 1, False, False, 0), (3, 2, True, False, 0), (5, 2, True, True, 0), (8, 2, True, True, 2)],
)
def test_ctrl_c_keeps_what_was_measured(
    tmp_path: Path, at: int, nodes: int, cold: bool, warm: bool, samples: int
):
    """Calls: rehearsal, node by node, warm, two of warm-up, then those that are timed."""
    done = interrupt(tmp_path, f"Net(at={at})", "--format", "json", "-o", "part.json")
    assert done.returncode == 130
    assert done.stderr == "srprof: interrupted; what was measured is written\n"  # no Kineto log
    partial = load(tmp_path / "part.json")
    assert not partial.complete
    assert len(partial.nodes) == nodes
    assert (partial.memory.cold is not None, partial.memory.warm is not None) == (cold, warm)
    assert len(partial.latency.samples_ms if partial.latency else ()) == samples


@pytest.mark.parametrize("spec", ["Net(at=1)", "Net(at=0, built=True)"])
def test_ctrl_c_before_anything_was_measured(tmp_path: Path, spec: str):
    done = interrupt(tmp_path, spec, "-o", "part.txt")
    assert done.returncode == 130
    assert done.stderr == "srprof: interrupted; nothing was written\n"
    assert not (tmp_path / "part.txt").exists()


def test_ctrl_c_in_python(tmp_path: Path):
    class Stops(Counted):
        def forward(self, x):
            if self.calls == 6:
                raise KeyboardInterrupt
            return super().forward(x)

    with pytest.raises(Interrupted) as caught:
        srprof.measure(Stops(tmp_path / "calls"), SHAPE, device="cpu", repeat=9, warmup=0)
    assert isinstance(caught.value, KeyboardInterrupt)
    latency = caught.value.partial.latency
    assert latency is not None and len(latency.samples_ms) == 3
    assert srprof.measure(Conv(), SHAPE, device="cpu", repeat=0).complete  # the profiler is free


# -- the command ----------------------------------------------------------------------------------


def measure(*arguments: str) -> int:
    return main(["measure", "fmen_s", "--input", "32x32", "--device", "cpu", *arguments])


def test_json_and_text_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert measure("--repeat", "2", "--format", "json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["schema"], printed["kind"]) == (1, "srprof measurement")
    assert len(printed["latency"]["samples_ms"]) == 2

    path = tmp_path / "record.json"
    assert measure("--repeat", "0", "--format", "json", "-o", str(path)) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"srprof: wrote {path}\n"  # no progress where there is no terminal
    record = load(path)
    assert (record.name, record.spec, record.latency) == ("fmen_s", "fmen_s", None)

    assert measure("--repeat", "6", "--timing", "ntire", "--channels-last") == 0
    text = capsys.readouterr().out
    for part in ("fmen_s at 1x3x32x32 float32 on", "convolution", "protocol ntire", "0 of warm-up"):
        assert part in text


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--repeat", "-1"], "--repeat: '-1': give a whole number of at least 0"),
        (["--warmup", "-1"], "--warmup: '-1': give a whole number of at least 0"),
        (["--threads", "0"], "--threads: '0': give a whole number of at least 1"),
        (["--repeat", "many"], "--repeat: 'many': give a whole number"),
        (["--timing", "fast"], "invalid choice: 'fast'"),
        (["--flush-l2"], "flushing the L2 cache is for CUDA"),
        (["--device", "tpu"], "device 'tpu' is not one of cpu, cuda, cuda:N"),
        (["-o", "no/such/folder.json"], "there is no folder"),
    ],
)
def test_wrong_options(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]):
    assert measure(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert says in line


@pytest.mark.parametrize(
    "options, says",
    [({"protocol": "fast"}, "protocol 'fast' is not one of ntire, strict"),
     ({"repeat": -1}, "repeat -1"), ({"threads": 0}, "threads 0"), ({"dtype": "int8"}, "int8")],
)  # fmt: skip
def test_wrong_arguments(options: dict[str, object], says: str):
    with pytest.raises(InputError, match=says):
        srprof.measure(Conv(), SHAPE, device="cpu", **options)


def test_a_profiler_that_runs_already():
    with torch.profiler.profile(), pytest.raises(InputError, match="running already"):
        srprof.measure(Conv(), SHAPE, device="cpu")


def test_a_model_that_raises_says_where():
    class Bad(Conv):
        def forward(self, x):
            return self.body(x[:, :2])

    with pytest.raises(ModelError, match=r"Bad raised .*test_measure_cpu.py.*in convolution"):
        srprof.measure(Bad(), SHAPE, device="cpu")


def test_a_model_that_raises_later_says_where(tmp_path: Path):
    class Tires(Counted):
        def forward(self, x):
            if self.calls == 4:
                raise ValueError("that was enough")
            return super().forward(x)

    with pytest.raises(ModelError, match=r"Tires raised ValueError at .*: that was enough"):
        srprof.measure(Tires(tmp_path / "calls"), SHAPE, device="cpu")
