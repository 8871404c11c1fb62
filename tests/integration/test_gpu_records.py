"""Records of a real GPU, an H100: what srprof says without one is what was measured on it.

`benchmarks/gpu_session.py` took them. The tolerances are of what is not known: in which order a
node hands out its results and its scratch, and which algorithm cuDNN picks.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

import srprof
from srprof.cli import main
from srprof.compare.validate import trace_of, validate
from srprof.measuring.base import load
from srprof.memory.simulation import simulate
from srprof.memory.workspace import tensor_core_workspaces

RECORDS = Path(__file__).resolve().parents[2] / "benchmarks" / "records" / "nvidia-h100"
FILES = sorted(p for p in RECORDS.glob("*/*.json") if p.name != "workspace.json")
HISTORY = json.loads((RECORDS / "history.json").read_text())
SIZES = json.loads(
    (Path(srprof.__file__).parent / "data" / "div2k_test_lr_sizes.json").read_text()
)["hw"]
LARGEST = (510, 510)

#: Where cuDNN picks another algorithm than the rule's, so that a peak by rule is beyond 1 %.
EXCEPTIONS = {
    # copies the input alone for 64 to 256 channels of large maps
    ("carn", "510x510", "float32"),
    ("edsr_baseline", "510x510", "float32"),
    ("edsr_baseline", "339x510", "float32"),
    ("edsr_baseline(block='erb')", "339x510", "float32"),
    # transposed convolutions to one channel; groups of channels
    ("fsrcnn", "256x256", "float16"),
    ("fsrcnn", "510x510", "float16"),
    ("idn", "256x256", "float16"),
    ("idn", "256x256", "float32"),
    ("idn", "510x510", "float32"),
    # takes NCHW kernels for some widths at 256x256, and the peak is elsewhere
    ("megsr", "256x256", "float32"),
    ("rlfn", "256x256", "float32"),
    # six channels in half precision
    ("rainbow", "256x256", "float16"),
    ("rainbow", "256x256", "bfloat16"),
}


@cache
def validated(path: Path):
    measurement = load(str(path))
    return validate(measurement, trace_of(measurement), tolerance=0.01)


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_live_bytes_of_every_node_are_the_gpus(path: Path):
    found = validated(path)
    assert not found.worst
    assert not found.missing
    assert found.nodes


@pytest.mark.parametrize("path", FILES, ids=name)
def test_the_peak_is_the_allocators_given_the_scratch(path: Path):
    allocated = validated(path).peaks[0]
    assert abs(allocated.error) < 0.007


@pytest.mark.parametrize("path", sorted((RECORDS / "without_tf32").glob("*x*.json")), ids=name)
def test_without_tensor_cores_no_scratch_is_needed(path: Path):
    for peak in validated(path).peaks:
        assert peak.by_rule is None
        assert peak.without_workspace == peak.measured


def test_peaks_by_the_rule_for_tensor_cores():
    beyond = set()
    for path in FILES:
        found = validated(path)
        error = found.peaks[0].error_by_rule
        if error is not None and abs(error) > 0.01:
            height, width = found.measurement.inputs[0].shape[2:]
            beyond.add((found.measurement.spec, f"{height}x{width}", found.measurement.dtype))
    assert beyond == EXCEPTIONS


@pytest.mark.parametrize("network", sorted({row["network"] for row in HISTORY}))
@pytest.mark.parametrize("tf32", [False, True])
def test_peaks_after_a_history_are_the_gpus_to_the_byte(network: str, tf32: bool):
    """`max_memory_allocated` and `max_memory_reserved` after 100 images of many sizes."""
    known = tensor_core_workspaces().at_least if tf32 else None
    for row in HISTORY:
        if (row["network"], row["tf32"]) != (network, tf32):
            continue
        history = [tuple(size) for size in SIZES] if row["images"] > 1 else []
        run = simulate([traced(network, size) for size in [*history, LARGEST]], workspace=known)
        assert run.peak_allocated == row["allocated"]
        assert run.peak_reserved == row["reserved"]


@cache
def traced(network: str, size: tuple[int, int]):
    return srprof.trace(network, (1, 3, *size))


def test_a_folder_of_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["validate", "--record", str(RECORDS / "without_tf32")]) == 0
    assert capsys.readouterr().out.count("holds") == 16
    assert main(["validate", "--record", str(tmp_path)]) == 2
    assert "no record in it" in capsys.readouterr().err
