"""`srprof time` by a clock that is told what to say: nothing here depends on how long it takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import srprof
from srprof.cli import main
from srprof.cost.profiles import load_profile, needs_calibration, profile_names, profile_of
from srprof.measuring import contention, cpu, run
from srprof.measuring.record import Device, Flags, Latency, Timing

ROOT = Path(__file__).parents[2]
OWN = """\
title = "My processor"
bandwidth = 10
cache = 4
memory = 8
sms = 1

[peak]
float32 = 0.1
"""


@pytest.fixture
def clock(monkeypatch, tmp_path) -> list[float]:
    """Milliseconds that the passes will take, one after another; an empty folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(OWN, encoding="utf-8")
    times = [20.0, 20.5, 21.0, 20.0, 19.5, 20.2, 19.9, 20.1]

    def time_ms(self: cpu.CpuBackend, call) -> float:
        call()
        return next(rest)

    rest: Iterator[float] = iter(times)
    monkeypatch.setattr(cpu.CpuBackend, "time_ms", time_ms)
    monkeypatch.setattr(run, "keep_freed_memory", lambda: True)
    return times


TIME = ("time", "fmen_s", "--input", "24x24", "--device", "cpu", "--threads", "1", "--repeat", "8")


def test_measured_and_predicted_side_by_side(clock, capsys):
    assert main([*TIME, "--profile", "mine.toml"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:4] == ["fmen_s", "at", "1x3x24x24", "float32"]
    assert ["8", "passes", "after", "2", "of", "warm-up,", "by", "perf_counter"] in lines
    rows = {line[0]: line for line in lines if line}
    assert rows["measured"][1] == "20"  # 20.05, of which the samples support two figures
    assert "19.975" not in rows["measured"]
    assert "(spread 1.5%)" in " ".join(rows["measured"])
    predicted = float(rows["predicted"][1])
    assert rows["difference"][1] == f"{predicted / 20.05 - 1:+.1%}"
    assert rows["difference"][-2:] == ["My", "processor"]


def test_as_json_with_every_sample(clock, capsys):
    assert main([*TIME, "--profile", "mine.toml", "--format", "json", "-o", "time.json"]) == 0
    assert capsys.readouterr().out == ""
    with open("time.json", encoding="utf-8") as file:
        data = json.load(file)
    assert data["measured"]["samples_ms"] == clock
    assert data["measured"]["median_ms"] == pytest.approx(20.05)
    assert data["predicted"]["device"] == "mine"
    difference = data["predicted"]["predicted_ms"] / 20.05 - 1
    assert data["predicted"]["difference"] == pytest.approx(difference)
    assert data["device"]["kind"] == "cpu"


def test_as_csv_in_one_line(clock):
    assert main([*TIME, "--profile", "mine.toml", "-o", "time.csv"]) == 0
    head, line = Path("time.csv").read_text(encoding="utf-8").splitlines()
    assert head == "spec,device,median_ms,iqr_ms,predicted_ms,uncertainty_ms,difference"
    assert line.startswith("fmen_s,")
    median, iqr, predicted, _, difference = map(float, line.rsplit(",", 5)[1:])
    assert (median, iqr) == (pytest.approx(20.05), pytest.approx(0.3))
    assert difference == pytest.approx(predicted / 20.05 - 1)


def test_a_timing_shows_itself(clock):
    trace = srprof.trace("fmen_s", "24x24")
    flags = Flags(None, None, True, False, False, False, "highest", threads=1)
    latency = Latency("strict", "clock", 2, False, flags, tuple(clock))
    timing = Timing(trace, Device("cpu", "Made-up CPU"), latency, None)
    assert repr(timing) == (
        "<Timing of fmen_s at 1x3x24x24 float32 on Made-up CPU, 1 thread: 8 passes after 2 of "
        "warm-up, by clock>"
    )
    assert "quartiles" in str(timing) and "no prediction" in str(timing)
    assert "<td" in timing._repr_html_()


def test_without_a_profile_it_says_how_to_make_one(clock, capsys):
    assert main(list(TIME)) == 0
    text = capsys.readouterr().out
    assert "measured" in text and "predicted" not in text.replace("no prediction", "")
    assert "srprof calibrate --device cpu -o cpu.toml" in text
    assert "--profile cpu.toml" in text


def test_a_busy_machine_is_said(clock, capsys, monkeypatch):
    """In text and JSON; a quiet one is not."""
    waited = iter([0.4, 0.4, 0.001])
    monkeypatch.setattr(contention.Contention, "share", lambda self: next(waited))
    assert main(list(TIME)) == 0
    assert "busy machine: for 40% of the time the passes waited" in capsys.readouterr().out
    clock[:] = clock * 2
    assert main([*TIME, "--repeat", "4", "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)["measured"]
    assert data["waited"] == 0.4 and "busy machine" in data["doubts"]


def test_a_wide_spread_is_said(clock, capsys, monkeypatch):
    monkeypatch.setattr(cpu.CpuBackend, "time_ms", lambda self, call: next(wide))
    wide = iter([10.0, 40.0] * 4)
    assert main(list(TIME)) == 0
    assert "wide spread" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("--repeat", "0"), "repeat 0"),
        (("--warmup", "-1"), "--warmup: '-1'"),
        (("--threads", "0"), "--threads: '0'"),
        (("--profile", "gtx1080"), "gtx1080ti"),
        (("--profile", "cpu"), "srprof calibrate --device cpu"),
        (("--profile", "gone.toml"), "gone.toml"),
        (("--device", "tpu"), "'tpu'"),
        (("--dtype", "bfloat16", "--profile", "mine.toml"), "mine has no peak for bfloat16"),
        (("-o", "gone/time.txt"), "gone"),
    ],
)
def test_what_time_refuses(clock, capsys, change, named):
    assert main([*TIME, *change]) == 2
    captured = capsys.readouterr()
    assert named in captured.err and captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize(
    "hardware, name",
    [
        ("NVIDIA GeForce GTX 1080 Ti", "gtx1080ti"),
        ("NVIDIA TITAN Xp", "titanxp"),
        ("NVIDIA GeForce RTX 2080 Ti", "rtx2080ti"),
        ("NVIDIA GeForce RTX 3090", "rtx3090"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA GeForce RTX 3090 Ti", None),
        ("NVIDIA A100-SXM4-40GB", None),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H20", None),
        ("This machine's CPU", None),
    ],
)
def test_a_gpu_is_known_by_its_name_and_a_variant_is_not(hardware, name):
    assert profile_of(hardware) == name


def test_no_two_profiles_are_of_one_name():
    """And the measured card of `benchmarks/records` has one."""
    found = [load_profile(name) for name in profile_names() if not needs_calibration(name)]
    assert len({device.title for device in found}) == len(found)
    record = next((ROOT / "benchmarks/records/nvidia-h100/published").glob("imdn_*.json"))
    assert profile_of(json.loads(record.read_text())["device"]["name"]) == "h100"


GATE = """\
import torch
from torch import nn


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        if self.gain.item() == 0:
            raise ValueError("it was not trained")
        return x * self.gain
"""


@pytest.mark.parametrize("command", ["time", "measure"])
def test_a_checkpoint_s_weights_run(command, clock, tmp_path, capsys):
    (tmp_path / "gate.py").write_text(GATE, encoding="utf-8")
    torch.save({"gain": torch.ones(1)}, tmp_path / "gate.pth")
    how = ("gate.py:Gate", "--input", "8x8", "--device", "cpu", "--repeat", "2")
    assert main([command, *how]) == 3
    assert "it was not trained" in capsys.readouterr().err
    assert main([command, *how, "--weights", "gate.pth"]) == 0
    assert "Gate" in capsys.readouterr().out
