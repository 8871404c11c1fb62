"""Emitted networks: loaded in a process without srprof they give the same bits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import srprof
from srprof.call import Call
from srprof.leaning.emit import emit
from srprof.workload import Workload, resolve

#: Of the networks of the zoo.
SHAPE = (1, 3, 40, 40)

#: Small ones of the zoo: fusions of many maps that are split, and a chain of blocks.
RFDN, FMEN_S = "rfdn(nf=16, num_blocks=2)", "fmen_s(up_blocks=(1,))"

#: Of those below.
CARRIED = ("Constants", "Positioned", "Padded", "Fixed")

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

#: Runs emitted networks, one for each line of paths that it is given, and prints a line for each.
RUN = """
import sys
sys.modules["srprof"] = None  # so that importing it fails
import importlib.util, json, torch

def load(file, state):
    if file.endswith(".pt2"):
        return torch.export.load(file).module()
    spec = importlib.util.spec_from_file_location("emitted", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (made,) = (value for name, value in vars(module).items() if name.startswith("Lean"))
    network = made().eval()
    network.load_state_dict(torch.load(state))
    return network

def results(network, images):
    for image in images:
        try:
            yield network(image)
        except Exception as error:
            yield type(error).__name__ + ": " + str(error)

for line in sys.stdin:
    file, state, images, found = json.loads(line)
    with torch.no_grad():
        torch.save(list(results(load(file, state), torch.load(images))), found)
    print("done", flush=True)
"""

#: Gives the results of an emitted network with the weights of another, for some images.
Elsewhere = Callable[[Path, nn.Module, list[torch.Tensor]], list[Any]]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    """A process that cannot import srprof and runs what is emitted."""
    folder = tmp_path_factory.mktemp("elsewhere")
    state, images_file, found = (str(folder / name) for name in ("state", "images", "results"))
    with (
        (folder / "stderr").open("w+") as errors,
        subprocess.Popen(
            [sys.executable, "-c", RUN],
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
        ) as process,
    ):  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        requests, answers = process.stdin, process.stdout

        def run(target: Path, network: nn.Module, images: list[torch.Tensor]) -> list[Any]:
            torch.save(network.state_dict(), state)
            torch.save(images, images_file)
            print(json.dumps([str(target), state, images_file, found]), file=requests, flush=True)
            assert answers.readline() == "done\n", (folder / "stderr").read_text()
            return torch.load(found)

        yield run
        requests.close()
        assert process.wait(timeout=60) == 0


class Made(NamedTuple):
    """A lean network, what it was made of, and where."""

    folder: Path
    given: Workload
    network: nn.Module
    lean: nn.Module


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, tuple[int, ...], str], Made]:
    """Makes a network of the zoo or of this file lean, once for all that is asked of it."""

    @cache
    def make(name: str, shape: tuple[int, ...], level: str) -> Made:
        folder = tmp_path_factory.mktemp(name.partition("(")[0])
        (folder / "carried.py").write_text(NETWORKS)
        spec = f"{folder / 'carried.py'}:{name}" if name in CARRIED else name
        torch.manual_seed(0)
        network = resolve(Call(spec, (shape,))).instance("cpu").model
        weights = str(folder / "weights.pt")
        torch.save(network.state_dict(), weights)
        given = resolve(Call(spec, (shape,), weights=weights))
        return Made(folder, given, network, srprof.lean(spec, shape, level=level, weights=weights))

    return make


def emitted(made: Made, ending: str) -> Path:
    """The file of a lean network."""
    target = made.folder / f"lean{ending}"
    if not target.exists():
        emit(made.given, made.lean, str(target))
    return target


def same(before: Any, after: Any, tolerance: float = 0.0) -> bool:
    assert pytree.tree_structure(before) == pytree.tree_structure(after)
    return all(
        torch.equal(one, other) or (one - other).abs().max() <= tolerance * one.abs().max()
        for one, other in zip(pytree.tree_leaves(before), pytree.tree_leaves(after), strict=True)
    )


endings = pytest.mark.parametrize("ending", [".py", ".pt2"])
levels = pytest.mark.parametrize("level", ["exact", "equivalent"])


@endings
@pytest.mark.parametrize("name", ["Constants", "Positioned"])
def test_what_a_file_must_carry(name: str, ending: str, made, elsewhere: Elsewhere):
    carried = made(name, (1, 3, 8, 8), "exact")
    images = [torch.rand(shape) for shape in [(1, 3, 8, 8), (1, 3, 9, 13), (3, 3, 6, 7)]]
    found = elsewhere(emitted(carried, ending), carried.network, images)
    with torch.no_grad():
        for image, result in zip(images, found, strict=True):
            assert not isinstance(result, str), result
            assert same(carried.network(image), result)


@endings
@levels
@pytest.mark.parametrize("name", [RFDN, FMEN_S])
def test_networks_of_the_zoo(name: str, level: str, ending: str, made, elsewhere: Elsewhere):
    of_zoo = made(name, SHAPE, level)
    images = [torch.rand(shape) for shape in [SHAPE, (1, 3, 37, 51), (2, 3, 24, 32)]]
    found = elsewhere(emitted(of_zoo, ending), of_zoo.network, images)
    with torch.no_grad():
        for image, result in zip(images, found, strict=True):
            assert not isinstance(result, str), result
            assert same(of_zoo.network(image), result, 0.0 if level == "exact" else 1e-5)


@levels
def test_the_py_peaks_as_the_lean_network(level: str, made):
    rfdn = made(RFDN, SHAPE, level)
    found = srprof.analyze(f"{emitted(rfdn, '.py')}:LeanRFDN", SHAPE)
    assert found.memory.eager.nbytes == srprof.analyze(rfdn.lean, SHAPE).memory.eager.nbytes


@levels
def test_the_pt2_peaks_as_the_lean_network(level: str, made):
    rfdn = made(RFDN, SHAPE, level)
    program = torch.export.load(emitted(rfdn, ".pt2")).module()
    found = srprof.measure(program, SHAPE, device="cpu", repeat=0).memory.warm
    expected = srprof.measure(rfdn.lean, SHAPE, device="cpu", repeat=0).memory.warm
    assert found.max_allocated == expected.max_allocated


def test_a_size_for_which_the_code_takes_another_way(made, elsewhere: Elsewhere):
    padded = made("Padded", (1, 3, 8, 8), "exact")
    images = [torch.rand(1, 3, 12, 5), torch.rand(1, 3, 9, 8), torch.rand(2, 3, 16, 8)]
    first, second, third = elsewhere(emitted(padded, ".py"), padded.network, images)
    with torch.no_grad():
        assert same(padded.network(images[0]), first)
        assert same(padded.network(images[2]), third)
    assert second == "ValueError: this code was made for inputs of other sizes"


@endings
def test_a_network_of_one_size(ending: str, made, elsewhere: Elsewhere):
    fixed = made("Fixed", (1, 3, 8, 8), "exact")
    images = [torch.rand(1, 3, 8, 8), torch.rand(3, 3, 8, 8), torch.rand(1, 3, 9, 9)]
    first, second, third = elsewhere(emitted(fixed, ending), fixed.network, images)
    with torch.no_grad():
        assert same(fixed.network(images[0]), first)
        assert same(fixed.network(images[1]), second)
    assert isinstance(third, str)
