"""What an H200 took of the zoo's networks, and srprof says without one.

`benchmarks/h200_peaks.py --repositories DIR` holds all 74 networks that were measured.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def h200_peaks() -> ModuleType:
    """The benchmark."""
    spec = importlib.util.spec_from_file_location("h200_peaks", BENCHMARKS / "h200_peaks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_peaks_are_the_gpus_to_the_byte(h200_peaks: ModuleType):
    measured = json.loads(h200_peaks.RECORD.read_text())["peaks"]
    for key in ("2022 -1", "2022 3", "2022 5", "2022 39"):
        network = h200_peaks.OF_ZOO[key]
        row = {name: nbytes for name, nbytes in measured[key].items() if name != "name"}
        assert h200_peaks.peaks(h200_peaks.traces(network)) == row, network
