"""SPECs of files, modules and repositories, and their arguments."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import srprof
from tests.workloads import (
    BODY,
    FACTORY,
    IMAGE,
    PARAMETERS,
    Command,
    parameters,
    write,
    write_repository,
)

# -- files and modules --------------------------------------------------------------------------


@pytest.mark.parametrize("package", [True, False])
@pytest.mark.parametrize("spec", ["train.py:Net", "models/net.py:Net", "models.net:Net"])
def test_repository_with_a_models_package_from_its_root(
    folder: Path, analyze: Command, spec: str, package: bool
):
    write_repository(folder, 5, package=package)
    path = list(sys.path)
    assert parameters(analyze(spec)) == PARAMETERS[5]
    assert sys.path == path


@pytest.mark.parametrize("file", ["train.py", "models/net.py"])
def test_repository_from_elsewhere(folder: Path, analyze: Command, file: str):
    write_repository(folder / "repository", 5)
    (folder / "elsewhere").mkdir()
    os.chdir(folder / "elsewhere")
    assert parameters(analyze(f"../repository/{file}:Net")) == PARAMETERS[5]
    assert parameters(analyze(f"{folder}/repository/{file}:Net(nf=7)")) == PARAMETERS[7]


@pytest.mark.parametrize("file", ["train.py", "models/net.py"])
def test_second_repository_gets_its_own_models_package(folder: Path, analyze: Command, file: str):
    for name, nf in (("one", 5), ("two", 6)):
        write_repository(folder / name, nf)
    for name, nf in (("one", 5), ("two", 6), ("one", 5)):
        assert parameters(analyze(f"{name}/{file}:Net")) == PARAMETERS[nf]
    found = srprof.analyze("fmen_s", IMAGE)
    assert found.complexity.parameters > PARAMETERS[6], "the zoo is not shadowed"


def test_module_of_the_current_folder_follows_the_folder(folder: Path, analyze: Command):
    for name, nf in (("one", 5), ("two", 6)):
        write_repository(folder / name, nf)
        os.chdir(folder / name)
        assert parameters(analyze("models.net:Net")) == PARAMETERS[nf]


def test_file_after_module_of_another_repository(folder: Path, analyze: Command):
    for name, nf in (("one", 5), ("two", 6)):
        write_repository(folder / name, nf)
    os.chdir(folder / "one")
    assert parameters(analyze("models.net:Net")) == PARAMETERS[5]
    os.chdir(folder)
    assert parameters(analyze("two/train.py:Net")) == PARAMETERS[6]


def test_modules_of_the_caller_are_left_in_place(folder: Path):
    """A notebook that imported its own `models` before, and goes on with it."""
    write_repository(folder / "mine", 5)
    write_repository(folder / "other", 6)
    sys.path.insert(0, str(folder / "mine"))  # until the fixture ends
    own = importlib.import_module("models.net")
    mine = sys.modules["models"], own
    found = srprof.analyze(f"{folder}/other/train.py:Net", IMAGE)
    assert found.complexity.parameters == PARAMETERS[6]
    assert (sys.modules["models"], sys.modules["models.net"]) == mine


def test_edited_file_is_read_again(folder: Path):
    for nf in (4, 16):
        write_repository(folder, nf)
        found = srprof.analyze("train.py:Net", IMAGE)
        assert found.complexity.parameters == PARAMETERS[nf]


@pytest.mark.parametrize(
    ("file", "imports"),
    [
        ("pack/net.py", "from .blocks import Body"),
        ("pack/sub/net.py", "from ..blocks import Body"),
        ("pack/sub/deep/net.py", "from ...blocks import Body"),
        ("pack/sub/net.py", "from pack.blocks import Body"),
        ("pack/__init__.py", "from .blocks import Body"),
    ],
)
def test_relative_imports(folder: Path, analyze: Command, file: str, imports: str):
    inits = ("pack", "pack/sub", "pack/sub/deep")
    write(folder / "root", {f"{name}/__init__.py": "" for name in inits})
    write(folder / "root", {"pack/blocks.py": BODY, file: f"{imports}\n{FACTORY.format(nf=4)}"})
    assert parameters(analyze(f"root/{file}:Net")) == PARAMETERS[4]


def test_package_that_imports_its_own_file(folder: Path, analyze: Command):
    write(
        folder,
        {
            "pack/__init__.py": "from .net import Net\nfrom . import blocks\n",
            "pack/blocks.py": BODY,
            "pack/net.py": "from .blocks import Body\n" + FACTORY.format(nf=4),
        },
    )
    assert parameters(analyze("pack/net.py:Net")) == PARAMETERS[4]
    assert parameters(analyze("pack:Net")) == PARAMETERS[4]
    assert parameters(analyze("pack.net:Net(nf=6)")) == PARAMETERS[6]


def test_file_next_to_its_helpers(folder: Path, analyze: Command):
    write(folder / "a b", {"helpers.py": BODY, "my net.py": "from helpers import Body\nNet = Body"})
    assert parameters(analyze("a b/my net.py:Net(6)")) == PARAMETERS[6]


def test_constructor_that_imports(folder: Path, analyze: Command):
    source = "def Net():\n    from helpers import Body\n    return Body(6)\n"
    write(folder / "sub", {"helpers.py": BODY, "net.py": source})
    assert parameters(analyze("sub/net.py:Net")) == PARAMETERS[6]


def test_forward_that_imports(folder: Path, analyze: Command):
    source = BODY.replace("return self.body(x)", "import torch.fft as f; return self.body(x)")
    write(folder, {"net.py": source})
    assert parameters(analyze("net.py:Body(6)")) == PARAMETERS[6]


def test_dataclass_in_the_users_file(folder: Path, analyze: Command):
    """`dataclasses` looks its module up in `sys.modules`."""
    source = "from __future__ import annotations\nimport dataclasses\n" + BODY.replace(
        "class Body",
        "@dataclasses.dataclass\nclass Options:\n    nf: int = 6\n\n\nclass Body",
    )
    write(folder, {"net.py": source + "\n\ndef Net():\n    return Body(Options().nf)\n"})
    assert parameters(analyze("net.py:Net")) == PARAMETERS[6]


def test_module_of_a_library(analyze: Command):
    assert analyze("torch.nn:Identity")["nodes"] == []
    assert parameters(analyze("torch.nn:Conv2d(3, 4, 3)")) == PARAMETERS[4]


@pytest.mark.parametrize("spec", ["net.py:net", "net.py:net()"])
def test_instance_in_a_file(folder: Path, analyze: Command, spec: str):
    write(folder, {"net.py": f"{BODY}\n\nnet = Body(6)\n"})
    assert parameters(analyze(spec)) == PARAMETERS[6]


def test_instance_in_a_file_that_is_in_training(folder: Path, analyze: Command):
    write(folder, {"net.py": f"{BODY}\n\nnet = nn.Sequential(Body(6), nn.Dropout(0.5)).train()\n"})
    assert [node["op"] for node in analyze("net.py:net")["nodes"]] == ["convolution"]


# -- arguments ----------------------------------------------------------------------------------

RECORDING = """\
import json
from torch import nn


def record(*args, **kwargs):
    with open("arguments", "w") as file:
        file.write(repr((args, kwargs)))
    return nn.Conv2d(3, 4, 3)
"""


@pytest.mark.parametrize(
    ("call", "args", "kwargs"),
    [
        ("record", (), {}),
        ("record()", (), {}),
        ("record(48)", (48,), {}),
        ("record(48, 4,)", (48, 4), {}),
        ("record(nf=48, scale=4)", (), {"nf": 48, "scale": 4}),
        ("record(48, scale=4)", (48,), {"scale": 4}),
        ("record(-1, +2, -0.5, 1e-3)", (-1, 2, -0.5, 1e-3), {}),
        ("record(None, True, False)", (None, True, False), {}),
        ("record([1, 2], (3, 4), {5, 6})", ([1, 2], (3, 4), {5, 6}), {}),
        ("record([], (), {})", ([], (), {}), {}),
        ("record(opt={'a': [1, {'b': None}]})", (), {"opt": {"a": [1, {"b": None}]}}),
        ("record('text', \"text\", r'\\d')", ("text", "text", "\\d"), {}),
        ("record('a:b')", ("a:b",), {}),
        ("record(path='C:/x.py:y')", (), {"path": "C:/x.py:y"}),
        ("record('f(x)')", ("f(x)",), {}),
        ("record(')', '(', ':')", (")", "(", ":"), {}),
        ("record('a/b.pth')", ("a/b.pth",), {}),
        ("record('x=1, y=2')", ("x=1, y=2",), {}),
        ("record(name='größe')", (), {"name": "größe"}),
        ("record( nf = 48 )", (), {"nf": 48}),
        ("record(\n    nf=48,\n)", (), {"nf": 48}),
        ("record(0x10, 1_000, 2j, b'x')", (16, 1000, 2j, b"x"), {}),
        ("record(self_=1, spec='s', args=(), kwargs={})", (),
         {"self_": 1, "spec": "s", "args": (), "kwargs": {}}),
    ],
)  # fmt: skip
def test_literal_arguments(
    folder: Path, analyze: Command, call: str, args: tuple[Any, ...], kwargs: dict[str, Any]
):
    write(folder, {"net.py": RECORDING})
    analyze(f"net.py:{call}")
    assert (folder / "arguments").read_text() == repr((args, kwargs))


def test_string_argument_that_ends_like_a_checkpoint(folder: Path, analyze: Command):
    write(folder, {"net.py": RECORDING})
    analyze("net.py:record(weights='x.pth')")
    assert "x.pth" in (folder / "arguments").read_text()


def test_argument_that_changes_the_zoo_network(analyze: Command):
    two, four = (analyze(f"fmen_s(scale={scale})") for scale in (2, 4))
    assert (two["model"]["scale"], four["model"]["scale"]) == (2, 4)
    assert [found["nodes"][-1]["shape"] for found in (two, four)] == [
        [1, 3, 16, 16],
        [1, 3, 32, 32],
    ]


def test_list_argument_is_fresh_for_each_instance(folder: Path, analyze: Command):
    """The model is built more than once; a constructor that empties its list must not matter."""
    source = BODY + (
        "\n\ndef Net(widths):\n    return nn.Sequential(Body(widths.pop()), nn.ReLU())\n"
    )
    write(folder, {"net.py": source})
    assert parameters(analyze("net.py:Net(widths=[6])")) == PARAMETERS[6]
