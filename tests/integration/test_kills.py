"""Commands that are killed while they write: `benchmarks/kills.py`, a few times."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "kills.py"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.fixture(scope="module")
def kills() -> Iterator[ModuleType]:
    place = importlib.util.spec_from_file_location("kills", BENCHMARK)
    assert place is not None and place.loader is not None
    module = sys.modules[place.name] = importlib.util.module_from_spec(place)
    threads = torch.get_num_threads()
    place.loader.exec_module(module)
    torch.set_num_threads(1)  # OpenMP's threads do not come along when a process forks
    yield module
    torch.set_num_threads(threads)
    del sys.modules[place.name]


def test_killed_commands_leave_nothing_half_written():
    """In a process of its own: a worker of pytest has threads, which a fork does not take along."""
    only = [word for name in ("update", "init", "analyze") for word in ("--only", name)]
    command = [sys.executable, str(BENCHMARK), "--kills", "6", "--seed", "1", *only]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_litter_would_be_seen(kills, tmp_path, monkeypatch):
    monkeypatch.setattr("srprof.temporary.clear", lambda _folder: None)
    kills.load()
    prepared = kills.prepare("analyze", tmp_path)
    seen = (kills.kill(prepared, touches=n)[1] for n in reversed(range(prepared.touches)))
    assert any("litter: .srprof-tmp-" in line for found in seen for line in found)
