"""A folder of one's own, the command, and that nothing is left behind."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from srprof.cli import main
from tests.workloads import Command


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Whatever a test does, no hook, mode or path of srprof outlives it."""
    path, grad, collecting = list(sys.path), torch.is_grad_enabled(), gc.isenabled()
    yield
    assert not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks
    assert torch.utils._python_dispatch._get_current_dispatch_mode() is None
    assert (sys.path, torch.is_grad_enabled(), gc.isenabled()) == (path, grad, collecting)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, none of whose modules outlives the test.

    pytest puts this repository's root on the path, where its own `models` would come before a
    user's that has no `__init__.py`.
    """
    root = str(Path(__file__).parents[3])
    path = list(sys.path)
    sys.path[:] = [entry for entry in path if entry not in (root, "")]
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        where = [getattr(sys.modules[name], "__file__", None) or ""]
        where += getattr(sys.modules[name], "__path__", [])
        if any(str(entry).startswith(str(tmp_path)) for entry in where):
            del sys.modules[name]


@pytest.fixture
def analyze(capsys: pytest.CaptureFixture[str]) -> Command:
    """`srprof analyze`, its JSON read."""

    def run(spec: str, *options: str) -> dict[str, Any]:
        code = main(["analyze", spec, "--input", "8x8", "--format", "json", *options])
        captured = capsys.readouterr()
        assert (code, captured.err) == (0, "")
        found: dict[str, Any] = json.loads(captured.out)
        return found

    return run
