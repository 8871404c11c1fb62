"""From a SPEC to a model: the search path, modules that come and go, factories."""

from __future__ import annotations

import os
import sys
from pathlib import Path
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
    with pytest.raises(InputError, match=r"no module 'os\.missing_part'"):
        load("os.missing_part:Net")


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
