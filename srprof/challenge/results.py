"""Results files of the challenge's form: what its `test_demo.py` writes as results.json.

The file has an object for each entry, by a name that begins with the entry's number,
`18_DISP`: milliseconds and PSNR of each image (`valid_runtime`, `valid_psnr`), their means
(`valid_ave_runtime`, `valid_ave_psnr`), the peak of `torch.cuda.max_memory_allocated` since the
program began in MiB (`valid_memory`), the same of `test_`, and once `activations` and
`num_parameters` in millions, `flops` in 10^9 and `num_conv`. Or it has such objects by year.
Of figures that were printed, and not written in full, `decimals` says how many they have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from srprof.challenge.years import full_name
from srprof.codec import DecodeError, decode
from srprof.errors import InputError
from srprof.files import parse_json, read_text
from srprof.rules import not_negative, positive, refuse_twice, rule
from srprof.words import MIB, one_line

#: The sets of images, in the order in which a script goes through them.
SETS = ("valid", "test")
_MEND = "name a results.json, as the challenge's test_demo.py writes it"
_NUMBER = re.compile(r"\d+")

_Times = tuple[Annotated[float, positive("ms")], ...]
_Mean = Annotated[float, positive("ms")] | None
_Count = Annotated[float, not_negative()] | None


@dataclass(frozen=True, slots=True)
class SetResult:
    """What a network's run over one set of images gave.

    Attributes:
        name: "valid" or "test".
        times: ms of each image, in order; psnrs: dB of each; () where they are not told.
        runtime, psnr: the means that are stated, None if none are.
        memory: bytes of the peak since the program began.
    """

    name: str
    times: tuple[float, ...] = ()
    psnrs: tuple[float, ...] = ()
    runtime: float | None = None
    psnr: float | None = None
    memory: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """An entry's row.

    Attributes:
        name: as the file has it; number: with which that begins, of `select_model`, None if none.
        sets: those that were run. The rest are the figures of 256x256, None if not told.
        digits: one in the last digit that is published, by figure; {} where all are.
    """

    name: str
    number: int | None
    sets: tuple[SetResult, ...]
    params: float | None = None
    flops: float | None = None
    activations: float | None = None
    convs: float | None = None
    digits: Mapping[str, float] = field(default_factory=dict)

    @property
    def memory(self) -> float | None:
        """The first set's peak in bytes, which the challenge prints; None if it is not told."""
        return self.sets[0].memory if self.sets else None


@dataclass(frozen=True, slots=True)
class Results:
    """A table.

    Attributes:
        year: that its file says, "" if none. rows: in its order.
    """

    year: str
    rows: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """A row as the file has it."""

    valid_runtime: _Times = ()
    valid_psnr: tuple[float, ...] = ()
    valid_memory: _Count = None
    valid_ave_runtime: _Mean = None
    valid_ave_psnr: float | None = None
    test_runtime: _Times = ()
    test_psnr: tuple[float, ...] = ()
    test_memory: _Count = None
    test_ave_runtime: _Mean = None
    test_ave_psnr: float | None = None
    activations: _Count = None
    num_conv: Annotated[int, rule("a whole number", lambda n: n >= 0)] | None = None
    flops: _Count = None
    num_parameters: _Count = None
    decimals: Mapping[str, Annotated[int, not_negative()]] = field(default_factory=dict)


#: Figures of a row that may be printed, by their keys there, and what one of their unit is.
_PRINTED: Mapping[str, tuple[str, float]] = {
    "num_parameters": ("params", 1e6),
    "flops": ("flops", 1e9),
    "activations": ("activations", 1e6),
    "num_conv": ("convs", 1),
    "valid_memory": ("memory", MIB),
}


def read_results(path: str, year: str | None = None) -> tuple[Results, ...]:
    """The tables of a results file, which may be packed (`.gz`): one, or one for each year.

    Args:
        year: `ntire2026` or `2026`: which of a file by year, or of which year the file is.

    Raises:
        InputError: the file cannot be read or is none, a row has a wrong figure (which), or there
            is no such year.
    """
    return parse_results(parse_json(read_text(path, mend=_MEND), path, _MEND), path, year)


def parse_results(data: Any, source: str, year: str | None = None) -> tuple[Results, ...]:
    """The tables in a JSON value; raises as `read_results`, which see."""
    if not isinstance(data, Mapping) or not data:
        raise InputError(f"{source} is no results file: it has no object for each entry; {_MEND}")
    if not _is_by_year(data):
        return (_table(data, source, "" if year is None else full_name(year.lower())),)
    years = {full_name(key.lower()): (key, rows) for key, rows in data.items()}
    wanted = None if year is None else full_name(year.lower())
    if wanted is not None and wanted not in years:
        has = ", ".join(map(one_line, years))
        raise InputError(f"{source} has no results of {one_line(year or '')}: it has {has}")
    chosen = years if wanted is None else [wanted]
    return tuple(_table(years[y][1], f"{source}, {one_line(years[y][0])}", y) for y in chosen)


def _is_by_year(data: Mapping[str, Any]) -> bool:
    """Whether each value is a table of rows, and none a row."""
    tables = [value for value in data.values() if isinstance(value, Mapping) and value]
    rows = [row for table in tables for row in table.values()]
    return len(tables) == len(data) and all(isinstance(row, Mapping) for row in rows)


def _table(data: Mapping[str, Any], source: str, year: str) -> Results:
    names = [one_line(name) for name in data]
    if "" in names:
        raise InputError(f"{source}: an entry has no name")
    refuse_twice(f"entries of {source}", names)
    pairs = zip(names, data.values(), strict=True)
    return Results(year, tuple(_row(name, row, f"{source}, {name}") for name, row in pairs))


def _row(name: str, data: Any, where: str) -> Result:
    try:
        row = decode(_Row, data)
    except DecodeError as error:
        raise InputError(f"{where}: {error}".replace("the record", "the entry")) from error
    sets = tuple(filter(None, (_set(row, one) for one in SETS)))
    if not sets and all(getattr(row, key) is None for key in _PRINTED):
        raise InputError(f"{where}: there is no valid_runtime or valid_ave_runtime; {_MEND}")
    begin = _NUMBER.match(name)
    return Result(
        name,
        int(begin[0]) if begin else None,
        sets,
        params=_times(row.num_parameters, 1e6),
        flops=_times(row.flops, 1e9),
        activations=_times(row.activations, 1e6),
        convs=row.num_conv,
        digits={
            figure: unit * 10.0 ** -row.decimals[key]
            for key, (figure, unit) in _PRINTED.items()
            if key in row.decimals
        },
    )


def _set(row: _Row, name: str) -> SetResult | None:
    """One set of images; None if nothing says how long they took."""
    figures = ("runtime", "psnr", "ave_runtime", "ave_psnr", "memory")
    times, psnrs, runtime, psnr, memory = (getattr(row, f"{name}_{key}") for key in figures)
    if not times and runtime is None:
        return None
    return SetResult(name, times, psnrs, runtime, psnr, _times(memory, MIB))


def _times(value: float | None, unit: float) -> float | None:
    # the product's last digits are the multiplication's, not the figure's
    return None if value is None else round(value * unit, 3)
