"""The gate's configuration: `srprof.toml`, or `[tool.srprof]` of `pyproject.toml`. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srprof.errors import InputError
from srprof.inputs import RUN_DTYPES, parse_size
from srprof.protocol import PROTOCOLS
from srprof.quantities import (
    METRICS,
    Growth,
    metric_kind,
    parse_growth,
    parse_quantity,
)
from srprof.toml import read_toml
from srprof.words import hint

FILE, PYPROJECT, BASELINE = "srprof.toml", "pyproject.toml", "srprof-baseline.json"

_HOW = "`srprof check --init net.py` writes one for the networks of a file"
_TOP_KEYS = ("baseline", "growth", "metrics", "check")
_TEXTS = ("name", "model", "dtype", "device", "protocol", "sizes", "weights", "allocator")
_TRACE_ON = ("auto", "meta", "cpu", "cuda-fake")
_CHECK_KEYS = (*_TEXTS, "input", "channels_last", "trace_on", "metrics", "growth")


@dataclass(frozen=True)
class Settings:
    """What is run: everything that a figure depends on beside the code and the versions."""

    model: str
    inputs: tuple[str, ...]
    dtype: str = "float32"
    device: str | None = None
    protocol: str = "single"
    sizes: str | None = None
    weights: str | None = None
    allocator: str = ""
    channels_last: bool = False
    trace_on: str = "auto"


@dataclass(frozen=True)
class Check:
    """One model with what is asked of it.

    Attributes:
        name: of its baseline entry. settings: what is run.
        limits: the most that a metric may be, by its name, in the smallest unit of its kind.
        growth: what each metric may grow against the baseline.
        metrics: those that are compared with the baseline.
    """

    name: str
    settings: Settings
    limits: Mapping[str, int] = field(default_factory=dict)
    growth: Mapping[str, Growth] = field(default_factory=dict)
    metrics: tuple[str, ...] = tuple(METRICS)


@dataclass(frozen=True)
class Config:
    """The checks of a project.

    Attributes:
        file: where they were read from; SPECs and paths are from its folder.
        baseline: the baseline's file; None if only limits hold.
    """

    file: Path
    baseline: Path | None
    checks: tuple[Check, ...]

    @property
    def folder(self) -> Path:
        """Where the project is."""
        return self.file.parent


def find(start: Path) -> Path:
    """The nearest configuration in a folder or above it.

    Raises:
        InputError: there is none; how to make one.
    """
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            return folder / FILE
        project = folder / PYPROJECT
        if project.is_file() and "srprof" in _read(project).get("tool", {}):
            return project
    raise InputError(
        f"there is no {FILE}, and no [tool.srprof] in a {PYPROJECT}, here or above: {_HOW}"
    )


def load(path: Path) -> Config:
    """Read and check a configuration.

    Raises:
        InputError: it cannot be read, or a key, metric, unit or limit in it is wrong.
    """
    path = path.absolute()
    data = _read(path)
    if path.name == PYPROJECT:
        data = data.get("tool", {}).get("srprof")
        if data is None:
            raise InputError(f"{path.name} has no [tool.srprof]: {_HOW}")
    try:
        return parse(data, path)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    return read_toml(path, "configuration", _HOW)


def parse(data: Any, file: Path) -> Config:
    """The configuration that a file's table holds.

    Raises:
        InputError: something in it is wrong; where, and what there is.
    """
    if not isinstance(data, Mapping):
        raise InputError("srprof is not a table: write [[tool.srprof.check]]")
    for key in data:
        if key not in _TOP_KEYS:
            raise InputError(f"unknown key {key!r}: {hint(key, _TOP_KEYS)}")
    tables = data.get("check", [])
    if not isinstance(tables, list) or not all(isinstance(t, Mapping) for t in tables):
        raise InputError("`check` is not a list of tables: write [[check]], in double brackets")
    if not tables:
        raise InputError(f"it has no checks: add a [[check]] with model and input, or {_HOW}")
    baseline = data.get("baseline", BASELINE)
    if baseline is not False and (not isinstance(baseline, str) or not baseline):
        raise InputError(f"baseline {baseline!r}: name a file, or write false for limits alone")
    checks = []
    for number, table in enumerate(tables, 1):
        try:
            checks.append(_check(table, data))
        except InputError as error:
            title = table.get("name") or table.get("model") or number
            raise InputError(f"check {title}: {error}") from error
    names = [check.name for check in checks]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"two checks are called {twice!r}: give one another name")
    path = None if baseline is False else file.parent / baseline
    return Config(file, path, tuple(checks))


def _check(table: Mapping[str, Any], top: Mapping[str, Any]) -> Check:
    flat = {key: table[key] for key in _CHECK_KEYS if key in table}
    limits = dict(_dotted({key: v for key, v in table.items() if key not in _CHECK_KEYS}))
    for name in limits:
        if name not in METRICS:
            raise InputError(
                f"unknown key or metric {name!r}: {hint(name, (*METRICS, *_CHECK_KEYS))}"
            )
    settings = _settings(flat)
    for where in ("latency" in limits, "latency" in _names(flat, top)):
        if where and settings.device is None:
            raise InputError('latency needs a device profile: add device = "ntire2022"')
    read = {}
    for name, value in limits.items():
        try:
            read[name] = parse_quantity(value, METRICS[name])
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
    metrics = _metrics(flat.get("metrics", top.get("metrics")))
    growth = {**_growth(top.get("growth", 0)), **_growth(flat.get("growth"))}
    return Check(flat.get("name") or _name(settings), settings, read, growth, metrics)


def _names(flat: Mapping[str, Any], top: Mapping[str, Any]) -> Sequence[Any]:
    named = flat.get("metrics", top.get("metrics"))
    return named if isinstance(named, list) else ()


def _settings(flat: Mapping[str, Any]) -> Settings:
    for key in ("model", "input"):
        if not flat.get(key):
            raise InputError(f'{key} is missing: write model = "net.py:Net", input = "256x256"')
    for key in (*_TEXTS, "trace_on"):
        if key in flat and (not isinstance(flat[key], str) or not flat[key]):
            raise InputError(f"{key} = {flat[key]!r} is no text")
    inputs = [flat["input"]] if isinstance(flat["input"], str) else flat["input"]
    if not isinstance(inputs, list) or not all(isinstance(size, str) for size in inputs):
        raise InputError(f'input {inputs!r}: write "256x256", or a list of sizes')
    for size in inputs:
        parse_size(size)
    for key, known in (("dtype", RUN_DTYPES), ("protocol", PROTOCOLS), ("trace_on", _TRACE_ON)):
        if key in flat and flat[key] not in known:
            raise InputError(f"{key} {flat[key]!r}: {hint(flat[key], known)}")
    if not isinstance(flat.get("channels_last", False), bool):
        raise InputError("channels_last is true or false")
    if "sizes" in flat and flat.get("protocol") != "ntire":
        raise InputError('sizes belong to protocol = "ntire": give both')
    if "device" in flat:
        from srprof.cost.profiles import device_names

        if not flat["device"].endswith(".toml") and flat["device"] not in device_names():
            raise InputError(f"unknown device {flat['device']!r}: {hint(*_devices(flat))}")
    rest = {k: v for k, v in flat.items() if k not in {"name", "input", "metrics", "growth"}}
    return Settings(inputs=tuple(inputs), **rest)


def _devices(flat: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    from srprof.cost.profiles import device_names

    return flat["device"], device_names()


def _name(settings: Settings) -> str:
    """The SPEC with what tells two checks of one model apart."""
    words = [settings.model, *settings.inputs]
    words += [settings.dtype] if settings.dtype != "float32" else []
    words += ["channels-last"] if settings.channels_last else []
    words += [settings.protocol] if settings.protocol != "single" else []
    words += [settings.device] if settings.device else []
    return " ".join(words)


def _dotted(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`{"peak": {"eager": 1}}` as `peak.eager`, 1."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _metrics(names: Any) -> tuple[str, ...]:
    if names is None:
        return tuple(METRICS)
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise InputError(f'metrics {names!r}: write a list of names, ["peak.eager", "params"]')
    for name in names:
        metric_kind(name)
    return tuple(name for name in METRICS if name in names)


def _growth(value: Any) -> dict[str, Growth]:
    """Growth by metric; a single one is a share, and holds for all."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        try:
            found = parse_growth(value, "bytes")
        except InputError as error:
            raise InputError(f'{error}; by metric, growth.peak.eager = "5 MiB"') from error
        if found.amount:  # bytes are no count: they hold where sizes are compared
            of = {name for name, kind in METRICS.items() if kind == "bytes"}
            return {n: found if n in of else Growth(found.share) for n in METRICS}
        return dict.fromkeys(METRICS, found)
    read = {}
    for name, text in _dotted(value):
        try:
            read[name] = parse_growth(text, metric_kind(name))
        except InputError as error:
            raise InputError(f"growth of {name}: {error}") from error
    return read
