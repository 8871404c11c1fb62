"""SPEC: what its text says, which folders it puts on the path, and what it loads."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from srprof import spec
from srprof.errors import InputError, SrprofError
from srprof.spec import Spec


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- parse --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["fmen_s", "fmen_s()", "fmen_s(scale=2)"])
def test_parse_a_zoo_name(text: str):
    parsed = spec.parse(text)
    assert parsed.network is not None
    assert (parsed.text, parsed.name, parsed.location) == (text, "fmen_s", "")
    assert parsed.kwargs == ((("scale", 2),) if "2" in text else ())


def test_parse_an_alias_gives_the_networks_name():
    assert spec.parse("rfdn_baseline").name == "e_rfdn"


def test_parse_a_file(folder: Path):
    (folder / "net.py").touch()
    for location in ("net.py", "./net.py", str(folder / "net.py")):
        parsed = spec.parse(f"{location}:Net(48, scale=4)")
        assert parsed == Spec(
            f"{location}:Net(48, scale=4)", "Net", (48,), (("scale", 4),), location
        )
        assert parsed.name == "Net"


def test_parse_a_file_with_a_colon_in_its_path(folder: Path):
    (folder / "a:b").mkdir()
    (folder / "a:b" / "net.py").touch()
    assert spec.parse("a:b/net.py:Net").location == "a:b/net.py"


def test_parse_a_file_with_parentheses_in_its_path(folder: Path):
    (folder / "copy (2)").mkdir()
    (folder / "copy (2)" / "net.py").touch()
    parsed = spec.parse("copy (2)/net.py:Net(nf=4)")
    assert (parsed.location, parsed.factory) == ("copy (2)/net.py", "Net")
    assert parsed.kwargs == (("nf", 4),)


def test_parse_a_module():
    parsed = spec.parse("package.module:Net")
    assert (parsed.location, parsed.factory, parsed.network) == ("package.module", "Net", None)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".safetensors"])
def test_parse_a_checkpoint(folder: Path, suffix: str):
    (folder / f"weights{suffix}").touch()
    parsed = spec.parse(f"weights{suffix}")
    assert parsed.checkpoint == f"weights{suffix}"
    assert parsed.name == f"weights{suffix}"


@pytest.mark.parametrize(
    ("arguments", "args", "kwargs"),
    [
        ("", (), {}),
        ("-1", (-1,), {}),
        ("[1, 2], {'a': None}", ([1, 2], {"a": None}), {}),
        ("name='a:b(c)'", (), {"name": "a:b(c)"}),
        ("1, b=(2, 3)", (1,), {"b": (2, 3)}),
    ],
)
def test_parse_arguments(
    folder: Path, arguments: str, args: tuple[Any, ...], kwargs: dict[str, Any]
):
    (folder / "net.py").touch()
    parsed = spec.parse(f"net.py:Net({arguments})")
    assert parsed.args == args
    assert dict(parsed.kwargs) == kwargs


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.tuples(inner, inner)
    | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.lists(LITERALS, max_size=3), st.dictionaries(st.sampled_from("abcd"), LITERALS))
def test_parse_reads_every_literal(args: list[Any], kwargs: dict[str, Any]):
    written = [repr(value) for value in args] + [f"{k}={v!r}" for k, v in kwargs.items()]
    text = f"os:Net({', '.join(written)})".replace("inf", "1e999")
    parsed = spec.parse(text)
    assert list(parsed.args) == args or "1e999" in text
    assert dict(parsed.kwargs) == kwargs or "1e999" in text


@given(st.text(max_size=30))
def test_parse_of_any_text_gives_a_spec_or_an_input_error(text: str):
    try:
        assert spec.parse(text).text == text
    except InputError as refusal:
        assert "\n" not in str(refusal)


@given(st.text("(){}[]:.,='\"\\ \n\tab1*#", max_size=20))
def test_parse_of_any_call_gives_a_spec_or_an_input_error(call: str):
    try:
        assert spec.parse(f"os:{call}").text == f"os:{call}"
    except InputError as refusal:
        assert "\n" not in str(refusal)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a model"),
        ("net.py", "add the factory"),
        ("folder/net", "add the factory"),
        ("gone.py:Net", "no file 'gone.py'"),
        ("gone/net:Net", "no file 'gone/net'"),
        ("gone.pth", "no file 'gone.pth'"),
        ("a-b:Net", "neither a .py file nor a module"),
        ("os:Net(nf=width)", "'width' is not a literal"),
        ("os:Net(f(1))", r"'f\(1\)' is not a literal"),
        ("os:Net(**{'a': 1})", r"\*\*"),
        ("os:Net(", "not a model"),
        ("os:Net.part", "not a model"),
        ("os:lambda: 3", "."),
    ],
)
def test_parse_refuses(folder: Path, text: str, says: str):
    with pytest.raises(InputError, match=says):
        spec.parse(text)


def test_parse_imports_nothing(folder: Path):
    (folder / "not_imported.py").write_text("raise SystemExit")
    spec.parse("not_imported.py:Net")
    spec.parse("not_imported:Net")
    assert "not_imported" not in sys.modules


# -- search_path --------------------------------------------------------------------------------


def added(parsed: Spec) -> list[str]:
    before = list(sys.path)
    with spec.search_path(parsed):
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


@pytest.mark.parametrize("text", ["fmen_s", "os.path:Net"])
def test_search_path_of_other_forms(folder: Path, text: str):
    assert added(spec.parse(text)) == [str(folder)]


def test_search_path_is_put_back_after_an_error():
    before = list(sys.path)
    with pytest.raises(KeyError), spec.search_path(spec.parse("fmen_s")):
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
    with spec.search_path(parsed):
        return spec.load_factory(parsed)()


def test_load_factory(folder: Path):
    (folder / "net.py").write_text(NETWORKS)
    made = load("net.py:make(3, scale=2)")
    assert (made.in_channels, made.out_channels) == (3, 2)
    assert type(load("net.py:Net")).__name__ == "Net"
    assert isinstance(load("torch.nn:Identity"), nn.Identity)


def test_load_factory_gives_a_new_model_each_time(folder: Path):
    (folder / "net.py").write_text(NETWORKS)
    parsed = spec.parse("net.py:Net")
    with spec.search_path(parsed):
        factory = spec.load_factory(parsed)
        assert factory() is not factory()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("Nat", "no 'Nat'; it has make, Net. Did you mean Net"),
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


def test_input_error_is_an_srprof_error():
    assert issubclass(InputError, SrprofError)
    assert InputError.exit_code == 2
