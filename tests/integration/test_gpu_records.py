"""Records of a real GPU, an H100: what srprof says without one is what was measured on it.

`benchmarks/gpu_session.py` took them. The tolerances are of what is not known: in which order a
node hands out its results and its scratch, and which algorithm cuDNN picks.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import srprof
from srprof import registry
from srprof.cli import main
from srprof.compare.validate import Validation, trace_of, validate
from srprof.measuring.record import Measurement, load
from srprof.memory.simulation import simulate
from srprof.memory.workspace import tensor_core_workspaces
from tests.traced import TEST_IMAGES, traced

RECORDS = Path(__file__).resolve().parents[2] / "benchmarks" / "records" / "nvidia-h100"
FILES = sorted(p for p in RECORDS.glob("*/*.json") if p.name != "workspace.json")
HISTORY = json.loads((RECORDS / "history.json").read_text())
LARGEST = (510, 510)

#: Where cuDNN picks another algorithm than the rule's, so that a peak by rule is beyond 1 %.
EXCEPTIONS = {
    # copies the input alone for 64 to 256 channels of large maps
    ("carn", "510x510", "float32"),
    ("edsr_baseline", "510x510", "float32"),
    ("edsr_baseline", "339x510", "float32"),
    ("edsr_baseline(block='erb')", "339x510", "float32"),
    # transposed convolutions to one channel; groups of channels in half precision
    ("fsrcnn", "256x256", "float16"),
    ("fsrcnn", "510x510", "float16"),
    ("idn", "256x256", "float16"),
}


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def predicted(path: Path) -> Validation:
    measurement = load(str(path))
    return validate(measurement, trace_of(measurement), tolerance=0.01)


@pytest.fixture(scope="module", params=FILES, ids=name)
def validated(request: pytest.FixtureRequest) -> Validation:
    """A record beside what is predicted for it: made once for all that is asked of it."""
    return predicted(request.param)


def call_of(measurement: Measurement) -> tuple[str, str, str]:
    height, width = measurement.inputs[0].shape[2:]
    return measurement.spec, f"{height}x{width}", measurement.dtype


def is_beyond(validation: Validation) -> bool:
    """Whether the peak by rule is more than 1 % off; there is none without tensor cores."""
    error = validation.peaks[0].error_by_rule
    return error is not None and abs(error) > 0.01


def test_live_bytes_of_every_node_are_the_gpus(validated: Validation):
    assert not validated.worst
    assert not validated.missing
    assert validated.nodes


def test_the_peak_is_the_allocators_given_the_scratch(validated: Validation):
    assert abs(validated.peaks[0].error) < 0.007


def test_without_tensor_cores_no_scratch_is_needed_and_else_a_rule_gives_it(validated: Validation):
    if is_beyond(validated):
        assert call_of(validated.measurement) in EXCEPTIONS
    for peak in validated.peaks:
        without = validated.measurement.flags.tf32_cudnn is False
        assert (peak.by_rule is None) == without
        assert not without or peak.without_workspace == peak.measured


def test_each_exception_is_one():
    paths = [path for path in FILES if call_of(load(str(path))) in EXCEPTIONS]
    beyond = {call_of(found.measurement) for found in map(predicted, paths) if is_beyond(found)}
    assert beyond == EXCEPTIONS


@pytest.mark.parametrize("network", sorted({row["network"] for row in HISTORY}))
def test_peaks_after_a_history_are_the_gpus_to_the_byte(network: str):
    """`max_memory_allocated` and `max_memory_reserved` after 100 images of many sizes."""
    for row in HISTORY:
        if row["network"] != network:
            continue
        known = tensor_core_workspaces().at_least if row["tf32"] else None
        history = TEST_IMAGES if row["images"] > 1 else []
        run = simulate([traced(network, size) for size in [*history, LARGEST]], workspace=known)
        assert run.peak_allocated == row["allocated"]
        assert run.peak_reserved == row["reserved"]


def test_a_folder_of_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["validate", "--record", str(RECORDS / "without_tf32")]) == 0
    assert capsys.readouterr().out.count("holds") == 16
    assert main(["validate", "--record", str(tmp_path)]) == 2
    assert "no record in it" in capsys.readouterr().err


TRAINING = json.loads((RECORDS / "training.json").read_text())


@pytest.mark.parametrize("row", TRAINING, ids=lambda row: row["network"])
def test_a_training_step_has_the_gpus_bytes_between_its_phases(row: dict[str, Any]):
    """After the loss, and at the end; its peak is at least the predicted one, scratch on top."""
    analysis = srprof.analyze_training(row["network"], tuple(row["shape"]), granularity=1)
    live = [sum(kinds) for kinds in analysis.memory.kinds]
    step = analysis.trace.step
    assert step is not None
    for measured in (row["with_tf32"], row["without_tf32"]):
        gradient = 4  # of the loss itself, which the first call of backward makes
        assert live[step.backward] == measured["loss"] + gradient
        assert live[-1] == measured["step"]
        assert analysis.peak <= measured["peak"]


LAYOUTS = json.loads((RECORDS / "layouts.json").read_text())


@pytest.mark.parametrize("row", LAYOUTS, ids=lambda row: row["network"])
def test_channels_last_has_the_gpus_strides(row: dict[str, Any]):
    """Of every result of every call, where sides are longer than 1: the zoo, and convolutions."""
    if row["network"].startswith("{"):
        options = ast.literal_eval(row["network"])
        kind = nn.ConvTranspose2d if options.pop("transposed", None) else nn.Conv2d
        model: Any = nn.Sequential(kind(**options), nn.ReLU()).eval()
        shape = (1, options["in_channels"], 32, 32)
    else:
        model, shape = row["network"], (1, registry.find(row["network"]).channels, 64, 64)
    trace = srprof.trace(model, shape, channels_last=True)
    ours = [(n.op, [(o.shape, layout(o.shape, o.strides)) for o in n.outputs]) for n in trace.nodes]
    theirs = [
        (op, [(tuple(shape), layout(shape, strides)) for shape, strides in outputs])
        for op, outputs in row["calls"]
    ]
    assert ours == theirs


def layout(shape: Sequence[int], strides: Sequence[int]) -> list[int]:
    return [stride for side, stride in zip(shape, strides, strict=True) if side > 1]


LEAN = json.loads((RECORDS / "lean.json").read_text())


@pytest.mark.parametrize("row", LEAN, ids=lambda row: f"{row['network']}-{row['level']}")
def test_lean_networks_have_the_gpus_peak(row: dict[str, Any]):
    """By the analysis, without TF32; outputs were the same bits at level `exact`.

    To the byte, but for the copy that cuDNN makes of a part of a fusion's weights.
    """
    shape = (1, 3, 256, 256)
    lean = srprof.lean(row["network"], shape, level=row["level"])
    analysis = srprof.analyze(lean, shape, granularity=1)
    resident = sum(t.nbytes for t in (*lean.parameters(), *lean.buffers()))
    image = 3 * 256 * 256 * 4
    for kind in ("without_tf32", "with_tf32"):
        assert all(row[kind]["identical"]) or row["level"] == "equivalent"
        assert row[kind]["lean"]["cold_requested"] <= row[kind]["eager"]["cold_requested"]
    assert max(row["without_tf32"]["error"]) < 1e-5
    measured = row["without_tf32"]["lean"]["cold_requested"]
    copied = measured - (analysis.memory.eager.nbytes - resident - image)
    assert copied == 0 if row["level"] == "exact" else 0 <= copied <= 50 * 50 * 4
