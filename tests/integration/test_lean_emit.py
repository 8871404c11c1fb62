"""Emitted networks: loaded in a process without srprof they give the same bits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import srprof
from srprof.call import Call
from srprof.leaning.emit import emit
from srprof.leaning.run import savings
from srprof.workload import resolve

NETWORKS = '''
"""Networks with what a file must carry."""

import torch
import torch.nn.functional as F
from torch import nn


class Constants(nn.Module):
    """Literals, buffers that are not saved, numbered modules, shared parameters, a dict."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())
        self.again = nn.ModuleDict({"0": self.layers[0], "other": nn.Conv2d(3, 3, 1)})
        self.register_buffer("scale", torch.tensor([0.1, 1 / 3, 3.0]).view(1, 3, 1, 1),
                             persistent=False)
        self.register_buffer("mean", torch.tensor([0.4488, 0.4371, 0.404]).view(1, 3, 1, 1))
        self.table = torch.tensor([[1.0, float("inf")], [-0.25, 1e-7]])

    def forward(self, x):
        y = self.again["other"](self.layers(x - self.mean)) * self.scale
        y = self.again["0"](y) + torch.tensor(0.1) + self.table[1].sum()
        return {"sr": F.pixel_shuffle(torch.cat([y] * 4, 1), 2), "maps": [y, (torch.relu(y),)]}


class Positioned(nn.Module):
    """A table of one image, enlarged to the input's size, which could take the sum of one."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.table = nn.Parameter(torch.linspace(-1, 1, 48).reshape(1, 3, 4, 4))

    def forward(self, image):
        return F.interpolate(self.table, size=image.shape[-2:]) + self.conv(image), image.mean()


class Padded(nn.Module):
    """Takes another way where a size is no multiple of 4."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        height = x.shape[2]
        if height % 4:
            x = F.pad(x, (0, 0, 0, -height % 4))
        return self.conv(x)[:, :, :height]


class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3 * 8 * 8, 5)

    def forward(self, x):
        return self.linear(x.flatten(1))
'''

RUN = """
import sys
sys.modules["srprof"] = None  # so that importing it fails
import importlib.util, torch
file, state, calls, results = sys.argv[1:]
if file.endswith(".pt2"):
    network = torch.export.load(file).module()
else:
    spec = importlib.util.spec_from_file_location("emitted", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (made,) = (value for name, value in vars(module).items() if name.startswith("Lean"))
    network = made().eval()
    network.load_state_dict(torch.load(state))
found = []
with torch.no_grad():
    for image in torch.load(calls):
        try:
            found.append(network(image))
        except ValueError as error:
            found.append("ValueError: " + str(error))
        except Exception as error:
            found.append(type(error).__name__ + ": " + str(error))
torch.save(found, results)
"""


def networks(folder: Path) -> Path:
    file = folder / "carried.py"
    file.write_text(NETWORKS)
    return file


def run_elsewhere(folder: Path, target: Path, network: nn.Module, images: list[Any]) -> list[Any]:
    """Results of the emitted network in a process that cannot import srprof."""
    torch.save(network.state_dict(), folder / "state.pt")
    torch.save(images, folder / "images.pt")
    names = [str(folder / name) for name in ("state.pt", "images.pt", "results.pt")]
    command = [sys.executable, "-c", RUN, str(target), *names]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return torch.load(names[-1])


def emitted(folder: Path, spec: str, shape: tuple[int, ...], level: str, ending: str) -> Any:
    """The file, and the network with the same weights."""
    target = folder / f"lean{ending}"
    torch.manual_seed(0)
    workload = resolve(Call(spec, (shape,)))
    network = workload.instance("cpu").model
    state = folder / "weights.pt"
    torch.save(network.state_dict(), state)
    given = resolve(Call(spec, (shape,), weights=str(state)))
    emit(given, savings(given, level).lean, str(target))
    return target, network


def same(before: Any, after: Any, tolerance: float = 0.0) -> bool:
    assert pytree.tree_structure(before) == pytree.tree_structure(after)
    return all(
        torch.equal(one, other) or (one - other).abs().max() <= tolerance * one.abs().max()
        for one, other in zip(pytree.tree_leaves(before), pytree.tree_leaves(after), strict=True)
    )


@pytest.mark.parametrize("ending", [".py", ".pt2"])
@pytest.mark.parametrize("name", ["Constants", "Positioned"])
def test_what_a_file_must_carry(name: str, ending: str, tmp_path: Path):
    spec = f"{networks(tmp_path)}:{name}"
    target, network = emitted(tmp_path, spec, (1, 3, 8, 8), "exact", ending)
    images = [torch.rand(shape) for shape in [(1, 3, 8, 8), (1, 3, 9, 13), (3, 3, 6, 7)]]
    found = run_elsewhere(tmp_path, target, network, images)
    with torch.no_grad():
        for image, result in zip(images, found, strict=True):
            assert not isinstance(result, str), result
            assert same(network(image), result)


@pytest.mark.parametrize("ending", [".py", ".pt2"])
@pytest.mark.parametrize("level", ["exact", "equivalent"])
@pytest.mark.parametrize("name", ["e_rfdn", "fmen_s"])
def test_networks_of_the_zoo(name: str, level: str, ending: str, tmp_path: Path):
    target, network = emitted(tmp_path, name, (1, 3, 40, 40), level, ending)
    images = [torch.rand(shape) for shape in [(1, 3, 40, 40), (1, 3, 37, 51), (2, 3, 24, 32)]]
    found = run_elsewhere(tmp_path, target, network, images)
    with torch.no_grad():
        for image, result in zip(images, found, strict=True):
            assert not isinstance(result, str), result
            assert same(network(image), result, 0.0 if level == "exact" else 1e-5)


@pytest.mark.parametrize("level", ["exact", "equivalent"])
def test_the_py_peaks_as_the_lean_network(level: str, tmp_path: Path):
    target, _ = emitted(tmp_path, "e_rfdn", (1, 3, 40, 40), level, ".py")
    lean = srprof.lean("e_rfdn", (1, 3, 40, 40), level=level)
    found = srprof.analyze(f"{target}:LeanERFDN", (1, 3, 40, 40))
    assert found.memory.eager.nbytes == srprof.analyze(lean, (1, 3, 40, 40)).memory.eager.nbytes


@pytest.mark.parametrize("level", ["exact", "equivalent"])
def test_the_pt2_peaks_as_the_lean_network(level: str, tmp_path: Path):
    target, _ = emitted(tmp_path, "e_rfdn", (1, 3, 40, 40), level, ".pt2")
    program = torch.export.load(target).module()
    lean = srprof.lean("e_rfdn", (1, 3, 40, 40), level=level)
    found = srprof.measure(program, (1, 3, 40, 40), device="cpu", repeat=0).memory.warm
    expected = srprof.measure(lean, (1, 3, 40, 40), device="cpu", repeat=0).memory.warm
    assert found.max_allocated == expected.max_allocated


def test_a_size_for_which_the_code_takes_another_way(tmp_path: Path):
    spec = f"{networks(tmp_path)}:Padded"
    target, network = emitted(tmp_path, spec, (1, 3, 8, 8), "exact", ".py")
    images = [torch.rand(1, 3, 12, 5), torch.rand(1, 3, 9, 8), torch.rand(2, 3, 16, 8)]
    first, second, third = run_elsewhere(tmp_path, target, network, images)
    with torch.no_grad():
        assert same(network(images[0]), first)
        assert same(network(images[2]), third)
    assert second == "ValueError: this code was made for inputs of other sizes"


@pytest.mark.parametrize("ending", [".py", ".pt2"])
def test_a_network_of_one_size(ending: str, tmp_path: Path):
    spec = f"{networks(tmp_path)}:Fixed"
    target, network = emitted(tmp_path, spec, (1, 3, 8, 8), "exact", ending)
    images = [torch.rand(1, 3, 8, 8), torch.rand(3, 3, 8, 8), torch.rand(1, 3, 9, 9)]
    first, second, third = run_elsewhere(tmp_path, target, network, images)
    with torch.no_grad():
        assert same(network(images[0]), first)
        assert same(network(images[1]), second)
    assert isinstance(third, str)
