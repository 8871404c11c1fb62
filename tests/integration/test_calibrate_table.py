"""`srprof calibrate --table`, `--operations` and `--host`."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from srprof.calibration.host import host_times
from srprof.calibration.operations import bench, grid
from srprof.calibration.table import measure, read_lines, tabulated
from srprof.calibration.tabulate import tabulate
from srprof.calibration.timing import kernels_of
from srprof.call import Call
from srprof.cli import main
from srprof.cost.profiles import load_profile
from srprof.cost.tables import load_record
from srprof.errors import BusyError, InputError
from srprof.measuring.record import DeviceState
from srprof.tracing.run import run_trace
from srprof.workload import resolve

CONV = {
    **{"op": "conv2d", "cin": 8, "cout": 16, "k": 3, "h": 32, "w": 32, "dtype": "float32"},
    **{"groups": 1, "stride": 1, "dilation": 1, "channels_last": False, "tf32": True},
}
MAP = {"c": 8, "h": 32, "w": 32, "dtype": "float32"}
ABOUT = {"device": "NVIDIA Made Up", "torch": "2.9", "cudnn": "9", "driver": "1"}


def timed(line: dict[str, object], *us: float) -> dict[str, object]:
    return {**line, "kernels": [[f"kernel {n}", t] for n, t in enumerate(us)]}


# -- lines to columns ------------------------------------------------------------------------------


def test_a_bias_that_a_kernel_of_its_own_adds_is_a_row_of_its_own():
    convolutions, operations = tabulate([timed(CONV, 5.0, 20.0, 3.0)])
    assert (convolutions.us, convolutions.kernels, convolutions.mode) == ((25.0,), (2,), ("tf32",))
    assert (operations.op, operations.us) == (("bias",), (3.0,))
    assert operations.written == (16 * 32 * 32 * 4,)


def test_a_depthwise_convolution_adds_its_bias_as_it_goes():
    convolutions, operations = tabulate([timed({**CONV, "cout": 8, "groups": 8}, 5.0, 3.0)])
    assert (convolutions.us, convolutions.groups, operations.us) == ((8.0,), (8,), ())
    inside = {**CONV, "cout": 8, "groups": 8, "channels_last": True}  # which is cuDNN's
    convolutions, operations = tabulate([timed(inside, 5.0, 3.0)])
    assert (convolutions.us, operations.us) == ((5.0,), (3.0,))


IN, OUT, SET = "void nchwToNhwcKernel<float>", "void nhwcToNchwKernel<float>", "Memset (Device)"
TURN = "void tensorTransformGeneric<float>"


@pytest.mark.parametrize(
    "channels, kernels, uncopied",
    [
        ((8, 8), [(IN, 10.0), (IN, 1.0), ("gemm", 20.0), (OUT, 5.0)], 20.0),
        ((8, 6), [(IN, 10.0), (SET, 2.0), (TURN, 1.0), ("gemm", 20.0), (OUT, 5.0)], 25.0),
        ((6, 8), [(SET, 2.0), (IN, 10.0), (SET, 3.0), (IN, 1.0), ("gemm", 20.0), (OUT, 5.0)], 32.0),
        ((3, 8), [("implicit_convolve_sgemm", 30.0)], 0.0),
    ],
)  # fmt: skip
def test_what_channels_last_maps_need_of_a_plain_convolutions_kernels(channels, kernels, uncopied):
    """All but the copies of the filters, and of maps whose channels are whole vectors."""
    inner, outer = channels
    line = {**CONV, "cin": inner, "cout": outer, "kernels": [*kernels, ("bias", 4.0)]}
    assert tabulate([line])[0].uncopied == (uncopied,)
    assert tabulate([{**line, "channels_last": True}])[0].uncopied == (0.0,)


def test_kernels_are_shared_among_nodes_where_that_is_clear():
    attention = {**MAP, "op": "window_attention", "heads": 2, "win": 8}
    _, operations = tabulate([timed(attention, 1.0, 2.0, 4.0, 8.0)])
    assert operations.op == ("mul", "bmm", "_softmax", "bmm")
    assert operations.us == (1.0, 2.0, 4.0, 8.0)
    assert tabulate([timed(attention, 1.0, 2.0)])[1].us == ()  # nobody knows whose
    assert tabulate([timed({**MAP, "op": "roll"}, 1.0, 2.0)])[1].us == (3.0,)  # one node's


def test_a_transposed_convolution_is_with_the_convolutions():
    convolutions, _ = tabulate([timed({**MAP, "op": "deconv9"}, 9.0)])
    assert (convolutions.transposed, convolutions.taps, convolutions.stride) == (
        (True,),
        (81,),
        (4,),
    )


def test_every_operation_of_the_grid_can_be_traced():
    seen = {}
    for line in grid(("float32",)):
        kind = line["op"], line.get("k"), line.get("groups") == line.get("cin")
        seen.setdefault(kind, {**line, "h": 32, "w": 32})
    for line in seen.values():
        made = bench(line)
        assert run_trace(resolve(Call(made.model, made.inputs, dtype=made.dtype)), "meta").nodes


def test_the_packaged_table_is_what_its_command_makes():
    raw = Path(__file__).parents[3] / "shared" / "data" / "h200_ops.jsonl.gz"
    if not raw.is_file():
        pytest.skip("the measured data are not beside the project")
    lines, _ = read_lines(raw)
    some = [line for line in lines if line["op"] == "conv2d"][:500]
    made, _ = tabulate(some)
    packaged = load_record(
        Path(__file__).parents[2] / "srprof" / "data" / "h200_operations.json.gz"
    )
    assert packaged.convolutions.us[:500] == made.us
    assert packaged.convolutions.inner[:500] == made.inner


# -- measuring -------------------------------------------------------------------------------------


def fake(lines):
    return [timed(line, 1.0) for line in lines]


def test_what_is_measured_is_kept_and_gone_on_from(tmp_path):
    journal = tmp_path / "gpu_operations.jsonl"
    first = measure(fake, ABOUT, journal, 1e-9, lambda: None)
    assert first == []
    began = [json.loads(line) for line in journal.read_text().splitlines()]
    assert began == [ABOUT]

    part = measure(lambda lines: fake(lines[:7]), ABOUT, journal, 0.05, lambda: None)
    assert part and len(part) % 7 == 0
    again = measure(fake, ABOUT, journal, 60.0, lambda: None)
    assert len(again) == len(list(grid()))
    assert again[: len(part)] == part


def test_a_journal_of_another_gpu_is_refused(tmp_path):
    journal = tmp_path / "gpu_operations.jsonl"
    measure(fake, ABOUT, journal, 1e-9, lambda: None)
    journal.write_text(journal.read_text() + json.dumps(timed(CONV, 1.0, 2.0)) + "\n")
    with pytest.raises(InputError, match=r"measured on other things \(torch '2.9'\): delete it"):
        measure(fake, {**ABOUT, "torch": "2.10"}, journal, 60.0, lambda: None)


def test_a_gpu_that_is_held_down_is_refused(tmp_path):
    hot = DeviceState(
        sm_clock_mhz=900, temperature_c=91, throttled=("software power cap", "hardware slowdown")
    )
    with pytest.raises(BusyError, match=r"held down \(hardware slowdown; 900 MHz at 91 C\)"):
        measure(fake, ABOUT, tmp_path / "j.jsonl", 60.0, lambda: hot)
    capped = DeviceState(throttled=("software power cap",))
    assert measure(fake, ABOUT, tmp_path / "k.jsonl", 1.0, lambda: capped)


def test_kernels_are_those_that_were_launched_within_a_mark():
    def event(cat, name, ts, dur, correlation=None):
        arguments = {} if correlation is None else {"correlation": correlation}
        return {"cat": cat, "name": name, "ts": ts, "dur": dur, "args": arguments}

    events = [
        event("user_annotation", "srprof operation 0", 0, 10),
        event("user_annotation", "srprof operation 1", 20, 10),
        event("cuda_runtime", "cudaLaunchKernel", 2, 1, 7),
        event("cuda_runtime", "cudaMemsetAsync", 3, 1, 8),
        event("cuda_driver", "cuLaunchKernel", 21, 1, 9),
        event("cuda_runtime", "cudaLaunchKernel", 15, 1, 10),  # between the two
        event("gpu_memset", "Memset", 40, 1.5, 8),
        event("kernel", "gemm", 30, 4.256, 7),
        event("kernel", "relu", 50, 2.0, 9),
        event("kernel", "other", 60, 2.0, 10),
        event("cpu_op", "aten::relu", 21, 5),
    ]
    assert kernels_of(events) == {0: [("gemm", 4.26), ("Memset", 1.5)], 1: [("relu", 2.0)]}


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def raw(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [ABOUT]
    for width in (8, 16, 32, 64):
        for side in (64, 128):
            at = {"cin": width, "cout": width, "h": side, "w": side}
            lines.append(timed({**CONV, **at}, 100.0, 10.0))
            lines.append(timed({**MAP, "op": "relu", "c": width, "h": side, "w": side}, 5.0))
    path = tmp_path / "ops.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    return path


def test_from_makes_a_profile_with_its_table(raw, capsys):
    assert (
        main(["calibrate", "--operations", str(raw), "--profile", "rtx3090", "-o", "mine.toml"])
        == 0
    )
    said = capsys.readouterr().out
    assert "Measured operations: NVIDIA Made Up" in said and "width held out" in said
    record = load_record("mine.operations.json.gz")
    assert (record.device, record.torch) == ("NVIDIA Made Up", "2.9")
    profile = load_profile("mine.toml")
    assert profile.table == "mine.operations.json.gz"
    assert main(["analyze", "fsrcnn", "--input", "64x64", "--profile", "mine.toml"]) == 0
    assert "measured operations (NVIDIA Made Up with torch 2.9)" in capsys.readouterr().out


def test_the_table_is_found_from_another_folder(raw, tmp_path, monkeypatch):
    assert (
        main(["calibrate", "--operations", str(raw), "--profile", "rtx3090", "-o", "mine.toml"])
        == 0
    )
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert Path(load_profile("../mine.toml").table).is_file()


@pytest.mark.parametrize(
    "line, words",
    [
        ("[]", "names no operation"),
        ('{"op": "conv2d", "cin": 0}', "has no whole number cin"),
        ('{"op": "relu", "c": 8, "h": 4, "w": true}', "has no whole number w"),
        ('{"op": "relu", "c": 8, "h": 4, "w": 4, "kernels": [[1]]}', "kernels must be pairs"),
        ('{"op": "relu", "c": 8, "h": 4, "w": 4, "kernels": [[1, -2]]}', "kernels must be pairs"),
        ('{"op": "made_up", "c": 8, "h": 4, "w": 4, "kernels": [[1, 2]]}', "made_up"),
        ("{", "is not whole JSON"),
    ],
)
def test_a_line_that_is_none(tmp_path, monkeypatch, capsys, line, words):
    monkeypatch.chdir(tmp_path)
    Path("ops.jsonl").write_text(json.dumps(timed({**MAP, "op": "relu"}, 5.0)) + "\n" + line)
    command = ["calibrate", "--operations", "ops.jsonl", "--profile", "h200", "-o", "mine.toml"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert words in said and "line 2" in said and said.count("\n") == 1
    assert not Path("mine.toml").exists()


def test_no_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("ops.jsonl").write_text("\n")
    assert (
        main(["calibrate", "--operations", "ops.jsonl", "--profile", "h200", "-o", "m.toml"]) == 2
    )
    assert "there is no measured operation" in capsys.readouterr().err


def test_ways_that_need_a_profile(capsys):
    for way in (["--operations", "x.jsonl"], ["--host"]):
        assert main(["calibrate", *way, "-o", "m.toml"]) == 2
        assert "add --profile h200" in capsys.readouterr().err
    assert main(["calibrate", "--table", "--device", "cpu", "-o", "m.toml"]) == 2
    assert "give --device cuda" in capsys.readouterr().err


def test_the_host_of_this_machine(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["calibrate", "--host", "--device", "cpu", "--profile", "h200", "-o", "here.toml"]
    assert main(command) == 0
    assert "not measured here" in capsys.readouterr().out
    here, h200 = load_profile("here.toml"), load_profile("h200")
    assert here.host["op"] == pytest.approx(h200.host["op"])
    assert here.host["view"] != h200.host["view"]
    assert here.table == "h200"


def test_what_a_host_takes_is_of_a_likely_size():
    found = host_times("cpu")
    assert 1e-8 < found["view"] < 1e-3
    assert 0 <= found["module"] < 1e-3
    assert 1e8 < found["cpu"] < 1e12


def test_a_tables_own_errors():
    lines = [timed({**CONV, "cin": n, "cout": n}, 10.0 * n, 1.0) for n in (16, 32, 64)]
    table = tabulated(lines, ABOUT, load_profile("h200"), "here")
    assert {error.name for error in table.by_width} >= {"all", "conv tf32"}
    assert "Tabulated of Measured operations: NVIDIA Made Up" in repr(table)
