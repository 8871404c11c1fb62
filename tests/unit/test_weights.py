"""Checkpoints: read without running what is in them, loaded whole or not at all."""

from __future__ import annotations

import os
import resource
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from srprof.errors import InputError
from srprof.weights import load_weights, read_state_dict, write_state_dict


class Net(nn.Module):
    def __init__(self, width: int = 3, extra: int = 0) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, width, 3)
        for index in range(extra):
            self.add_module(f"extra{index}", nn.Conv2d(1, 1, 1))


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return list(first) == list(second) and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.ckpt", "a.safetensors"])
def test_written_is_read(tmp_path: Path, name: str):
    state = Net().state_dict()
    path = str(tmp_path / name)
    write_state_dict(state, path)
    read = read_state_dict(path)
    assert same({k: read[k] for k in state}, state)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"params": s},
        lambda s: {"params_ema": s, "params": {}},
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s, "optimizer": {"state": {}}},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}},
    ],
)
def test_what_people_wrap_around_it(tmp_path: Path, wrap: Callable[[Any], Any]):
    state = Net().state_dict()
    torch.save(wrap(state), tmp_path / "a.pth")
    assert same(read_state_dict(str(tmp_path / "a.pth")), dict(state))


class Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (RAN, "w"))


RAN = "/tmp/srprof-test-ran"


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path: Path):
    Path(RAN).unlink(missing_ok=True)
    torch.save({"a": Runs()}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="is refused: it holds more than tensors"):
        read_state_dict(str(tmp_path / "a.pth"))
    assert not Path(RAN).exists()


def test_a_whole_module_is_refused(tmp_path: Path):
    torch.save(Net(), tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"save model.state_dict\(\) alone"):
        read_state_dict(str(tmp_path / "a.pth"))


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("part", [0, 0.3, 0.9])
def test_cut_off_file(tmp_path: Path, name: str, part: float):
    path = tmp_path / name
    write_state_dict(Net(width=64).state_dict(), str(path))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(InputError, match="damaged, cut off") as raised:
        read_state_dict(str(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content, says", [([1, 2], "no state dict"), ({}, "no tensors"), ({"a": 1}, "no tensors")]
)
def test_no_state_dict(tmp_path: Path, content: Any, says: str):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(InputError, match=says):
        read_state_dict(str(tmp_path / "a.pth"))


def test_no_file():
    with pytest.raises(InputError, match="there is no file"):
        read_state_dict("nowhere.pth")


def test_load_weights(tmp_path: Path):
    first, second = Net(), Net()
    torch.save(first.state_dict(), tmp_path / "a.pth")
    assert load_weights(second, str(tmp_path / "a.pth")) is second
    assert same(dict(first.state_dict()), dict(second.state_dict()))


def test_misfit_lists_both_sides_capped(tmp_path: Path):
    torch.save(Net(extra=4).state_dict() | {"odd": torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(InputError) as raised:
        load_weights(nn.Sequential(Net()), str(tmp_path / "a.pth"))
    line = str(raised.value)
    assert "2 missing (0.head.weight, 0.head.bias)" in line
    assert (
        "11 unexpected (head.weight, head.bias, extra0.weight, extra0.bias, extra1.weight" in line
    )
    assert "and 6 more" in line


def test_misfit_names_shapes(tmp_path: Path):
    torch.save(Net(width=5).state_dict(), tmp_path / "a.pth")
    with pytest.raises(InputError) as raised:
        load_weights(Net(), str(tmp_path / "a.pth"))
    line = str(raised.value)
    assert "head.weight is 5x3x3x3 in the file and 3x3x3x3 in the network" in line
    assert "\n" not in line


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.pth"
    path.write_text("old")

    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(InputError, match="No space left"):
        write_state_dict(Net().state_dict(), str(path))
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.pth"]


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_full_disk_leaves_the_file_before(name, tmp_path):
    """A limit on a file's size stands in for the disk; in a child, which keeps it."""
    path = tmp_path / name
    write_state_dict({"a": torch.zeros(10)}, str(path))
    before = path.read_bytes()
    large = {"a": torch.zeros(100_000)}  # not in the child, which has none of OpenMP's threads
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            write_state_dict(large, str(path))
        except InputError as error:
            os._exit(0 if "cannot be written" in str(error) else 3)
        except BaseException:
            os._exit(2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_torch_says_nothing_of_an_odd_file(tmp_path: Path):
    """A pickle that says to be of a protocol that torch does not know."""
    file = tmp_path / "odd.pth"
    torch.save({"a": torch.zeros(1)}, file, _use_new_zipfile_serialization=False)
    file.write_bytes(file.read_bytes().replace(b"\x80\x02", b"\x80\x27"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_state_dict(str(file))["a"].shape == (1,)
