"""Predicted against measured: on the CPU for real, from records anywhere, on CUDA made up."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import srprof
from srprof.cli import main
from srprof.compare.validate import aligned, trace_of, validate
from srprof.errors import InputError
from srprof.inputs import parse_tolerance
from srprof.measuring.record import Bytes, Device, Measurement, RunPeaks
from srprof.memory.simulation import simulate
from srprof.memory.workspace import call_key

MIB = 2**20


@pytest.fixture(scope="module")
def measured() -> Measurement:
    return srprof.measure("fmen_s", "32x32", device="cpu", repeat=0)


def test_every_node_is_equal_on_the_cpu(measured: Measurement):
    found = validate(measured, trace_of(measured), tolerance=0)
    assert not found.worst
    assert not found.missing
    assert len(found.nodes) == 66
    (peak,) = found.peaks
    assert peak.predicted == peak.measured
    assert peak.without_workspace < peak.measured  # oneDNN takes some
    assert found.holds


def test_another_network_is_refused(measured: Measurement):
    with pytest.raises(InputError, match="another network"):
        validate(measured, srprof.trace("e_rfdn", "32x32", trace_on="cpu"))
    with pytest.raises(InputError, match="1x3x32x32"):
        validate(measured, srprof.trace("fmen_s", "32x40", trace_on="cpu"))


def test_an_interrupted_record_is_refused(measured: Measurement):
    memory = dataclasses.replace(measured.memory, cold=None)
    with pytest.raises(InputError, match="interrupted"):
        validate(dataclasses.replace(measured, memory=memory), trace_of(measured))


def changed(measured: Measurement, index: int, nbytes: int) -> Measurement:
    """The record with other bytes at the end of one node."""
    nodes = list(measured.nodes)
    found = nodes[index].allocated
    more = dataclasses.replace(found, after=found.after + nbytes, peak=found.peak + nbytes)
    nodes[index] = dataclasses.replace(nodes[index], allocated=more)
    return dataclasses.replace(measured, nodes=tuple(nodes))


def test_a_node_beyond_tolerance_fails_and_is_named(measured: Measurement):
    trace = trace_of(measured)
    found = validate(changed(measured, 7, MIB), trace, tolerance=0.01)
    assert not found.holds
    assert found.worst[0].node == 7
    assert found.worst[0].difference == -MIB
    assert "node 7" in found.failures[0] or "node 7" in found.failures[-1]
    assert validate(changed(measured, 7, 100), trace, tolerance=0.01).holds
    assert not validate(changed(measured, 7, 100), trace, tolerance=0).holds


def test_other_calls_are_aligned(measured: Measurement):
    trace = trace_of(measured)
    fewer = [*measured.nodes[:5], *measured.nodes[6:]]
    pairs = list(aligned(trace.nodes, fewer))
    assert [(node.index, facts.index) for node, facts in pairs] == [
        (i, i) for i in range(66) if i != 5
    ]
    short = tuple(dataclasses.replace(n, index=i) for i, n in enumerate(fewer))
    found = validate(dataclasses.replace(measured, nodes=short), trace)
    assert found.missing == (f"{trace.nodes[5].op} of node 5 only traced",)
    assert not found.holds


def test_a_model_that_differs_between_runs_is_named(measured: Measurement):
    note = "the model is not deterministic: at node 3 one run called relu, and another sigmoid"
    record = dataclasses.replace(measured, deterministic=False, notes=(note,))
    found = validate(record, trace_of(record))
    assert found.failures == (note,)
    assert not found.holds


def on_cuda(measured: Measurement, scratch: int) -> Measurement:
    """What CUDA would report if the allocator's rules hold and one node takes scratch."""
    trace = srprof.trace("fmen_s", "32x32")
    table = {call_key(trace.nodes[1]): scratch}
    run = simulate([trace], workspace=lambda node: table.get(call_key(node), 0))
    nodes = []
    before = sum(e.info.nbytes for e in trace.inputs)
    for node, facts in zip(trace.nodes, measured.nodes, strict=True):
        peak = max(before + facts.outputs, node.live) + table.get(call_key(node), 0)
        requested = Bytes(peak - facts.outputs - table.get(call_key(node), 0), node.live, peak)
        nodes.append(dataclasses.replace(facts, requested=requested))
        before = node.live
    memory = dataclasses.replace(
        measured.memory,
        start_requested=measured.memory.inputs,
        cold=RunPeaks(run.peak_allocated, run.peak_reserved),
    )
    device = Device("cuda", "Made-up GPU", "8.0")
    return dataclasses.replace(measured, device=device, memory=memory, nodes=tuple(nodes))


def test_cuda_with_scratch_is_predicted_once_it_is_measured(measured: Measurement):
    record = on_cuda(measured, scratch=8 * MIB)
    found = validate(record, trace_of(record), tolerance=0)
    allocated, reserved = found.peaks
    assert (allocated.name, reserved.name) == ("max_allocated", "max_reserved")
    assert allocated.predicted == allocated.measured
    assert reserved.predicted == reserved.measured
    assert allocated.error_without_workspace < -0.5
    assert found.holds


def test_records_are_validated_without_the_device(
    measured: Measurement, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "record.json"
    path.write_text(measured.to_json())
    assert main(["validate", "--record", str(path), "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["holds"]
    (one,) = data["validations"]
    assert one["nodes"] == one["nodes_equal"] == 66
    assert one["peaks"][0]["error"] == 0
    assert one["workspace_by_op"][0]["op"] == "convolution"

    path.write_text(changed(measured, 3, MIB).to_json())
    assert main(["validate", "--record", str(path)]) == 1
    text = capsys.readouterr().out
    assert "FAILS" in text
    assert "65 of 66" in text
    assert "fmen_s: beyond tolerance" in text
    assert main(["validate", "--record", str(path), "--tolerance", "90%"]) == 0


def test_a_validation_shows_itself(measured: Measurement):
    validation = validate(changed(measured, 7, MIB), trace_of(measured))
    assert repr(validation) == (
        "<Validation of Peak memory, predicted and measured (tolerance 1.00%)>"
    )
    assert "FAILS" in str(validation) and "-1,048,576 B" in str(validation)
    assert "<td" in validation._repr_html_() and "65 of 66" in validation._repr_html_()


def test_as_csv_errors_are_fractions(measured: Measurement, tmp_path: Path):
    record, table = tmp_path / "record.json", tmp_path / "table.csv"
    record.write_text(changed(measured, 3, MIB).to_json())
    assert main(["validate", "--record", str(record), "-o", str(table)]) == 1
    head, line = (row.split(",") for row in table.read_text().splitlines())
    row = dict(zip(head, line, strict=True))
    assert list(row) == [
        "model", "input", "dtype", "on", "predicted_bytes", "measured_bytes", "error",
        "error_without_scratch", "nodes_unequal", "holds",
    ]  # fmt: skip
    peak = validate(changed(measured, 3, MIB), trace_of(measured)).peaks[0]
    assert int(row["predicted_bytes"]) == peak.predicted
    assert int(row["measured_bytes"]) == peak.measured
    assert float(row["error"]) == pytest.approx(peak.error)
    assert float(row["error_without_scratch"]) == pytest.approx(peak.error_without_workspace)
    assert (row["nodes_unequal"], row["holds"]) == ("1", "False")


def test_measuring_saves_records_and_scratch(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "new" / "records"
    argv = ["validate", "fmen_s(scale=2)", "figure2_plain", "--inputs", "16x16", "--save"]
    assert main([*argv, str(folder)]) == 0
    assert "fmen_s(scale=2)" in capsys.readouterr().out
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "figure2_plain_16x16_float32.json",
        "fmen_s_scale_2__16x16_float32.json",
        "workspace.json",
    ]
    table = json.loads((folder / "workspace.json").read_text())
    assert table["device"] == "cpu"
    assert any(nbytes > 0 for nbytes in table["entries"].values())
    assert main(["validate", "--record", str(folder / names[0])]) == 0


def test_a_model_that_fails_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]):
    assert main(["validate", "e_rfdn", "fmen_s", "--inputs", "8x8"]) == 1
    text = capsys.readouterr().out
    assert "Not validated" in text
    assert "e_rfdn at 8x8" in text
    assert "66 of 66" in text


@pytest.mark.parametrize(
    "text, value", [("1%", 0.01), ("0.01", 0.01), ("0", 0), ("12.5%", 0.125), (" 2% ", 0.02)]
)
def test_tolerances(text: str, value: float):
    assert parse_tolerance(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "%", "x", "-1%", "1%%", "nan", "inf", "1 percent"])
def test_no_tolerances(text: str):
    with pytest.raises(InputError, match=r"write 1% or 0\.01"):
        parse_tolerance(text)


def complaint(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["validate", *argv]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_complaints(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert "one of them" in complaint(capsys)
    assert "one of them" in complaint(capsys, "fmen_s", "--record", "x.json")
    assert "cannot be read" in complaint(capsys, "--record", str(tmp_path / "nowhere.json"))
    (tmp_path / "x.json").write_text("{")
    assert "not whole JSON" in complaint(capsys, "--record", str(tmp_path / "x.json"))
    (tmp_path / "file").write_text("")
    assert "name a folder" in complaint(capsys, "fmen_s", "--save", str(tmp_path / "file"))
    assert "nosuchnet" in complaint(capsys, "nosuchnet")


@pytest.mark.cuda
def test_the_zoo_on_cuda(tmp_path: Path):
    pytest.importorskip("torch").cuda.is_available() or pytest.skip("no CUDA device")
    assert main(["validate", "--all", "--device", "cuda", "--save", str(tmp_path)]) == 0
