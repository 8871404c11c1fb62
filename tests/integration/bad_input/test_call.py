"""Sizes, options and arguments from Python that are wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import srprof
from srprof.cli import main
from tests.bad_input import (
    NETWORKS,
    Refused,
    line_of,
)

# -- the size -----------------------------------------------------------------------------------


NO_SIZES = """0 256x 0x256 256x0 -1x3 256x256x x256 1x3x0x8 1x0x8x8 axb 8X8x 8.5x8 1e3x8
1x2x3x4x0""".split()


@pytest.mark.parametrize("size", [*NO_SIZES, "", " ", "8 x 8", "8x8\n"])
@pytest.mark.parametrize("joined", [True, False])
def test_size_that_is_none(refused: Refused, size: str, joined: bool):
    option = [f"--input={size}"] if joined else ["--input", size]
    line = refused("analyze", "fmen_s", *option)
    assert repr(size) in line
    assert "HxW" in line or "at least 1" in line


@pytest.mark.parametrize(
    "size", ["1000000000x1000000000", "9" * 30 + "x8", "1x1x4294967296x4294967296"]
)
def test_absurd_size_names_the_overflow(refused: Refused, size: str):
    line = refused("analyze", "fmen_s", "--input", size)
    assert "overflow" in line
    assert size in line


def test_size_with_thousands_of_digits(refused: Refused):
    """More than Python turns into an integer (`sys.get_int_max_str_digits`)."""
    assert "overflow" in refused("analyze", "fmen_s", "--input", "9" * 5000 + "x8")


@pytest.mark.parametrize("spec", ["net.py:Wide", "fmen_s", "e_rfdn", "imdn"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_feature_maps_that_overflow(refused: Refused, spec: str, dtype: str):
    """The input alone can be counted: 3 x 6e17 elements."""
    line = refused("analyze", spec, "--input", "600000000x1000000000", "--dtype", dtype)
    assert "overflow" in line
    assert "smaller" in line


def test_large_size_that_can_be_counted_works(capsys: pytest.CaptureFixture[str]):
    assert main(["analyze", "fmen_s", "--input", "100000x100000", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["memory"]["peak"]["eager"] > 50 * 100000**2 * 4


@pytest.mark.parametrize("spec", ["net.py:Net", "fmen_s", "e_rfdn", "imdn"])
@pytest.mark.parametrize("channels", [1, 4])
def test_wrong_channels_say_what_to_write(refused: Refused, spec: str, channels: int):
    line = refused("analyze", spec, "--input", f"1x{channels}x32x32", code=3)
    assert re.search(r"\.py:\d+ in \w+", line), "file and line of the model"
    assert f"1x{channels}x32x32" in line
    assert "--input 1x3xHxW" in line


def test_network_of_one_channel_says_what_to_write(refused: Refused, folder: Path):
    (folder / "gray.py").write_text(NETWORKS.replace("Conv2d(3,", "Conv2d(1,"))
    line = refused("analyze", "gray.py:Net", "--input", "32x32", code=3)
    assert "--input 1x1xHxW" in line


def test_input_smaller_than_the_network_takes(refused: Refused):
    line = refused("analyze", "e_rfdn", "--input", "14x14", code=3)
    assert re.search(r"blocks\.py:\d+", line)
    assert "too small" in line
    assert main(["analyze", "e_rfdn", "--input", "15x15"]) == 0


# -- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--dtype", "float31"),
        ("--dtype", "int8"),
        ("--format", "xml"),
        ("--view", "everything"),
        ("--trace-on", "tpu"),
        ("--top", "many"),
        ("--granularity", "0"),
        ("--granularity", "-512"),
        ("--granularity", "half"),
    ],
)
def test_option_with_a_wrong_value(refused: Refused, option: str, value: str):
    line = refused("analyze", "fmen_s", f"{option}={value}")
    assert value in line


def test_unknown_option_and_command(refused: Refused):
    assert "--imput" in refused("analyze", "fmen_s", "--imput", "8x8")
    assert "analyse" in refused("analyse", "fmen_s")
    assert "SPEC" in refused("analyze")


# -- the same from Python -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        ("fmen_x", [(1, 3, 8, 8)]),
        ("fmen_s", []),
        ("fmen_s", ["256x"]),
        ("fmen_s", [(1, 3, 0, 8)]),
        ("fmen_s", [(1, 3, 10**9, 10**9)]),
        (3, [(1, 3, 8, 8)]),
        (torch.nn.Conv2d, [(1, 3, 8, 8)]),
        (torch.zeros(3), [(1, 3, 8, 8)]),
    ],
)
def test_python_raises_an_input_error(model: Any, inputs: list[Any]):
    with pytest.raises(srprof.InputError) as raised:
        srprof.analyze(model, *inputs)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "options", [{"dtype": "int8"}, {"trace_on": "tpu"}, {"granularity": 0}, {"granularity": -1}]
)
def test_python_refuses_options(options: dict[str, Any]):
    with pytest.raises(srprof.InputError):
        srprof.analyze("fmen_s", (1, 3, 8, 8), **options)


def test_python_gets_the_place_of_the_models_error(folder: Path):
    with pytest.raises(srprof.ModelError) as raised:
        srprof.analyze("net.py:Raises", (1, 3, 8, 8))
    assert raised.value.file == str(folder / "net.py")
    assert raised.value.line == line_of(NETWORKS, "raise ValueError")
    assert isinstance(raised.value.__cause__, ValueError)


def test_a_zero_byte_in_an_argument(refused: Refused):
    """No shell gives one, but a program that calls `main` may."""
    for argv in (("analyze", "net.py:N\0et"), ("merge", "a\0.pth"), ("list", "\0")):
        assert "has a zero byte" in refused(*argv)
