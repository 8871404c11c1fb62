"""Calibrating made-up machines: what is recovered, and when it is refused. Nothing is timed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import srprof
from srprof.calibration import run as calibration_run
from srprof.calibration.benches import Bench, benches
from srprof.calibration.kinds import plan
from srprof.calibration.record import Timed, errors
from srprof.calibration.run import WIDEST, Stopwatch, calibrate, run_calibration
from srprof.cli import main
from srprof.cost.estimate import estimate
from srprof.cost.profiles import load_profile, parse_profile, to_toml
from srprof.errors import BusyError, InputError
from srprof.files import parse_toml
from srprof.measuring import heap
from srprof.measuring.record import Device as Hardware
from tests.fake_stopwatch import CPU, TRUTH, FakeStopwatch, bench_costs, of_cpu
from tests.terminals import check_terminals

GPU = Hardware("cuda", "Made-up GPU", "9.0", memory=2**30)


@pytest.fixture(scope="module")
def exact():
    return of_cpu(FakeStopwatch(TRUTH))


def test_a_machine_as_the_model_has_it_is_recovered(exact):
    """As bytes a second, for the calibrated bandwidth is the copy's and not the truth's."""
    for family in ("norm", "resample", "elementwise", "movement"):
        found, wanted = (d.bandwidth_share[family] * d.bandwidth for d in (exact.profile, TRUTH))
        assert found == pytest.approx(wanted, rel=0.03), family
    assert exact.profile.launch == pytest.approx(TRUTH.launch, rel=0.1)
    found, wanted = (d.peak["float32"] * d.layout["compute"] for d in (exact.profile, TRUTH))
    assert found == pytest.approx(wanted, rel=0.06)
    assert exact.fit.mean_error < 0.03


def test_what_is_held_out_is_predicted_where_other_benches_are_like_it(exact):
    """Nothing else is like the one reduction, so without it only its prior is left."""
    held_out = errors(exact.fit.left_out, exact.benches)
    assert held_out["dense"] < 0.03
    assert held_out["element-wise"] < 0.03
    assert held_out["reduction"] > 0.5
    assert exact.profile.spread["reduction"] == pytest.approx(held_out["reduction"])
    assert exact.profile.held_out_error > exact.fit.mean_error


@pytest.mark.parametrize("spec", ["fmen_s", "imdn", "e_rfdn"])
def test_networks_that_no_bench_is_like_are_predicted(exact, spec):
    trace = srprof.trace(spec, "96x96")
    predicted = estimate(trace, exact.profile).seconds
    assert predicted == pytest.approx(estimate(trace, TRUTH).seconds, rel=0.05)


def test_noise_is_evened_out_and_said():
    found = of_cpu(FakeStopwatch(TRUTH, noise=0.05), rounds=9)
    trace = srprof.trace("fmen_s", "96x96")
    assert estimate(trace, found.profile).seconds == pytest.approx(
        estimate(trace, TRUTH).seconds, rel=0.08
    )
    assert 0.02 < found.spread < 0.15
    assert found.profile.spread["common"] > 0.02
    words = estimate(trace, found.profile).uncertainty_from
    assert words == "held-out errors of the calibration, by class"


def test_the_profile_is_a_file_that_can_be_read_again(exact):
    again = parse_profile("mine", parse_toml(to_toml(exact.profile)), "again")
    assert again.command == "a command"
    assert again.fitted == exact.profile.fitted
    for table in ("peak", "relative", "bandwidth_share", "layout", "spread"):
        assert getattr(again, table) == pytest.approx(getattr(exact.profile, table), rel=1e-3)
    for figure in ("peak", "bandwidth", "launch", "layout", "spread", "bandwidth_share"):
        assert again.source[figure]
    assert "dense 3x3 256 to 256" in again.source["peak"]  # it comes nearer than the product


def test_a_busy_machine_is_refused():
    stopwatch = FakeStopwatch(TRUTH, interference=0.5)
    with pytest.raises(BusyError, match=r"too busy to calibrate.*--threads") as caught:
        of_cpu(stopwatch)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    per_round = len(plan(CPU, quick=True, threads=1).benches) + 3
    assert stopwatch.taken == 4 * 5 * per_round, "four times as many rounds were tried"


def test_a_busy_moment_is_outlasted():
    per_round = len(plan(CPU, quick=True, threads=1).benches) + 3
    found = of_cpu(FakeStopwatch(TRUTH, interference=0.6, busy=4 * per_round))
    assert found.rounds > 5
    assert found.spread <= WIDEST
    assert found.fit.mean_error < 0.05


def test_the_quartile_leaves_out_who_interferes():
    timed = Timed("a", "dense", (), (3.0, 1.0, 1.0, 3.0, 1.0))
    assert timed.seconds == 1.0
    assert timed.spread == pytest.approx(2.0)
    found = errors([1.5, 1.0, 2.0], [timed, replace(timed, group="1x1"), timed])
    assert found == {"dense": pytest.approx(0.75), "1x1": 0}


def test_benches_have_names_of_their_own():
    for dtypes in (("float32",), ("float32", "float16")):
        names = [bench.name for bench in benches((96, 192), dtypes)]
        assert len(set(names)) == len(names)


def test_no_vector_blocks_where_the_processor_is_not_known():
    other = plan(replace(CPU, capability="DEFAULT"), quick=True, threads=2)
    assert not other.table["layout"]
    assert "compute" in {parameter.key for parameter in other.parameters}
    found = run_calibration(other, FakeStopwatch(TRUTH), "mine")
    assert found.profile.title == "Made-up CPU, 2 threads"
    assert not found.profile.layout


# -- CUDA, without a GPU --------------------------------------------------------------------------


def fake_cuda(**properties: int) -> SimpleNamespace:
    found = {"total_memory": 141 * 2**30, "multi_processor_count": 132, **properties}
    return SimpleNamespace(
        current_device=lambda: 0, get_device_properties=lambda _: SimpleNamespace(**found)
    )


def test_a_gpu_as_the_model_has_it_is_predicted():
    truth = load_profile("h200")
    chosen = plan(GPU, quick=True, threads=1, cuda=fake_cuda(L2_cache_size=50 * 2**20))
    found = run_calibration(chosen, FakeStopwatch(truth), "h200_here")
    assert set(found.profile.peak) == {"float32", "tf32", "float16", "bfloat16"}
    assert (found.profile.sms, found.profile.cache) == (132, 50 * 2**20)
    for spec in ("fmen_s", "e_rfdn"):
        trace = srprof.trace(spec, "256x256")
        predicted = estimate(trace, found.profile).seconds
        assert predicted == pytest.approx(estimate(trace, truth).seconds, rel=0.1)


def test_what_tensor_cores_need_is_recovered():
    truth = replace(load_profile("h100"), table="").with_values(
        {"tensor.transpose": 0.4, "tensor.unaligned": 0.25, "wave": 2e-6, "launch": 3e-6}
    )
    chosen = plan(GPU, quick=True, threads=1, cuda=fake_cuda(L2_cache_size=50 * 2**20))
    found = run_calibration(chosen, FakeStopwatch(truth), "h100_here").profile
    copies, wanted = (d.tensor["transpose"] * d.bandwidth for d in (found, truth))
    assert copies == pytest.approx(wanted, rel=0.15)
    assert found.tensor["unaligned"] == pytest.approx(0.25, rel=0.1)
    assert found.launch == pytest.approx(3e-6, rel=0.1)
    assert found.wave == pytest.approx(2e-6, rel=0.3)
    assert found.gather == pytest.approx(truth.gather, rel=0.1)
    for figure in ("tensor", "wave", "gather"):
        assert found.source[figure] == "Fitted to the benches"
    assert "H100" in found.source["gap"]  # no bench tells it


def test_maps_that_tell_a_bandwidth_do_not_fit_in_a_cache():
    chosen = plan(GPU, quick=False, threads=1, cuda=fake_cuda(L2_cache_size=50 * 2**20))
    moved = [
        bench_costs(bench)[0]
        for bench in chosen.benches
        if bench.group == "element-wise" and "128x128" not in bench.name
    ]
    assert moved and all(cost.written >= 50 * 2**20 for cost in moved)
    names = [bench.name for bench in chosen.benches]
    assert len(set(names)) == len(names)


def test_an_old_gpu_has_float32_alone():
    chosen = plan(replace(GPU, capability="6.1"), True, 1, fake_cuda())
    assert {bench.dtype for bench in chosen.benches} == {"float32"}
    assert [bench.group for bench in chosen.roofs] == ["peak float32", "bandwidth"]
    found = run_calibration(chosen, FakeStopwatch(load_profile("gtx1080ti")), "old")
    assert set(found.profile.peak) == {"float32"}
    assert not found.profile.tensor
    assert {"tensor.transpose", "wave"}.isdisjoint(found.fit.values)


# -- clocks ---------------------------------------------------------------------------------------


class Backend:
    """Every call takes a quarter of a millisecond."""

    where = "cpu"

    def __init__(self) -> None:
        self.calls = 0

    def active(self):
        return nullcontext()

    def time_ms(self, call: Callable[[], object]) -> float:
        before = self.calls
        call()
        return 0.25 * (self.calls - before)


def test_short_calls_are_timed_in_a_row():
    backend = Backend()
    stopwatch = Stopwatch(backend)

    def call() -> None:
        backend.calls += 1

    bench = Bench("a", "dense", None, ())
    assert stopwatch.seconds(bench, call) == pytest.approx(0.25e-3)
    assert backend.calls == 2 + 4  # warm-up, the look at how long it takes, and a millisecond
    assert stopwatch.seconds(bench, call) == pytest.approx(0.25e-3)
    assert backend.calls == 2 + 4 + 4


def test_malloc_is_asked_to_keep_what_is_freed(monkeypatch):
    asked = []
    library = SimpleNamespace(mallopt=lambda *setting: asked.append(setting) or 1)
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: library)
    assert heap.keep_freed_memory()
    assert asked == [(-1, -1), (-4, 0)]  # M_TRIM_THRESHOLD, M_MMAP_MAX
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: SimpleNamespace())
    assert not heap.keep_freed_memory()


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch, tmp_path) -> Callable[[FakeStopwatch], None]:
    """Puts a made-up machine in the place of this one, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(calibration_run, "keep_freed_memory", lambda: True)
    monkeypatch.setattr(calibration_run.CpuBackend, "device", lambda _: CPU)

    def put(stopwatch: FakeStopwatch) -> None:
        monkeypatch.setattr(calibration_run, "Stopwatch", lambda _: stopwatch)

    return put


QUICK = ("calibrate", "--device", "cpu", "--quick", "--threads", "1", "-o", "mine.toml")


def test_calibrate_writes_a_profile_that_analyze_takes(machine, capsys):
    machine(FakeStopwatch(TRUTH, noise=0.02))
    assert main(list(QUICK)) == 0
    text = capsys.readouterr().out
    assert text.startswith("mine: Made-up CPU, 1 thread\n")
    assert "held out: by fits that did not see the bench; mean of all" in text
    assert main(["analyze", "fmen_s", "--input", "64x64", "--profile", "mine.toml"]) == 0
    text = capsys.readouterr().out
    assert "Latency on Made-up CPU, 1 thread, predicted" in text
    assert "uncertainty: held-out errors of the calibration, by class" in text
    assert main(["devices", "mine.toml"]) == 0
    assert "calibrate --device cpu --threads 1 --quick" in capsys.readouterr().out


def test_calibrate_as_json_has_the_samples(machine, capsys):
    machine(FakeStopwatch(TRUTH))
    assert main([*QUICK, "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["profile"] == "mine.toml"
    assert all(len(bench["samples_s"]) == data["rounds"] for bench in data["benches"])
    assert data["mean_error"] < 0.03 < data["held_out_error"]


def test_calibrate_has_every_format_on_stdout(machine, capsys):
    machine(FakeStopwatch(TRUTH))
    assert main([*QUICK, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(rows[0]) == ["name", "group", "seconds", "predicted", "held_out"]
    assert all(float(row["seconds"]) > 0 for row in rows)
    assert Path("mine.toml").read_text().startswith("title")


def test_a_calibration_shows_itself(exact, golden):
    assert repr(exact).startswith("<Calibration of mine: Made-up CPU, 1 thread: 5 samples of each")
    assert len(repr(exact)) < 250
    assert "How well the profile explains the benches" in str(exact)
    assert "written to" not in str(exact)
    assert "<td" in exact._repr_html_()
    check_terminals("calibrate", exact.document(), golden)


def test_a_busy_machine_keeps_the_old_profile(machine, capsys):
    path = Path("mine.toml")
    path.write_text("old = true\n")
    machine(FakeStopwatch(TRUTH, interference=0.5))
    assert main(list(QUICK)) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("srprof: the machine is too busy to calibrate: ")
    assert captured.err.count("\n") == 1
    assert path.read_text() == "old = true\n"
    assert list(Path().iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("-o", "mine.txt"), "mine.txt: name a file that ends in .toml"),
        (("-o", "gone/mine.toml"), "gone"),
        (("--threads", "0"), "--threads: '0'"),
        (("--device", "tpu"), "'tpu'"),
    ],
)
def test_what_calibrate_refuses(machine, capsys, change, named):
    machine(FakeStopwatch(TRUTH))
    assert main([*QUICK, *change]) == 2
    line = capsys.readouterr().err
    assert named in line and line.count("\n") == 1
    assert list(Path().iterdir()) == []


def test_without_a_gpu_cuda_is_refused():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match="no CUDA device"):
        calibrate("cuda")
