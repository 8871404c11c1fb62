"""SPEC: what its text says, which folders it puts on the path, and what it loads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        (f"os:Net({'-' * 800}width)", "is not a literal"),
        (f"os:Net({'-' * 100_000}1)", "is not a model"),
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


def test_input_error_is_an_srprof_error():
    assert issubclass(InputError, SrprofError)
    assert InputError.exit_code == 2
