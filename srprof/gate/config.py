"""The gate's configuration: `srprof.toml`, or `[tool.srprof]` of `pyproject.toml`. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from srprof import figures
from srprof.call import Call, TraceOn
from srprof.codec import Key, Note, check_keys, decode, decode_table, keys_of, made_of, mismatch
from srprof.errors import InputError
from srprof.files import read_toml
from srprof.inputs import RUN_DTYPES, parse_input
from srprof.protocol import PROTOCOLS
from srprof.quantities import Growth, parse_growth, parse_quantity
from srprof.rules import (
    Filled,
    each,
    entries,
    known,
    listed,
    passes,
    read_by,
    refuse_twice,
    rule,
    short,
)
from srprof.words import hint

FILE, PYPROJECT, BASELINE = "srprof.toml", "pyproject.toml", "srprof-baseline.json"

_HOW = "`srprof check --init net.py` writes one for the networks of a file"


def _profile(name: str | None) -> None:
    from srprof.cost.profiles import profile_names

    if name and not name.endswith(".toml") and name not in profile_names():
        raise InputError(f"unknown profile {name!r}: {hint(name, profile_names())}")


T = TypeVar("T")
_Size = Annotated[str, passes(parse_input)]


@dataclass(frozen=True)
class Settings:
    """What is run: everything that a figure depends on beside the code and the versions."""

    model: Annotated[Filled, rule('a SPEC, model = "net.py:Net"')]
    inputs: tuple[_Size, ...]
    dtype: Annotated[str | None, known(lambda: RUN_DTYPES)] = None
    profile: Annotated[str | None, passes(_profile), Key(older="device")] = None
    protocol: Annotated[str, known(lambda: PROTOCOLS)] = "single"
    sizes: Filled | None = None
    weights: Filled | None = None
    allocator: Filled = ""
    channels_last: bool = False
    trace_on: TraceOn = "auto"

    @property
    def call(self) -> Call:
        """What is traced."""
        return made_of(Call, self, spec=self.model)

    def __post_init__(self) -> None:
        if self.sizes and self.protocol != "ntire":
            raise InputError('sizes belong to protocol = "ntire": give both')


@dataclass(frozen=True)
class Check:
    """One model with what is asked of it, by the name of its baseline entry.

    Attributes:
        limits: the most that a metric may be, by its name, in the smallest unit of its kind.
        growth: what each metric may grow against the baseline.
        metrics: those that are compared with the baseline.
    """

    name: str
    settings: Settings
    limits: Mapping[str, int] = field(default_factory=dict)
    growth: Mapping[str, Growth] = field(default_factory=dict)
    metrics: tuple[str, ...] = field(default_factory=figures.names)


@dataclass(frozen=True)
class Config:
    """The checks of a project's `file`, and its baseline's file; None if only limits hold.

    `ops` are files of rules for operators.
    """

    file: Path
    baseline: Path | None
    checks: tuple[Check, ...]
    ops: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where the project is, from which SPECs and paths are."""
        return self.file.parent


def find(start: Path) -> Path:
    """The nearest configuration in a folder or above it; an InputError if there is none."""
    for folder in (start, *start.parents):
        if (folder / FILE).exists():
            return folder / FILE
        project = folder / PYPROJECT
        if project.exists() and _section(project) is not None:
            return project
    what = f"there is no {FILE}, and no [tool.srprof] in a {PYPROJECT}, here or above"
    raise InputError(f"{what}: {_HOW}")


def _section(project: Path) -> object:
    tool = _read(project).get("tool")
    return tool.get("srprof") if isinstance(tool, Mapping) else None


def _read(path: Path) -> Mapping[str, object]:
    return read_toml(path, f"configuration {path}", _HOW)


def load(path: Path) -> Config:
    """Read a configuration; an InputError if a key, metric, unit or limit in it is wrong."""
    path = path.absolute()
    table = _section(path) if path.name == PYPROJECT else _read(path)
    if table is None:
        raise InputError(f"{path.name} has no [tool.srprof]: {_HOW}")
    return parse(table, path)


def _growth(value: object) -> Mapping[str, Growth]:
    """Growth by metric; a single one is a share, and holds for all."""
    if isinstance(value, Mapping):
        return _today(decode(_GROWTHS, dict(_dotted(value))))
    try:
        growth = parse_growth(value, "bytes")
    except InputError as error:
        raise InputError(f'{error}; by metric, growth.eager = "5 MiB"') from error
    share = Growth(growth.share)  # bytes are no count: they hold where sizes are compared
    return {f.name: growth if f.kind == "bytes" else share for f in figures.FIGURES}


def _today(named: Mapping[str, T]) -> dict[str, T]:
    """The same by the names of today."""
    return {figures.find(name).name: value for name, value in named.items()}


def _by_metric(parse: Callable[..., object]) -> Note:
    """A table of metrics, each with a quantity of its kind."""
    return entries(
        lambda: {
            name: Annotated[Any, read_by(partial(parse, kind=kind))]
            for name, kind in figures.kinds().items()
        }
    )


_GROWTHS: Any = Annotated[Mapping[str, Growth], _by_metric(parse_growth)]
_LIMITS: Any = Annotated[Mapping[str, int], _by_metric(parse_quantity)]
_Growths = Annotated[Mapping[str, Growth], read_by(_growth)]
_Metrics = Annotated[
    tuple[Annotated[str, known(figures.kinds)], ...],
    rule('a list of names, ["eager", "params"]', bool),
]


@dataclass(frozen=True, kw_only=True)
class _Table(Settings):
    """A check as the file has it, but for its limits."""

    inputs: Annotated[
        tuple[_Size, ...],
        Key("input"),
        short(listed),
        rule('a size or a list of such, "256x256"', bool),
    ]
    name: Filled = ""
    growth: _Growths = field(default_factory=dict)
    metrics: _Metrics | None = None


def _limited(table: object) -> tuple[_Table, Mapping[str, int]]:
    """A check, and its limits: all keys that are metrics, dotted."""
    if not isinstance(table, Mapping):
        raise mismatch(table, "a table")
    keys = keys_of(_Table)
    rest = dict(_dotted({key: value for key, value in table.items() if key not in keys}))
    check_keys(rest, (*figures.kinds(), *keys))
    own = {key: value for key, value in table.items() if key in keys}
    return decode(_Table, own, strict=True), _today(decode(_LIMITS, rest))


@dataclass(frozen=True)
class _File:
    """A configuration as the file has it."""

    check: Annotated[
        tuple[Annotated[tuple[_Table, Mapping[str, int]], read_by(_limited)], ...],
        each("check", "name", "model"),
        rule("[[check]] in double brackets"),
    ] = ()
    baseline: Annotated[
        str | Literal[False],
        rule(
            "a file's name, or false for limits alone",
            lambda name: name is False or (name and "\0" not in name),
        ),
    ] = BASELINE
    growth: _Growths = field(default_factory=lambda: dict.fromkeys(figures.names(), Growth()))
    metrics: _Metrics | None = None
    ops: Annotated[tuple[Filled, ...], short(listed)] = ()


def parse(table: object, file: Path) -> Config:
    """The configuration that a file's table holds; an InputError says what is wrong in it."""
    if not isinstance(table, Mapping):
        raise InputError(f"{file.name}: srprof is not a table: write [[tool.srprof.check]]")
    read = decode_table(_File, table, file.name)
    if not read.check:
        mend = f"add a [[check]] with model and input, or {_HOW}"
        raise InputError(f"{file.name}: it has no checks: {mend}")
    try:
        checks = tuple(_check(own, limits, read) for own, limits in read.check)
        refuse_twice("checks", [check.name for check in checks])
    except InputError as error:
        raise InputError(f"{file.name}: {error}") from error
    baseline = file.parent / read.baseline if read.baseline else None
    return Config(file, baseline, checks, read.ops)


def _check(own: _Table, limits: Mapping[str, int], file: _File) -> Check:
    settings = made_of(Settings, own)
    name = own.name or _name(settings)
    named = _today(dict.fromkeys(own.metrics or file.metrics or ()))
    if settings.profile is None and "latency_ms" in (*limits, *named):
        raise InputError(f'check {name}: latency needs a profile: add profile = "ntire2022"')
    metrics = tuple(metric for metric in figures.names() if metric in named or not named)
    return Check(name, settings, limits, {**file.growth, **own.growth}, metrics)


def _name(settings: Settings) -> str:
    """The SPEC with what tells two checks of one model apart."""
    words = [settings.model, *settings.inputs]
    words += [settings.dtype] if settings.dtype not in (None, "float32") else []
    words += ["channels-last"] if settings.channels_last else []
    words += [settings.protocol] if settings.protocol != "single" else []
    words += [settings.profile] if settings.profile else []
    return " ".join(words)


def _dotted(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """`{"peak": {"eager": 1}}` as `peak.eager`, 1."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
