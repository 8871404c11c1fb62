"""From a SPEC to a model: the search path, modules that come and go, factories."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from torch import nn

from srprof import spec
from srprof.errors import InputError
from srprof.loading import Environment, load_factory
from srprof.spec import Spec


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- Environment --------------------------------------------------------------------------------


def added(parsed: Spec) -> list[str]:
    before = list(sys.path)
    with Environment(parsed).active():
        found = list(sys.path)
    assert sys.path == before
    assert found[len(found) - len(before) :] == before
    return found[: len(found) - len(before)]


def test_search_path_of_a_file(folder: Path):
    """The file's folder, its first ancestor without `__init__.py`, and the current folder."""
    for name in ("root/pack/sub", "here"):
        (folder / name).mkdir(parents=True)
    for name in ("pack", "pack/sub"):
        (folder / "root" / name / "__init__.py").touch()
    (folder / "root/pack/sub/net.py").touch()
    os.chdir(folder / "here")
    parsed = spec.parse("../root/pack/sub/net.py:Net")
    assert added(parsed) == [
        str(folder / "root/pack/sub"),
        str(folder / "root"),
        str(folder / "here"),
    ]


def test_search_path_names_each_folder_once(folder: Path):
    (folder / "net.py").touch()
    assert added(spec.parse("net.py:Net")) == [str(folder)]


def test_search_path_of_other_forms(folder: Path):
    assert added(spec.parse("os.path:Net")) == [str(folder)]
    assert added(spec.parse("fmen_s")) == []


def test_search_path_is_put_back_after_an_error():
    before = list(sys.path)
    with pytest.raises(KeyError), Environment(spec.parse("os.path:Net")).active():
        sys.path.append("more")
        raise KeyError
    assert sys.path == before


# -- load_factory -------------------------------------------------------------------------------

NETWORKS = """\
from torch import nn

def make(nf, *, scale=4):
    return nn.Conv2d(nf, scale, 1)

class Net(nn.Module):
    pass

instance = Net()
number = 3
"""


def load(text: str) -> Any:
    parsed = spec.parse(text)
    with Environment(parsed).active():
        return load_factory(parsed)()


def test_load_factory(folder: Path):
    (folder / "net.py").write_text(NETWORKS)
    made = load("net.py:make(3, scale=2)")
    assert (made.in_channels, made.out_channels) == (3, 2)
    assert type(load("net.py:Net")).__name__ == "Net"
    assert isinstance(load("torch.nn:Identity"), nn.Identity)


def test_load_factory_gives_a_new_model_each_time(folder: Path):
    (folder / "net.py").write_text(NETWORKS)
    parsed = spec.parse("net.py:Net")
    with Environment(parsed).active():
        factory = load_factory(parsed)
        assert factory() is not factory()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("Nat", "no 'Nat'; it has make, Net; did you mean Net"),
        ("make", "missing a required argument: 'nf'"),
        ("make(3, size=2)", "unexpected keyword argument 'size'"),
        ("make(3, 4)", "too many positional arguments"),
        ("number", "number is a int"),
        ("instance(3)", "instance is a Net"),
    ],
)
def test_load_factory_refuses(folder: Path, call: str, says: str):
    (folder / "net.py").write_text(NETWORKS)
    with pytest.raises(InputError, match=says):
        load(f"net.py:{call}")


def test_load_factory_of_a_missing_module(folder: Path):
    with pytest.raises(InputError, match="no module 'missing_one'"):
        load("missing_one.part:Net")
    with pytest.raises(InputError, match=r"no module 'torch\.missing_part'"):
        load("torch.missing_part:Net")


def test_load_factory_passes_the_users_errors_through(folder: Path):
    (folder / "net.py").write_text("raise KeyError('mine')")
    with pytest.raises(KeyError, match="mine"):
        load("net.py:Net")


def test_failed_import_is_not_remembered(folder: Path):
    """Mended, the file is read anew."""
    (folder / "net.py").write_text("raise KeyError")
    with pytest.raises(KeyError):
        load("net.py:Net")
    (folder / "net.py").write_text(NETWORKS)
    assert type(load("net.py:Net")).__name__ == "Net"


def test_modules_come_and_go_with_the_environment(folder: Path):
    (folder / "mine_alone.py").write_text(NETWORKS)
    environment = Environment(spec.parse("mine_alone:Net"))
    with environment.active():
        load_factory(spec.parse("mine_alone:Net"))
        first = sys.modules["mine_alone"]
    assert "mine_alone" not in sys.modules
    with environment.active():
        assert sys.modules["mine_alone"] is first


def test_a_folder_of_data_does_not_hide_a_package(folder: Path):
    """`numpy/` without `__init__.py` is not the module that `import numpy` finds."""
    import numpy

    (folder / "numpy").mkdir()
    with Environment(spec.parse("os.path:Net")).active():
        assert sys.modules["numpy"] is numpy


# -- code that cannot be imported twice ---------------------------------------------------------


ONCE = """
import torch
from torch import nn
{registers}

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)

    def forward(self, x):
        return self.conv(x{asks})

{then}
"""

REGISTRY = """
class Registry:
    def __init__(self):
        self.known = set()

    def register(self, cls):
        assert cls.__name__ not in self.known, f"{cls.__name__} was already registered"
        self.known.add(cls.__name__)
        return cls

ARCHITECTURES = Registry()
"""

REGISTERED = {
    "a registry": (
        "from architectures_elsewhere import ARCHITECTURES",
        "ARCHITECTURES.register(Net)",
    ),
    "an operator": ("torch.library.define('srprof_once::twice', '(Tensor x) -> Tensor')", ""),
    "a library": ("LIBRARY = torch.library.Library('srprof_once_lib', 'DEF')", ""),
}


@pytest.mark.parametrize("asks", ["", ".cuda()"])
@pytest.mark.parametrize("kind", REGISTERED)
def test_code_that_cannot_be_imported_twice(kind, asks, folder, monkeypatch, capsys):
    import srprof
    from srprof.cli import main

    elsewhere = ModuleType("architectures_elsewhere")
    exec(REGISTRY, vars(elsewhere))
    monkeypatch.setitem(sys.modules, elsewhere.__name__, elsewhere)
    registers, then = REGISTERED[kind]
    name = f"net_{'cuda' if asks else 'plain'}"
    text = ONCE.format(registers=registers.replace("once", f"once_{name}"), then=then, asks=asks)
    (folder / f"{name}.py").write_text(text)
    spec_text = f"{name}.py:Net"

    first = srprof.analyze(spec_text, (1, 3, 16, 16))
    again = srprof.analyze(spec_text, (1, 3, 16, 16))
    assert again.memory.eager == first.memory.eager
    other = f"{name}.py:Net(width=8)"
    # what asks for a GPU in its forward is not measured on a CPU
    for command in ("rank", "diff") if asks else ("rank", "diff", "validate"):
        assert main([command, spec_text, other, "--input", "16x16"]) == 0, capsys.readouterr().err
    (folder / "srprof.toml").write_text(checks(spec_text, other))
    for command in (["check", "--update"], ["check"]):
        assert main(command) == 0, capsys.readouterr().err


def checks(*models: str) -> str:
    return "".join(f"[[check]]\nmodel = {m!r}\ninput = '16x16'\n" for m in models)


def test_two_revisions_of_code_that_cannot_be_imported_twice(folder, capsys):
    """The second is analyzed by a program of its own."""
    from srprof.cli import main

    text = ONCE.format(
        registers="torch.library.define('srprof_revised::twice', '(Tensor x) -> Tensor')",
        then="print('what a network prints')",
        asks="",
    )
    (folder / "revised.py").write_text(text)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "revised.py"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *arguments], check=True)
    (folder / "revised.py").write_text(text.replace("width=4", "width=8"))
    specs = ["HEAD:revised.py:Net", "revised.py:Net"]
    assert main(["diff", *specs, "--input", "16x16"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("params")]
    assert row.split()[1:3] == ["112", "224"]


def test_code_that_has_changed_is_not_replaced_by_what_it_was(folder):
    import srprof

    text = "raise_now = {}\n" + ONCE.format(registers="", then="assert not raise_now", asks="")
    (folder / "net.py").write_text(text.format(0))
    srprof.analyze("net.py:Net", (1, 3, 16, 16))
    (folder / "net.py").write_text(text.format(11))
    with pytest.raises(srprof.ModelError, match="AssertionError"):
        srprof.analyze("net.py:Net", (1, 3, 16, 16))


def test_a_package_of_folders_without_init(folder, capsys):
    import srprof
    from srprof.cli import main

    package = folder / "networks" / "team09"
    package.mkdir(parents=True)
    (package / "block.py").write_text("from torch import nn\n\nBlock = nn.Conv2d\n")
    text = ONCE.format(registers="from networks.team09.block import Block", then="", asks="")
    (folder / "net.py").write_text(text)
    for _ in range(2):
        assert srprof.analyze("net.py:Net", (1, 3, 16, 16)).trace.nodes
    (package / "net.py").write_text(text)
    deep = "networks/team09/net.py:Net"
    assert srprof.analyze(deep, (1, 3, 16, 16)).trace.nodes
    (folder / "srprof.toml").write_text(checks("net.py:Net", deep))
    commands = [["check", "--update"], ["check"]]
    commands += [[name, "net.py:Net", deep, "--input", "16x16"] for name in ("validate", "rank")]
    for command in commands:
        assert main(command) == 0, capsys.readouterr().err
    assert "networks" not in sys.modules
