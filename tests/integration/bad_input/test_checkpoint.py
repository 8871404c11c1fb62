"""Checkpoints that are broken, dangerous or of no known network."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from tests.bad_input import (
    Refused,
)
from tests.spandrel_zoo import import_spandrel


class Unsupported(Exception):
    """What the stand-in for spandrel raises for keys that it does not know."""


class StandInLoader:
    """spandrel's loader, for one network of one convolution."""

    def __init__(self, device: str) -> None:
        assert device == "cpu"

    def load_from_state_dict(self, state: dict[str, torch.Tensor]) -> Any:
        if set(state) != {"weight", "bias"}:
            raise Unsupported
        model = torch.nn.Conv2d(3, 4, 3)
        model.load_state_dict(state)
        return types.SimpleNamespace(model=model)


@pytest.fixture(params=["stand-in", "spandrel"])
def spandrel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """spandrel itself where it is installed, and a stand-in that tests srprof alone."""
    if request.param == "stand-in":
        module: Any = types.ModuleType("spandrel")
        module.ModelLoader, module.UnsupportedModelError = StandInLoader, Unsupported
        monkeypatch.setitem(sys.modules, "spandrel", module)
    elif importlib.util.find_spec("spandrel") is None:
        pytest.skip("spandrel is not installed (the extra `spandrel`)")
    else:
        import_spandrel()
    return request.param


class Dangerous:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return open, ("evaluated", "w")


def write_checkpoint(path: Path, kind: str) -> None:
    torch.save(torch.nn.Conv2d(3, 4, 3).state_dict(), path)
    whole = path.read_bytes()
    contents = {"garbage": b"not a checkpoint" * 64, "truncated": whole[: len(whole) // 2]}
    contents |= {"empty": b"", "one byte": b"\x80"}
    if kind in contents:
        path.write_bytes(contents[kind])


BROKEN = ["garbage", "truncated", "empty", "one byte"]


@pytest.mark.parametrize("kind", [*BROKEN, "whole"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_checkpoint_without_spandrel(
    refused: Refused, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, suffix: str
):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    write_checkpoint(folder / f"weights{suffix}", kind)
    if kind == "whole" and suffix == ".safetensors":
        safetensors.torch.save_file(
            torch.nn.Conv2d(3, 4, 3).state_dict(), folder / "weights.safetensors"
        )
    line = refused("analyze", f"weights{suffix}")
    assert ("pip install 'srprof[spandrel]'" if kind == "whole" else "damaged") in line
    assert f"weights{suffix}" in line


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_checkpoint(refused: Refused, folder: Path, spandrel: str, kind: str):
    write_checkpoint(folder / "weights.pth", kind)
    line = refused("analyze", "weights.pth")
    assert "weights.pth" in line
    assert "cannot be read" in line
    assert "weights_only" not in line, "torch's advice to load it unsafely"


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_safetensors(refused: Refused, folder: Path, spandrel: str, kind: str):
    if importlib.util.find_spec("safetensors") is None:
        pytest.skip("safetensors is not installed (the extra `spandrel`)")
    write_checkpoint(folder / "weights.safetensors", kind)
    assert "weights.safetensors" in refused("analyze", "weights.safetensors")


def test_safetensors_not_installed(
    refused: Refused, folder: Path, monkeypatch: pytest.MonkeyPatch, spandrel: str
):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    write_checkpoint(folder / "weights.safetensors", "whole")
    assert "pip install safetensors" in refused("analyze", "weights.safetensors")


def test_checkpoint_with_code_in_it_is_not_run(refused: Refused, folder: Path, spandrel: str):
    torch.save({"weight": Dangerous()}, folder / "weights.pth")
    line = refused("analyze", "weights.pth")
    assert "weights.pth" in line
    assert not (folder / "evaluated").exists()
    assert "trust" not in line, "torch's advice to load it unsafely"


def test_checkpoint_of_an_unknown_network(refused: Refused, folder: Path, spandrel: str):
    torch.save({"mystery": torch.zeros(3)}, folder / "weights.pth")
    line = refused("analyze", "weights.pth")
    assert "neither a zoo nor spandrel recognises it" in line
    assert "file.py:Factory" in line


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], 5, {}])
def test_checkpoint_that_is_no_state_dict(
    refused: Refused, folder: Path, spandrel: str, content: Any
):
    torch.save(content, folder / "weights.pth")
    assert "weights.pth" in refused("analyze", "weights.pth")
