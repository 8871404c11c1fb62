"""What a model is called with: shapes and dtypes, from the command line or from Python.

No torch here: `--input` is checked before torch is loaded.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from inspect import Parameter, Signature
from math import prod
from types import SimpleNamespace
from typing import Any

from srprof.errors import InputError
from srprof.words import did_you_mean, hint, shape_text

#: Bytes of one element.
ITEMSIZE = {
    **{"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2},
    **{"int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1},
}

#: The dtypes that a network runs in.
RUN_DTYPES = ("float32", "float16", "bfloat16")

#: torch counts bytes and elements in signed 64-bit integers.
_LARGEST = 2**63 - 1

_VIDEO = 5  #: Sides of a video (N, T, C, H, W).
_MOST_DIGITS = 19  #: of a 64-bit integer
_SIZE = re.compile(r"\d+(x\d+)*")
#: `NAME=SIZE:DTYPE`, of which only the size must be there.
_INPUT = re.compile(r"(?:([A-Za-z_]\w*)=)?([^:=]*)(?::(.*))?", re.DOTALL)
#: A text in a container that is a size.
_PART_SIZE = re.compile(r"\d+(x\d+)+|\d+(x\d+)*:[a-z]+\d*")
#: What a text is that must be an input, and no argument that happens to be text.
_MEANT_AS_SIZE = re.compile(r"[A-Za-z_]\w*=\d|[-+]?\d")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape and dtype of one tensor of a call.

    `dtype` is "" in a call that leaves it to the network: float32, if it takes that.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{shape_text(self.shape)} {self.dtype}".rstrip()


class Keywords(dict[str, Any]):
    """Keyword arguments of a call; another mapping may be one argument."""


@dataclass(frozen=True, slots=True)
class AsIs:
    """An argument that is given as it is, though it reads as a shape or a size: `(64, 64)`."""

    value: Any


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
    and more it is the shape itself, as `NxCxHxW` or `1x5x3x64x64`, and so is `1`: an image of one
    pixel is nothing that anybody asks for.
    """
    sides = _numbers(text)
    if sides == (1,) or len(sides) > 2:
        return check_shape(sides, what=f"size {text!r}")
    return check_shape((1, channels, sides[0], sides[-1]), what=f"size {text!r}")


def _numbers(text: str) -> tuple[int, ...]:
    """The numbers of `64x48`; an InputError if it is none, or torch cannot count so far."""
    if not _SIZE.fullmatch(text):
        forms = "HxW (256x256), H for a square, or a whole shape NxCxHxW (1x3x256x256)"
        raise InputError(f"{text!r} is not a size: write {forms}, positive whole numbers")
    parts = text.split("x")
    if max(map(len, parts)) > _MOST_DIGITS:
        shown = text if len(text) < 60 else text[:57] + "..."
        raise InputError(f"size {shown!r} overflows what torch can count; give a smaller one")
    return tuple(map(int, parts))


@dataclass(frozen=True, slots=True)
class TextInput:
    """An input as `--input` has it.

    Attributes:
        name: of the keyword argument, "" of a positional one.
        size: its text. shape: what that says. dtype: what stands behind it, "" if nothing does.
    """

    name: str
    size: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def sized(self) -> bool:
        """Whether it is an image given by its height and width, whose batch is open."""
        return not self.dtype and self.size.count("x") < 2 and self.size != "1"


def parse_input(text: str, channels: int = 3) -> TextInput:
    """An input as people write it, everywhere the same: `SIZE`, `NAME=SIZE`, `NAME=SHAPE:int64`.

    The size is as `parse_size` has it. With a dtype behind it, it is the shape itself: `16:int64`
    is sixteen numbers and `1x64:bool` a row of 64.

    Raises:
        InputError: it is no size, or has a dtype that torch has not.
    """
    match = _INPUT.fullmatch(text)
    if match is None:
        forms = "write SIZE, NAME=SIZE for a keyword, SHAPE:int64 for another dtype"
        raise InputError(f"{text!r} is no input: {forms}")
    name, size, dtype = match.groups()
    if dtype is None:
        return TextInput(name or "", size, parse_size(size, channels), "")
    if dtype not in ITEMSIZE:
        known = hint(dtype, tuple(ITEMSIZE))
        raise InputError(f"{text!r}: there is no dtype {dtype!r}; {known}")
    shape = check_shape(_numbers(size), dtype, f"size {size!r}")
    return TextInput(name or "", size, shape, dtype)


def call_inputs(given: Iterable[TextInput], dtype: str | None = None) -> tuple[Any, ...]:
    """Inputs of a `Call`: shapes where the dtype is the run's, and the keywords last.

    An InputError if a name is given twice, or torch cannot count so many bytes of the run's dtype.
    """
    args: list[Any] = []
    named = Keywords()
    for each in given:
        shape = check_shape(each.shape, each.dtype or dtype or "")
        value = TensorSpec(each.name, shape, each.dtype) if each.dtype else shape
        if not each.name:
            args.append(value)
        elif each.name in named:
            raise InputError(f"--input {each.name} is given twice: keep one of them")
        else:
            named[each.name] = value
    return (*args, named) if named else tuple(args)


def parse_sides(text: str) -> tuple[int, int]:
    """Height and width in pixels of `HxW` or `H`, for an image or a tile; else an InputError."""
    sides = _numbers(text)
    if len(sides) > 2:
        raise InputError(f"{text!r}: give a height and a width only, as 256x256")
    check_shape((1, 3, sides[0], sides[-1]), what=f"size {text!r}")
    return sides[0], sides[-1]


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
    inputs: Sequence[Any], dtype: str, channels: int = 3, signature: Signature | None = None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of the call, shapes and sizes as `TensorSpec`.

    Each of `inputs` is a shape, a text as `parse_input` reads it, an example tensor, or a list, a
    tuple, a named tuple, a dataclass or a mapping of any of these, which stays what it is. Other
    values, and what is `AsIs`, are passed on.

    A mapping on its own is keyword arguments (`Keywords` always), and one argument where the
    `signature` takes it so only. What the signature takes as text or a tuple of numbers stays that.

    Raises:
        InputError: no tensor can have a shape, or a name is given twice.
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    parameters = {} if signature is None else signature.parameters
    positional = [p for p in parameters.values() if p.kind in _POSITIONAL]
    read = _Reader(dtype, channels)

    def add(name: str, value: Any) -> None:
        if name in kwargs:
            raise InputError(f"the input {name!r} is given twice: keep one of them")
        kwargs[name] = value

    for position, value in enumerate(inputs):
        if isinstance(value, Mapping) and not _is_argument(value, inputs, signature):
            for key, item in value.items():
                add(str(key), read(item, str(key), parameters.get(str(key))))
            continue
        here = positional[len(args)] if len(args) < len(positional) else None
        name = f"input_{position}" if position else "input"
        if _is_size(value, here) and (given := parse_input(value, channels)).name:
            add(given.name, read(value, given.name))
        else:
            args.append(read(value, name, here))
    read.check()
    return tuple(args), kwargs


_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
#: Annotations of what is no tensor, though a shape or a size could be meant.
_PLAIN = re.compile(r"\b(str|int|float|bool|Size|Literal)\b")


def _is_argument(value: Mapping[str, Any], inputs: Sequence[Any], signature: Any) -> bool:
    """Whether a mapping among the inputs is one argument, and no keyword arguments.

    It is these if it has the names of parameters, or nearly so.
    """
    if isinstance(value, Keywords) or signature is None:
        return False
    names = list(signature.parameters)
    if all(key in names or did_you_mean(str(key), names) for key in value):
        return False
    others = [v for v in inputs if not isinstance(v, Mapping)]
    known = {k: v for m in inputs if isinstance(m, Mapping) for k, v in m.items() if k in names}
    if any(p.kind is Parameter.VAR_KEYWORD for p in signature.parameters.values()):
        return not _binds(signature.bind, others, known)
    return _binds(signature.bind_partial, [*others, value], known)


def _binds(bind: Callable[..., object], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    try:
        bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _is_plain(parameter: Parameter | None) -> bool:
    """Whether a parameter of `forward` is text or numbers, by its annotation or its default."""
    if parameter is None:
        return False
    annotation = str(parameter.annotation)
    if "Tensor" in annotation:
        return False
    default = isinstance(parameter.default, str) or is_shape(parameter.default)
    return default or _PLAIN.search(annotation) is not None


def _is_size(value: Any, parameter: Parameter | None = None) -> bool:
    """Whether a text stands for a tensor."""
    meant = isinstance(value, str) and _MEANT_AS_SIZE.match(value) is not None
    return meant and not _is_plain(parameter)


class _Reader:
    """Reads arguments of one call."""

    def __init__(self, dtype: str, channels: int) -> None:
        self._dtype = dtype
        self._channels = channels
        self._tensors = 0
        self._texts: list[str] = []

    def __call__(self, value: Any, name: str, parameter: Parameter | None = None) -> Any:
        if _is_plain(parameter) and (isinstance(value, str) or is_shape(value)):
            return value
        if isinstance(value, str) and not _is_size(value):
            self._texts.append(value)
            return value
        return self._read(value, name)

    def check(self) -> None:
        """Refuse text that is no size in a call that has no tensor."""
        if self._texts and not self._tensors:
            parse_size(self._texts[0])

    def _read(self, value: Any, name: str) -> Any:
        if isinstance(value, AsIs):
            return value.value
        self._tensors += hasattr(value, "shape")
        if isinstance(value, str):
            given = parse_input(value, self._channels)
            return self._tensor(given.name or name, given.shape, given.dtype)
        if is_shape(value):
            return self._tensor(name, value, "")
        return with_parts(value, lambda key, part: self._part(part, f"{name}_{key}"))

    def _part(self, value: Any, name: str) -> Any:
        """What is in a container, where text may be anything: `0801` is an image's name."""
        if isinstance(value, str) and not _PART_SIZE.fullmatch(value):
            return value
        return self._read(value, name)

    def _tensor(self, name: str, shape: Sequence[int], dtype: str) -> TensorSpec:
        self._tensors += 1
        dtype = dtype or self._dtype
        return TensorSpec(name, check_shape(shape, dtype), dtype)


def with_parts(value: Any, change: Callable[[Any, Any], Any]) -> Any:
    """A container of the same kind, with `change(key, part)` for each part; else the value itself.

    Containers are lists, tuples and named tuples, mappings, dataclasses and simple namespaces.
    """
    if isinstance(value, (list, tuple)):
        changed = [change(index, part) for index, part in enumerate(value)]
        if type(value) in (list, tuple):
            return type(value)(changed)
        return type(value)(*changed) if hasattr(value, "_fields") else type(value)(changed)
    if isinstance(value, Mapping):
        twin = copy.copy(value) if isinstance(value, dict) else dict(value)
        twin.update({key: change(key, part) for key, part in value.items()})
        return twin
    names = _attributes(value)
    if not names:
        return value
    twin = copy.copy(value)
    for name in names:
        object.__setattr__(twin, name, change(name, getattr(value, name)))
    return twin


def _attributes(value: Any) -> tuple[str, ...]:
    """Names of what a dataclass or a simple namespace consists of; () of all else."""
    if isinstance(value, TensorSpec):
        return ()
    if is_dataclass(value) and not isinstance(value, type):
        return tuple(field.name for field in fields(value) if hasattr(value, field.name))
    return tuple(vars(value)) if isinstance(value, SimpleNamespace) else ()


def parts_of(value: Any) -> Iterator[Any]:
    """The parts of a container as `with_parts` knows it; nothing of another value."""
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, (list, tuple)):
        yield from value
    else:
        yield from (getattr(value, name) for name in _attributes(value))


def first_image(arguments: Any, doing: str, mend: str) -> TensorSpec:
    """The first image of a call's arguments (or video: any rank above 3), wherever it is in them.

    An InputError if there is none, with what is being done and what to do.
    """
    for image in images_of(arguments):
        return image
    raise InputError(f"{doing}, and this call takes none: {mend}")


def images_of(arguments: Any) -> Iterator[TensorSpec]:
    """All images of a call's arguments, in their order."""
    if isinstance(arguments, TensorSpec):
        if len(arguments.shape) > 3:
            yield arguments
    else:
        for part in parts_of(arguments):
            yield from images_of(part)


def with_images(arguments: Any, first: TensorSpec, shape: tuple[int, ...]) -> Any:
    """The arguments with another shape of their first image; others keep their proportion to it.

    An InputError where a batch or a side of another would be no whole number.
    """
    if isinstance(arguments, TensorSpec):
        if len(arguments.shape) <= 3:
            return arguments
        return replace(arguments, shape=_in_proportion(arguments.shape, first.shape, shape))
    return with_parts(arguments, lambda _, part: with_images(part, first, shape))


def _in_proportion(
    own: tuple[int, ...], before: tuple[int, ...], now: tuple[int, ...]
) -> tuple[int, ...]:
    """An image's shape where another's changes in its batch, height and width; a video's, frames.

    Channels stay.
    """
    found = list(own)
    videos = len(own) == len(before) == _VIDEO
    for axis in (0, *((1,) if videos else ()), -2, -1):
        found[axis], rest = divmod(own[axis] * now[axis], before[axis])
        if rest:
            raise InputError(
                f"an input of {shape_text(own)} beside one of {shape_text(before)} has no whole "
                f"number of pixels beside one of {shape_text(now)}"
            )
    return tuple(found)
