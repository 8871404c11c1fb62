"""What a SPEC may call, and what is refused before it runs."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from srprof import spec
from srprof.cli import main
from srprof.errors import InputError
from srprof.loading import Environment, load_factory
from tests.refusals import one_line

NETWORKS = """\
import functools
import os
from functools import partial
from os import system
from subprocess import getoutput

import torch
from pip import main as install
from torch import nn
from torch.hub import load


class Net(nn.Module):
    def __init__(self, nf=4):
        super().__init__()
        self.body = nn.Conv2d(3, nf, 3)

    @classmethod
    def make(cls):
        return cls()


class Maker:
    def make(self):
        return Net()

    def __call__(self, *args):
        return Net()


class Cover:
    __wrapped__ = system

    def __call__(self, line):
        return system(line)


def function(nf=4) -> nn.Module:
    return Net(nf)


def says_so(path) -> None:
    open(path, "w").close()


@functools.cache
def cached():
    return Net()


@torch.no_grad()
def decorated():
    return Net()


by_class = Net.make
by_method = Maker().make
with_fewer = partial(function, 2)
instance = Maker()
covered = partial(Cover())
shell = partial(system)
getter = os.environ.get
lazily = lambda: Net()  # noqa: E731
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with `net.py` in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETWORKS)
    return tmp_path


def load(text: str) -> Any:
    parsed = spec.parse(text)
    with Environment(parsed).active():
        return load_factory(parsed)()


@pytest.mark.parametrize(
    "name",
    ["Net", "function", "cached", "decorated", "by_class", "by_method", "with_fewer", "lazily"],
)
def test_the_users_classes_and_functions(folder: Path, name: str):
    assert isinstance(load(f"net.py:{name}"), nn.Module)
    assert isinstance(load(f"net:{name}"), nn.Module)


REFUSED = {
    "os:system": "Python's own",
    "posix:system": "Python's own",
    "subprocess:getoutput": "Python's own",
    "builtins:exec": "Python's own",
    "importlib.util:find_spec": "Python's own",
    "functools:partial": "Python's own",
    "__main__:main": "Python's own",
    f"{subprocess.__file__}:getoutput": "Python's own",
    "torch:load": "torch's own",
    "torch.hub:load": "torch's own",
    "torch.jit:load": "torch's own",
    "torch.utils.model_zoo:load_url": "torch's own",
    "pip:main": "nothing of torch",
    "numpy:load": "nothing of torch",
    "srprof.output:write": "srprof's own",
    "net.py:system": "a builtin",
    "net.py:getoutput": "a function of subprocess",
    "net.py:load": "torch's own",
    "net.py:install": "nothing of torch",
    "net.py:partial": "class of something else",
    "net.py:Maker": "class of something else",
    "net.py:shell": "a builtin",
    "net.py:covered": "a builtin",
    "net.py:getter": "Python's own",
    "net.py:instance": "is a Maker",
    "net.py:os": "is a module",
    "net.py:says_so": "returns NoneType",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_else_there_is_does_not_run(folder: Path, name: str):
    with pytest.raises(InputError, match=REFUSED[name]):
        load(f"{name}('touch ran')")
    assert not (folder / "ran").exists()


def test_a_standard_library_elsewhere(folder: Path):
    """Another Python's is none of the project's either; a module with such a name is."""
    other = folder / "python"
    other.mkdir()
    for name in ("os", "site", "subprocess"):
        (other / f"{name}.py").write_text("def system(): ...\n")
    with pytest.raises(InputError, match="Python's own"):
        load("python/subprocess.py:system()")
    (folder / "site.py").write_text("from net import *\n")
    assert isinstance(load("site.py:function"), nn.Module)


def test_a_package_that_is_installed_below_the_project(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """A virtual environment in the current folder makes its packages none of the user's own."""
    packages = folder / "venv" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "tool_of_theirs.py").write_text("def run(line): open(line, 'w')\n")
    monkeypatch.syspath_prepend(str(packages))
    with pytest.raises(InputError, match="nothing of torch"):
        load("tool_of_theirs:run('ran')")
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    "text", ["net.py:os.system('x')", "net:os.system('x')", "net.py:Net().make()", "net.py:f[0]()"]
)
def test_a_factory_is_one_name(folder: Path, text: str):
    with pytest.raises(InputError, match="is not a model"):
        load(text)


SHELL = "os:system('touch ran')"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("check", "--update"), 1),
        (("report", "report.toml"), 2),
        (("sweep", SHELL, "--inputs", "8x8", "--jobs", "1"), 2),
        (("train", "train.toml"), 2),
    ],
)
def test_a_pulled_configuration(
    folder: Path, command: tuple[str, ...], code: int, capsys: pytest.CaptureFixture[str]
):
    """Whatever file or option it comes from."""
    (folder / "srprof.toml").write_text(f'[[check]]\nmodel = "{SHELL}"\ninput = "8x8"\n')
    (folder / "report.toml").write_text(f'title = "T"\nmodels = ["{SHELL}"]\ninput = "8x8"\n')
    (folder / "train.toml").write_text(f'model = "{SHELL}"\ndata = ["skimage"]\noutput = "run"\n')
    assert main(command) == code
    said = capsys.readouterr()
    assert "Python's own" in (said.out if code == 1 else one_line(said.err))
    assert not (folder / "ran").exists()
