"""What a model is called with: shapes and dtypes, from the command line or from Python.

No torch here: `--input` is checked before torch is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from srprof.errors import InputError
from srprof.words import shape_text

#: Bytes of one element.
ITEMSIZE = {
    **{"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2},
    **{"int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1},
}

#: The dtypes that a network runs in.
RUN_DTYPES = ("float32", "float16", "bfloat16")

#: torch counts bytes and elements in signed 64-bit integers.
_LARGEST = 2**63 - 1

_MOST_DIGITS = 19  #: of a 64-bit integer
_SIZE = re.compile(r"\d+(x\d+)*")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape and dtype of one tensor of a call."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{shape_text(self.shape)} {self.dtype}"


def parse_tolerance(text: str) -> float:
    """`1%` or `0.01` as a fraction; an InputError if it is neither, or negative."""
    number, percent, rest = text.strip().partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = float("nan")
    if rest or not 0 <= value < float("inf"):
        raise InputError(f"tolerance {text!r} is not a share: write 1% or 0.01")
    return value


def parse_size(text: str, channels: int = 3) -> tuple[int, ...]:
    """A size as people write it, everywhere the same; an InputError says which forms there are.

    `256` is a square image and `HxW` an image, both of shape (1, channels, h, w); with three sides
    and more it is the shape itself, as `NxCxHxW` or `1x5x3x64x64`.
    """
    if not _SIZE.fullmatch(text):
        forms = "HxW (256x256), H for a square, or a whole shape NxCxHxW (1x3x256x256)"
        raise InputError(f"{text!r} is not a size: write {forms}, positive whole numbers")
    parts = text.split("x")
    if max(map(len, parts)) > _MOST_DIGITS:
        shown = text if len(text) < 60 else text[:57] + "..."
        raise InputError(f"size {shown!r} overflows what torch can count; give a smaller one")
    numbers = tuple(map(int, parts))
    shape = (1, channels, numbers[0], numbers[-1]) if len(numbers) <= 2 else numbers
    return check_shape(shape, what=f"size {text!r}")


def parse_sides(text: str) -> tuple[int, int]:
    """Height and width in pixels of `HxW` or `H`, for an image or a tile; else an InputError."""
    shape = parse_size(text)
    if text.count("x") > 1:
        raise InputError(f"{text!r}: give a height and a width only, as 256x256")
    return shape[-2], shape[-1]


def check_shape(shape: Sequence[int], dtype: str = "float32", what: str = "") -> tuple[int, ...]:
    """The shape as a tuple; an InputError if a side is not positive or its bytes overflow."""
    what = what or f"input shape {tuple(shape)}"
    if any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in shape):
        raise InputError(f"{what}: every side must be a whole number of at least 1")
    nbytes = ITEMSIZE.get(dtype, 4) * prod(shape)
    if nbytes > _LARGEST:
        why = f"the input alone would take {nbytes:.3g} bytes, and torch counts at most"
        raise InputError(f"{what} overflows: {why} {_LARGEST:.3g}; give a smaller size")
    return tuple(shape)


def is_shape(value: Any) -> bool:
    """Whether it is a sequence of integers, like `(1, 3, 256, 256)` or a `torch.Size`."""
    if not isinstance(value, (tuple, list)) or not value:
        return False
    return all(isinstance(side, int) and not isinstance(side, bool) for side in value)


def read_inputs(
    inputs: Sequence[Any], dtype: str, channels: int = 3
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of the call, shapes and sizes as `TensorSpec`.

    Each of `inputs` is a shape, a size (`"256x256"`), an example tensor, a mapping of argument
    names to any of these, or a list of any of these (several inputs in one argument). Other
    values are passed on as they are; an InputError if no tensor can have a shape.
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for position, value in enumerate(inputs):
        if isinstance(value, Mapping):
            for key, item in value.items():
                kwargs[str(key)] = _read_one(item, str(key), dtype, channels)
        else:
            name = f"input_{position}" if position else "input"
            args.append(_read_one(value, name, dtype, channels))
    return tuple(args), kwargs


def _read_one(value: Any, name: str, dtype: str, channels: int) -> Any:
    if isinstance(value, str):
        return TensorSpec(name, check_shape(parse_size(value, channels), dtype), dtype)
    if is_shape(value):
        return TensorSpec(name, check_shape(value, dtype), dtype)
    if isinstance(value, (list, tuple)):
        named = ((f"{name}_{i}", item) for i, item in enumerate(value))
        return tuple(_read_one(item, part, dtype, channels) for part, item in named)
    return value
