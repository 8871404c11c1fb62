"""The CUDA back end: its logic on a fake GPU, and its truth on a real one where there is one."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import srprof
from srprof import placing, registry, workload
from srprof.call import Call
from srprof.cli import main
from srprof.compare.validate import validate
from srprof.errors import DeviceMemoryError, InputError, Interrupted, ModelError
from srprof.measuring import run
from srprof.measuring.cuda import CudaBackend
from srprof.measuring.nvml import open_nvml
from srprof.measuring.record import Bytes, DeviceState, from_json
from tests.fake_cuda import Blur, FakeCuda, FakeNvml, NVMLError, running_on

SHAPE = (1, 3, 32, 32)
IMAGE = 3 * 32 * 32 * 4  # bytes


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    """A fake GPU that `srprof.measure(device="cuda")` runs on."""
    cuda = FakeCuda()

    class FakeBackend(CudaBackend):
        def __init__(self, device: str, threads: int | None, flush_l2: bool):
            library = FakeNvml()
            super().__init__(
                device, threads, flush_l2, cuda=cuda, where="cpu",
                nvml=lambda uuid: open_nvml(uuid, lambda name: library),
            )  # fmt: skip

    monkeypatch.setattr(run, "CudaBackend", FakeBackend)
    with running_on(cuda):
        yield cuda


@pytest.fixture
def blur_file(tmp_path: Path) -> str:
    """A file with a network for the command line."""
    path = tmp_path / "blur_net.py"
    source = inspect.getsource(Blur)
    path.write_text(
        f"from __future__ import annotations\nimport torch\nfrom torch import nn\n{source}"
    )
    return str(path)


def net() -> nn.Module:
    return nn.Sequential(Blur(1000), nn.Sequential(Blur(5000), nn.ReLU()))


# -- memory ---------------------------------------------------------------------------------------


def test_bytes_around_each_node(fake: FakeCuda):
    fake.allocate(700)  # something else in the process
    measurement = srprof.measure(net(), SHAPE, device="cuda", repeat=0)
    first, second, relu = measurement.nodes
    assert [n.op for n in measurement.nodes] == ["srprof_test.blur", "srprof_test.blur", "relu"]
    assert [n.module for n in measurement.nodes] == ["0", "1.0", "1.1"]
    assert first.allocated == Bytes(1024, 1024 + IMAGE, 1024 + IMAGE + 1024)
    assert first.requested == Bytes(700, 700 + IMAGE, 700 + IMAGE + 1000)
    # nn.Sequential's variable lets the first result go only when the second is there
    assert second.requested == Bytes(700 + IMAGE, 700 + 2 * IMAGE, 700 + 2 * IMAGE + 5000)
    assert [n.workspace for n in (first, second)] == [1000, 5000]
    assert [n.retained for n in (first, second)] == [0, 0]
    assert [n.outputs for n in (first, second, relu)] == [IMAGE] * 3
    assert (measurement.memory.start, measurement.memory.start_requested) == (1024, 700)
    assert measurement.memory.inputs == IMAGE


def test_a_model_that_calls_nothing(fake: FakeCuda):
    measurement = srprof.measure(nn.Identity(), SHAPE, device="cuda", repeat=1)
    assert measurement.nodes == ()
    assert measurement.deterministic is True


def test_whole_runs(fake: FakeCuda):
    fake.allocate(10**6)()  # what was there before is not the run's
    memory = srprof.measure(net(), SHAPE, device="cuda", repeat=0).memory
    assert memory.cold is not None and memory.warm is not None
    assert memory.cold.max_allocated == memory.warm.max_allocated == 2 * IMAGE + 5120
    assert memory.cold.max_reserved == 2 * IMAGE + 5120
    assert fake.log.count("empty cache") >= 3  # before each new instance


def test_without_requested_bytes_the_allocated_ones_stand_in(fake: FakeCuda):
    del fake.current["requested_bytes"], fake.peak["requested_bytes"]
    measurement = srprof.measure(Blur(512), SHAPE, device="cuda", repeat=0)
    (node,) = measurement.nodes
    assert node.requested is None
    assert measurement.memory.start_requested is None
    assert node.workspace == 512


def test_a_call_that_the_model_survives_is_no_node(fake: FakeCuda):
    class Careful(nn.Module):
        def forward(self, x):
            try:
                x = torch.cat([x, x[:, :, :5]], 1)
            except RuntimeError:
                x = torch.ops.srprof_test.blur(x, 1000)
            return torch.ops.srprof_test.blur(x, 3000)

    nodes = srprof.measure(Careful(), SHAPE, device="cuda", repeat=0).nodes
    assert [(n.op, n.workspace) for n in nodes] == [
        ("slice", 0),
        ("srprof_test.blur", 1000),
        ("srprof_test.blur", 3000),
    ]


def test_a_model_that_is_not_deterministic_is_named(fake: FakeCuda):
    turn = itertools.count()

    class Fickle(nn.Module):
        def forward(self, x):
            return x.relu() if next(turn) % 2 else x.sigmoid()

    measurement = srprof.measure(Fickle(), SHAPE, device="cuda", repeat=0)
    assert measurement.deterministic is False
    (note,) = measurement.notes
    assert "not deterministic" in note and "relu" in note and "sigmoid" in note
    assert srprof.measure(net(), SHAPE, device="cuda", repeat=0).deterministic is True


# -- too little memory ----------------------------------------------------------------------------


def test_out_of_memory_names_the_node_and_what_was_allocated(fake: FakeCuda):
    fake.memory = 2 * IMAGE + 4000  # room for the first node, and not for the second's scratch
    with pytest.raises(DeviceMemoryError) as caught:
        srprof.measure(net(), SHAPE, device="cuda")
    error = caught.value
    assert (error.op, error.module, error.allocated) == ("srprof_test.blur", "1.0", 5120 + IMAGE)
    assert error.file.endswith("fake_cuda.py") and error.line > 0
    for part in ("node 1 srprof_test.blur in 1.0", "asked for 0.01 MiB more", "Fake GPU"):
        assert part in str(error)
    assert error.largest is None


@pytest.mark.parametrize("height, width", [(96, 96), (64, 128), (150, 50)])
def test_out_of_memory_finds_the_largest_input_that_fits(fake: FakeCuda, height: int, width: int):
    """Each size is tried on a clean device: what failed before must have gone."""

    def needed(height: int, width: int) -> int:
        return 2 * height * width * 12 + 512  # both results, and the scratch

    fake.memory = 120_000
    model = nn.Sequential(Blur(512), Blur(512))  # the first result is there when the second fails
    with pytest.raises(DeviceMemoryError, match="the largest of these proportions") as caught:
        srprof.measure(model, (1, 3, height, width), device="cuda", find_largest=True)
    largest = caught.value.largest
    assert largest is not None
    assert needed(*largest[2:]) <= 120_000
    steps = largest[2] // 16 + 1
    more = needed(16 * steps, 16 * max(1, round(steps * width / height)))
    assert more > 120_000 or 16 * steps >= height
    assert f"{largest[2]}x{largest[3]}" in str(caught.value)
    assert fake.current["allocated_bytes"] == 0


def test_out_of_memory_with_nothing_smaller(fake: FakeCuda):
    fake.memory = 100
    with pytest.raises(DeviceMemoryError) as caught:
        srprof.measure(Blur(512), SHAPE, device="cuda", find_largest=True)
    assert caught.value.largest is None
    assert "the largest" not in str(caught.value)


def test_out_of_memory_is_one_line_on_the_command_line(
    fake: FakeCuda, blur_file: str, capsys: pytest.CaptureFixture[str]
):
    fake.memory = 60_000
    network = f"{blur_file}:Blur(scratch=512)"
    assert main(["measure", network, "--input", "96x96", "--device", "cuda"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("srprof: Blur") and line.endswith("fits is 1x3x64x64")


def test_out_of_memory_in_a_later_run(fake: FakeCuda):
    """Where no recorder looks on, there is no node to name."""
    calls = itertools.count()

    class Grows(nn.Module):
        def forward(self, x):
            if next(calls) == 5:  # two whole runs, two recorded ones, one timed
                fake.memory = 100
            return torch.ops.srprof_test.blur(x, 1000)

    with pytest.raises(DeviceMemoryError, match="Tried to allocate") as caught:
        srprof.measure(Grows(), SHAPE, device="cuda", warmup=0)
    assert (caught.value.op, caught.value.line) == ("", 0)


def test_a_copy_for_a_gpu_has_the_callers_weights(monkeypatch: pytest.MonkeyPatch):
    """Made in main memory, and moved from there."""
    moves = []
    monkeypatch.setattr(placing, "moved", lambda model, device: moves.append(device) or model)
    model = nn.Conv2d(3, 4, 3)
    copy = placing.copy_model(model, "cuda")
    assert moves == ["cuda"]
    assert torch.equal(copy.weight, model.weight) and copy.weight is not model.weight


# -- time -----------------------------------------------------------------------------------------


def test_the_challenges_protocol(fake: FakeCuda, monkeypatch: pytest.MonkeyPatch):
    """Events around each forward, waiting after each; no warm-up; the mean; benchmark off."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    fake.times = [3.0, 1.0, 1.0, 1.0]
    measurement = srprof.measure(net(), SHAPE, device="cuda", protocol="ntire", repeat=4)
    latency = measurement.latency
    assert latency is not None
    assert (latency.protocol, latency.clock, latency.warmup) == ("ntire", "cuda event", 0)
    assert latency.samples_ms == (3.0, 1.0, 1.0, 1.0)
    assert latency.value_ms == 1.5
    assert not latency.flags.cudnn_benchmark and not measurement.flags.cudnn_benchmark
    assert torch.backends.cudnn.benchmark  # as the caller had it
    assert measurement.notes == ()  # it was not the model that set it
    timed = [entry for entry in fake.log if entry in ("record", "synchronize")][-12:]
    assert timed == ["record", "record", "synchronize"] * 4


def test_the_strict_protocol(fake: FakeCuda):
    fake.times = [2.0, 2.1, 2.2, 2.3, 2.4, 2.5, 9.0]
    latency = srprof.measure(
        net(), SHAPE, device="cuda", repeat=7, warmup=3, flush_l2=True
    ).latency  # fmt: skip
    assert latency is not None
    assert (latency.protocol, latency.warmup, latency.flushed_l2) == ("strict", 3, True)
    assert latency.value_ms == 2.3
    assert latency.summary.interval == (2.0, 9.0)


def test_the_l2_cache_is_overwritten_before_the_first_event(fake: FakeCuda):
    backend = run.CudaBackend("cuda", None, True)
    calls: list[str] = []
    backend._overwrite_l2 = lambda: calls.append("flush")
    fake.log = calls
    assert backend.time_ms(lambda: calls.append("forward")) == 1.0
    assert calls == ["flush", "record", "forward", "record", "synchronize"]


def test_the_buffer_is_larger_than_the_l2_cache(fake: FakeCuda):
    backend = run.CudaBackend("cuda", None, True)
    backend._overwrite_l2()
    assert backend._flush is not None
    assert backend._flush.nbytes == 2 * 64
    with backend.active():
        pass
    assert backend._flush is None


def test_clocks_power_and_energy(fake: FakeCuda):
    measurement = srprof.measure(net(), SHAPE, device="cuda", repeat=2)
    latency = measurement.latency
    assert latency is not None
    assert latency.before == latency.after == DeviceState(
        sm_clock_mhz=1980,
        sm_clock_max_mhz=None,  # this GPU does not say
        memory_clock_mhz=3201,
        temperature_c=41,
        power_w=123.4,
        throttled=("software power cap", "hardware thermal slowdown"),
    )  # fmt: skip
    assert latency.energy_j == 2.5
    assert measurement.device.driver == "580.1"


def test_without_nvml_it_goes_on_and_says_so(fake: FakeCuda):
    missing, why = open_nvml("GPU-abc", lambda name: (_ for _ in ()).throw(ImportError(name)))
    assert missing is None and "nvidia-ml-py is not installed" in why
    refused, why = open_nvml("GPU-abc", lambda name: FakeNvml(refuses=True))
    assert refused is None and "Driver Not Loaded" in why
    backend = CudaBackend(cuda=fake, where="cpu", nvml=lambda uuid: (None, why))
    resolved = workload.resolve(Call(net(), (SHAPE,)))
    measurement = run.run_measurement(resolved, backend, run.Passes("strict", 0, 3))
    assert measurement.notes == (why,)
    assert measurement.device.driver is None
    assert measurement.latency is not None
    assert measurement.latency.before is measurement.latency.energy_j is None


def test_nvml_without_a_driver_version():
    library = FakeNvml()
    library.nvmlSystemGetDriverVersion = lambda: (_ for _ in ()).throw(NVMLError("no"))
    nvml, _ = open_nvml("GPU-abc", lambda name: library)
    assert nvml is not None and nvml.driver() is None


# -- the record and the command -------------------------------------------------------------------


def test_the_record_round_trips(fake: FakeCuda):
    measurement = srprof.measure(net(), SHAPE, device="cuda", repeat=3)
    assert measurement.device.kind == "cuda"
    assert measurement.device.name == "Fake GPU"
    assert measurement.device.capability == "9.0"
    assert measurement.flags.allocator == "native"
    assert from_json(measurement.to_json()) == measurement


def test_text_of_a_gpu(fake: FakeCuda, blur_file: str, capsys: pytest.CaptureFixture[str]):
    network = f"{blur_file}:Blur(scratch=2048)"
    assert main(["measure", network, "--input", "32x32", "--device", "cuda"]) == 0
    out = capsys.readouterr().out
    for part in (
        "1x3x32x32 float32 on Fake GPU",
        "driver 580.1",
        "srprof_test.blur",
        "SM 1980 MHz, memory 3201 MHz, 41 C, 123 W, held down by software power cap",
        "energy: 2.5 J",
    ):
        assert part in out


def test_interrupted_on_the_way_through_the_nodes(fake: FakeCuda):
    """The nodes that ended stay; whole runs came before."""
    calls = itertools.count()

    class Stops(nn.Module):
        def forward(self, x):
            x = torch.ops.srprof_test.blur(x, 1000)
            if next(calls) == 2:  # cold, warm, and now node by node
                raise KeyboardInterrupt
            return x.relu()

    with pytest.raises(Interrupted) as caught:
        srprof.measure(Stops(), SHAPE, device="cuda")
    partial = caught.value.partial
    assert not partial.complete
    assert [node.workspace for node in partial.nodes] == [1000]
    assert partial.memory.cold is not None and partial.latency is None
    assert partial.deterministic is None


def test_a_model_that_raises_is_said_to(fake: FakeCuda):
    class Bad(nn.Module):
        def forward(self, x):
            raise ValueError("no such thing")

    with pytest.raises(ModelError, match="no such thing"):
        srprof.measure(Bad(), SHAPE, device="cuda")


# -- no GPU ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "device, cuda, says",
    [
        ("cuda", FakeCuda(available=False), "there is no CUDA device.*--device cpu"),
        ("cuda:3", FakeCuda(), "there is no cuda:3: torch sees 1"),
        ("tpu", FakeCuda(), "'tpu' is not one of cpu, cuda, cuda:N"),
        ("cuda:x", FakeCuda(), "'cuda:x' is not one of"),
    ],
)
def test_no_such_device(device: str, cuda: FakeCuda, says: str):
    with pytest.raises(InputError, match=says):
        CudaBackend(device, cuda=cuda, where="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_cuda_on_the_command_line(capsys: pytest.CaptureFixture[str]):
    assert main(["measure", "fmen_s", "--input", "32x32", "--device", "cuda"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert "no CUDA device" in line and "--device cpu" in line


# -- a real GPU -----------------------------------------------------------------------------------

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize("name", sorted(network.name for network in registry.networks()))
def test_requested_bytes_are_the_traces(name: str):
    """At every op boundary, at 256x256, for the whole zoo."""
    measurement = srprof.measure(name, (1, 3, 256, 256), device="cuda", repeat=0)
    trace = srprof.trace(name, (1, 3, 256, 256))
    found = validate(measurement, trace)
    assert len(found.nodes) >= 1
    assert not found.worst
    assert not found.missing
    assert all(node.workspace >= 0 for node in measurement.nodes)
    measurement.require_same_network(trace)


@pytest.mark.cuda
@needs_gpu
def test_a_cold_runs_peak_is_that_of_its_nodes():
    measurement = srprof.measure("e_rfdn", (1, 3, 256, 256), device="cuda", repeat=0)
    assert measurement.memory.cold is not None
    assert measurement.memory.cold.max_allocated == max(
        node.allocated.peak for node in measurement.nodes
    )


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize("protocol", ["ntire", "strict"])
def test_latency_on_a_gpu(protocol: str):
    measurement = srprof.measure(
        "fmen_s", (1, 3, 64, 64), device="cuda", protocol=protocol, repeat=7, flush_l2=True
    )
    assert measurement.latency is not None
    assert len(measurement.latency.samples_ms) == 7
    assert min(measurement.latency.samples_ms) > 0
    assert from_json(measurement.to_json()) == measurement


@pytest.mark.cuda
@needs_gpu
def test_out_of_memory_on_a_gpu():
    memory = torch.cuda.get_device_properties(0).total_memory
    side = int((memory / 12) ** 0.5) // 16 * 16  # the image alone would fill it
    with pytest.raises(DeviceMemoryError) as caught:
        srprof.measure("fmen_s", (1, 3, side, side), device="cuda", repeat=0)
    assert caught.value.allocated >= 0
    assert torch.cuda.memory_allocated() < memory / 10
