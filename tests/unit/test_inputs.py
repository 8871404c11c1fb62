"""Shapes and dtypes of a call: sizes as text, checks, and what stands for each argument."""

from __future__ import annotations

from typing import Any

import pytest

from srprof.errors import InputError
from srprof.inputs import (
    ITEMSIZE,
    RUN_DTYPES,
    TensorSpec,
    check_shape,
    is_shape,
    parse_sides,
    parse_size,
    read_inputs,
)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("256x256", (1, 3, 256, 256)),
        ("720x1280", (1, 3, 720, 1280)),
        ("1x1", (1, 3, 1, 1)),
        ("4x3x64x48", (4, 3, 64, 48)),
        ("1x1x8x8", (1, 1, 8, 8)),
        ("007x8", (1, 3, 7, 8)),
        ("256", (1, 3, 256, 256)),
        ("3x64x48", (3, 64, 48)),
        ("1x5x3x64x64", (1, 5, 3, 64, 64)),
    ],
)
def test_parse_size(text: str, shape: tuple[int, ...]):
    assert parse_size(text) == shape


def test_parse_size_with_channels_of_the_network():
    assert parse_size("8x9", channels=1) == (1, 1, 8, 9)
    assert parse_size("1x3x8x9", channels=1) == (1, 3, 8, 9), "what is written counts"


@pytest.mark.parametrize(
    "text", ["", "x256", "256x", "256x256x", "x", "2.5", "-1x3", "+1x3", "8 x 8", "8X8"]
)
def test_parse_size_refuses(text: str):
    with pytest.raises(InputError, match="HxW") as raised:
        parse_size(text)
    assert repr(text) in str(raised.value)


def test_sides_are_a_height_and_a_width():
    assert parse_sides("720x1280") == (720, 1280)
    assert parse_sides("64") == (64, 64)
    with pytest.raises(InputError, match="height and a width only"):
        parse_sides("1x3x64x64")


@pytest.mark.parametrize("text", ["0x256", "256x0", "1x0x8x8", "0x3x8x8"])
def test_parse_size_refuses_zero(text: str):
    with pytest.raises(InputError, match="at least 1") as raised:
        parse_size(text)
    assert repr(text) in str(raised.value)


@pytest.mark.parametrize("text", ["1000000000x1000000000", "9" * 5000 + "x1"])
def test_parse_size_names_the_overflow(text: str):
    with pytest.raises(InputError, match="overflow"):
        parse_size(text)


def test_check_shape_gives_a_tuple():
    assert check_shape([1, 3, 8, 8]) == (1, 3, 8, 8)
    assert check_shape((5,)) == (5,)


@pytest.mark.parametrize("shape", [(0,), (1, -3), (1, 2.0), (1, "8"), (1, None), (True, 8)])
def test_check_shape_refuses_sides(shape: tuple[Any, ...]):
    with pytest.raises(InputError, match="at least 1") as raised:
        check_shape(shape)
    assert str(shape) in str(raised.value)


@pytest.mark.parametrize("dtype", ITEMSIZE)
def test_check_shape_counts_bytes_exactly(dtype: str):
    """The largest number of bytes is 2^63 - 1."""
    largest = (2**63 - 1) // ITEMSIZE[dtype]
    assert check_shape((largest,), dtype) == (largest,)
    with pytest.raises(InputError, match="overflow"):
        check_shape((largest + 1,), dtype)


def test_check_shape_names_what_it_is_told():
    with pytest.raises(InputError, match=r"^--input 'x' overflows"):
        check_shape((2**63,), what="--input 'x'")


@pytest.mark.parametrize("value", [(1, 3, 8, 8), [1, 3, 8, 8], (5,), (0,), (-1,)])
def test_is_shape(value: Any):
    assert is_shape(value)


@pytest.mark.parametrize(
    "value", [(), [], (1.0, 2.0), ("8", "8"), (True, False), ((1, 3), (8, 8)), "8x8", 8, None, {1}]
)
def test_is_no_shape(value: Any):
    assert not is_shape(value)


@pytest.mark.parametrize("dtype", RUN_DTYPES)
def test_read_inputs(dtype: str):
    args, kwargs = read_inputs([(1, 3, 8, 8), "4x5"], dtype, channels=2)
    assert args == (
        TensorSpec("input", (1, 3, 8, 8), dtype),
        TensorSpec("input_1", (1, 2, 4, 5), dtype),
    )
    assert kwargs == {}


def test_read_inputs_of_lists_and_mappings():
    marker = object()
    args, kwargs = read_inputs(
        [[(1, 3, 8, 8), "4x5"], {"mask": (1, 1, 8, 8), "scale": 2, "more": [(1,), marker]}, marker],
        "float32",
    )
    assert args == (
        [
            TensorSpec("input_0", (1, 3, 8, 8), "float32"),
            TensorSpec("input_1", (1, 3, 4, 5), "float32"),
        ],
        marker,
    )
    assert kwargs == {
        "mask": TensorSpec("mask", (1, 1, 8, 8), "float32"),
        "scale": 2,
        "more": [TensorSpec("more_0", (1,), "float32"), marker],
    }


def test_read_inputs_of_nothing():
    assert read_inputs([], "float32") == ((), {})


def test_read_inputs_refuses_impossible_shapes():
    for value in ((1, 3, 0, 8), [(1, 3, 8, -8)], {"mask": (0,)}, "8x", {"mask": "8x"}):
        with pytest.raises(InputError):
            read_inputs([value], "float32")


def test_read_inputs_counts_bytes_of_the_dtype():
    side = 2**31 - 1
    assert read_inputs([(1, side, side)], "float16")
    with pytest.raises(InputError, match="overflow"):
        read_inputs([(1, side, side)], "float32")


def test_tensor_spec_as_text():
    assert str(TensorSpec("input", (1, 3, 8, 8), "float16")) == "1x3x8x8 float16"
