"""The committed records of measurements: still read, and still what srprof predicts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from srprof.compare.validate import trace_of, validate
from srprof.measuring.record import load

FOLDER = Path(__file__).parents[2] / "benchmarks" / "records"
#: By device; beside them stand what benchmarks wrote.
RECORDS = sorted(p for d in ("cpu", "nvidia") for p in FOLDER.glob(f"{d}-*/*_*.json"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_record(path: Path):
    measurement = load(path)
    if measurement.device.kind == "cpu" and measurement.versions.torch != torch.__version__:
        pytest.skip("composite calls are taken apart by torch's version on the CPU")
    found = validate(measurement, trace_of(measurement), tolerance=0.01)
    assert not found.failures
    assert len(found.nodes) == len(measurement.nodes)


def test_there_are_records():
    assert len(RECORDS) >= 4
