"""What a sweep runs over: values, ranges, sizes and metrics, read from text; no torch."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from srprof import figures
from srprof.errors import InputError
from srprof.files import parse_python, read_text
from srprof.inputs import TensorSpec, TextInput, call_inputs, parse_input
from srprof.quantities import Kind
from srprof.ranges import parse_range, parse_values
from srprof.spec import Spec
from srprof.words import shape_text

#: Units of a table's values by the kind of their figure.
UNITS: Mapping[Kind, str] = {"count": "count", "bytes": "bytes", "time": "ms"}
#: Figures that only those who name them get.
_SELDOM = frozenset({"net", "macs", "fvcore_flops", "reserved"})

MOST_CONFIGURATIONS = 1_000_000

#: A size or ranges of it, and the dtype behind.
_PIECE = re.compile(r"(.*?)(:[A-Za-z]\w*)?", re.DOTALL)


@dataclass(frozen=True)
class Configuration:
    """One point of a grid: the SPEC with all arguments, the call's inputs and their text.

    `arguments` are the swept ones, by name.
    """

    spec: str
    inputs: tuple[Any, ...]
    arguments: tuple[tuple[str, Any], ...]
    input: str

    @property
    def key(self) -> str:
        """What tells it from every other configuration."""
        return f"{self.spec} at {', '.join(map(_text, self.inputs))}"


def configurations(
    spec: Spec,
    inputs: Sequence[str],
    arguments: Mapping[str, Sequence[Any]],
    dtype: str | None = None,
) -> tuple[Configuration, ...]:
    """Every combination, the last argument changing fastest, and the inputs faster still.

    Inputs of one name, or of none, are in each other's place; those of several names go together.

    Raises:
        InputError: an argument is given by the SPEC too, there are too many combinations, or an
            input is larger than torch can count in the dtype.
    """
    if spec.checkpoint and arguments:
        raise InputError(f"{spec.text!r} is a checkpoint, which takes no arguments: sweep inputs")
    for name in arguments:
        if name in dict(spec.kwargs):
            raise InputError(f"{name} is given by the SPEC and by --set: keep one of them")
        if name in ("input", "error", *figures.names()):
            raise InputError(f"--set {name}: a column of the table has that name already")
    by_name: dict[str, list[tuple[str, TextInput]]] = {}
    for text in inputs:
        given = parse_input(text, spec.channels)
        by_name.setdefault(given.name, []).append((text, given))
    count = prod(map(len, (*by_name.values(), *arguments.values())))
    if count > MOST_CONFIGURATIONS:
        what = f"the grid has {count:,} configurations"
        raise InputError(f"{what}; at most {MOST_CONFIGURATIONS:,} are swept")
    sizes = []
    for together in product(*by_name.values()):
        texts, given_together = zip(*together, strict=True)
        sizes.append((" ".join(texts), call_inputs(given_together, dtype)))
    points = []
    for values in product(*arguments.values()):
        chosen = tuple(zip(arguments, values, strict=True))
        text = spec.with_arguments(chosen)
        points += [Configuration(text, given, chosen, size) for size, given in sizes]
    return tuple(points)


def _text(value: Any) -> str:
    """An input as a row's key has it."""
    if isinstance(value, Mapping):
        return " ".join(f"{name}={_text(item)}" for name, item in value.items())
    return str(value) if isinstance(value, TensorSpec) else shape_text(value)


def parse_inputs(texts: Sequence[str]) -> tuple[str, ...]:
    """Inputs as text: `64..1024:64` (square), `180x320`, `1x3x64x64`, `64..128:64x96`, commas.

    A name before them is that of all: `mask=1x1x64x64:bool,1x1x96x96:bool`.

    Raises:
        InputError: one is no size, and which forms there are.
    """
    found: dict[str, None] = {}
    for text in texts:
        name, equals, sizes = text.rpartition("=")
        for piece in sizes.split(","):
            for size in _sizes(piece.strip(), text):
                found[f"{name.strip()}{equals}{size}"] = None
                if len(found) > MOST_CONFIGURATIONS:
                    raise InputError(f"--inputs {text!r}: these are too many sizes")
    for given in found:
        parse_input(given)
    return tuple(found)


def _sizes(piece: str, whole: str) -> Iterator[str]:
    """The sizes that one piece says, with its dtype."""
    size, dtype = _PIECE.fullmatch(piece).groups("")  # type: ignore[union-attr]  # it matches anything
    square = "x" not in size and size != "1" and not dtype
    for chosen in product(*(_sides(side, whole) for side in size.split("x"))):
        yield f"{shape_text(chosen * 2 if square else chosen)}{dtype}"


def _sides(text: str, whole: str) -> list[int]:
    try:
        values = parse_range(text) if ".." in text else [int(text)]
    except (ValueError, InputError) as error:
        reason = f" ({error})" if isinstance(error, InputError) else ""
        what = f"--inputs {whole!r} is neither a size nor a range{reason}"
        forms = "write 256x256, 64..1024:64 or 64x64,128x128"
        raise InputError(f"{what}: {forms}") from None
    if any(not isinstance(v, int) or v < 1 for v in values):
        raise InputError(f"--inputs {whole!r}: sides are positive whole numbers")
    return values


def parse_sets(texts: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Values by argument, as `--set` has them; an InputError also if one is there twice."""
    arguments: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        name, values = parse_values(text)
        if name in arguments:
            raise InputError(f"--set {name} is given twice: put its values between commas")
        arguments[name] = values
    return arguments


def unit(name: str) -> str:
    """Of a metric's values: count, bytes or ms."""
    return UNITS[figures.find(name).kind]


def usual_metrics(profile: object | None = None) -> tuple[str, ...]:
    """What is computed if nobody says: counts, peaks, and the latency by a profile."""
    timed = (figure for figure in figures.FIGURES if figure.kind == "time" and profile is not None)
    usual = (*figures.counts(), *figures.peaks(), *timed)
    return tuple(figure.name for figure in usual if figure.name not in _SELDOM)


def parse_metrics(texts: Sequence[str], profile: object | None) -> tuple[str, ...]:
    """Names of metrics, between commas or apart; a usual set if none. Refuses unknown ones."""
    names = [name.strip() for text in texts for name in text.split(",")]
    chosen: dict[str, None] = {}
    for name in names or usual_metrics(profile):
        figure = figures.known(name)
        if figure is None:
            raise InputError(f"--metric {name!r} is unknown: {figures.suggestion(name)}")
        if figure.kind == "time" and profile is None:
            raise InputError(f"--metric {name} is predicted for a device: give --profile too")
        chosen[figure.name] = None
    return tuple(chosen)


def check_arguments(spec: Spec, names: Iterable[str]) -> None:
    """Refuse names that the SPEC's factory does not take, as far as its source tells."""
    taken = _taken(spec)
    for name in names:
        if taken is not None and name not in taken:
            what = f"--set {name}: {spec.factory} takes no such argument"
            raise InputError(f"{what}; it takes {', '.join(taken) or 'none'}")


def _taken(spec: Spec) -> tuple[str, ...] | None:
    """Arguments of the factory, None if its source does not tell."""
    place = spec.network.factory if spec.network else f"{spec.location}:{spec.factory}"
    module, _, name = place.rpartition(":")
    try:
        found = None if module.endswith(".py") else importlib.util.find_spec(module)
        file = module if found is None else found.origin or ""
        tree = parse_python(read_text(file))
    except (ImportError, InputError, SyntaxError, ValueError):
        return None
    factory = next((n for n in tree.body if getattr(n, "name", None) == name), None)
    if isinstance(factory, ast.ClassDef) and not factory.decorator_list:
        factory = next((n for n in factory.body if getattr(n, "name", None) == "__init__"), None)
    if not isinstance(factory, ast.FunctionDef) or factory.decorator_list or factory.args.kwarg:
        return None
    listed = (*factory.args.posonlyargs, *factory.args.args, *factory.args.kwonlyargs)
    return tuple(a.arg for a in listed if a.arg != "self")
