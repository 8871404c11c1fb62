"""What a report is to show: its TOML file, checked.

    title = "Two networks"
    models = ["fmen_s", { name = "mine", spec = "net.py:Net(nf=48)" }]
    input = "256x256"
    devices = ["gtx1080ti"]

`[[tables]]` and `[[figures]]` add a paper's own: published figures beside ours, and pictures of
other models than the report's. Nothing here loads torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from srprof.compare.results import REFERENCES
from srprof.errors import InputError
from srprof.inputs import parse_size
from srprof.toml import check_keys, read_toml
from srprof.words import hint

#: What `sections` may name, in the order in which a report has them.
SECTIONS = (
    "ranking",
    "runtime-memory",
    "tables",
    "figures",
    "peaks",
    "memory",
    "held",
    "roofline",
    "modules",
    "nodes",
    "environment",
)
#: Sections that need a predicted latency.
TIMED = frozenset({"roofline", "modules", "runtime-memory"})
#: What a figure of `[[figures]]` may show, and in what unit.
KINDS = ("memory", "runtime-memory")
UNITS = ("MiB", "feature maps")

_KEYS = ("title", "note", "models", "input", "devices", "references", "sections")
_TABLE_KEYS = ("title", "note", "models", "measures", "scales", "input")
_FIGURE_KEYS = ("name", "title", "note", "kind", "models", "input", "unit")
_MODEL_KEYS = ("name", "spec", "published")
_DEFAULT_INPUT = "256x256"


@dataclass(frozen=True, slots=True)
class Model:
    """A model of a report.

    Attributes:
        name: what the report calls it. spec: as `srprof analyze` takes it.
        published: its published figures, by name in `srprof.compare.published.MEASURES`, where
            the zoo does not know them.
    """

    name: str
    spec: str
    published: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TableDefinition:
    """A table of published figures beside ours.

    Attributes:
        measures: names in `srprof.compare.published.MEASURES`.
        scales: those at which the zoo's networks are compared; each network's own if empty.
        input: LR size at which time is predicted.
    """

    title: str
    note: str
    models: tuple[Model, ...]
    measures: tuple[str, ...]
    scales: tuple[int, ...]
    input: str


@dataclass(frozen=True, slots=True)
class FigureDefinition:
    """A figure of its own models; `name` is its file's, `kind` one of `KINDS`."""

    name: str
    title: str
    note: str
    kind: str
    models: tuple[Model, ...]
    input: str
    unit: str


@dataclass(frozen=True, slots=True)
class Definition:
    """A report.

    Attributes:
        models: those of every section but `tables` and `figures`.
        input: LR size of the analyses, `HxW` or `NxCxHxW`.
        devices: profiles by which latency is predicted; the first is the ranking's.
        references: published tables to stand beside the models.
    """

    title: str
    note: str
    models: tuple[Model, ...]
    input: str
    devices: tuple[str, ...]
    references: tuple[str, ...]
    sections: tuple[str, ...]
    tables: tuple[TableDefinition, ...]
    figures: tuple[FigureDefinition, ...]


def read_definition(path: str) -> Definition:
    """Read and check a report's TOML file.

    Raises:
        InputError: no such file, no TOML, or a key or value that cannot be; says which.
    """
    table = read_toml(Path(path), "report")
    return parse_definition(table, where=f"report {path}")


def parse_definition(table: Mapping[str, Any], where: str) -> Definition:
    """Check a report.

    Args:
        table: as TOML gives it. where: names the report in messages.

    Raises:
        InputError: a key is unknown or missing, or a value cannot be; says which.
    """
    check_keys(table, (*_KEYS, "tables", "figures"), where)
    devices = _words(table, "devices", where)
    sections = _words(table, "sections", where, SECTIONS)
    if not sections:
        sections = tuple(s for s in SECTIONS if devices or s not in TIMED)
    for section in sections:
        if section in TIMED and not devices:
            raise InputError(f"{where}: section {section} shows time: name devices")
    found = Definition(
        title=_text(table, "title", where),
        note=_text(table, "note", where, ""),
        models=_models(table, where),
        input=_size(table, where),
        devices=devices,
        references=_words(table, "references", where, tuple(REFERENCES)),
        sections=tuple(s for s in SECTIONS if s in sections),
        tables=tuple(
            _table(entry, f"{where}: table {number}")
            for number, entry in enumerate(_entries(table, "tables", where), start=1)
        ),
        figures=tuple(
            _figure(entry, f"{where}: figure {number}", bool(devices))
            for number, entry in enumerate(_entries(table, "figures", where), start=1)
        ),
    )
    _different([figure.name for figure in found.figures], "figures", where)
    return found


def _table(table: Mapping[str, Any], where: str) -> TableDefinition:
    from srprof.compare.published import MEASURES

    check_keys(table, _TABLE_KEYS, where)
    scales = table.get("scales", [])
    if not isinstance(scales, list) or any(type(scale) is not int for scale in scales):
        _impossible("scales", scales, "a list such as [2, 3, 4]", where)
    measures = _words(table, "measures", where, tuple(MEASURES))
    if not measures:
        raise InputError(f"{where}: measures is missing; known: {', '.join(MEASURES)}")
    return TableDefinition(
        title=_text(table, "title", where),
        note=_text(table, "note", where, ""),
        models=_models(table, where),
        measures=measures,
        scales=tuple(scales),
        input=_size(table, where),
    )


def _figure(table: Mapping[str, Any], where: str, timed: bool) -> FigureDefinition:
    check_keys(table, _FIGURE_KEYS, where)
    name = _text(table, "name", where)
    if not name.replace("_", "").replace("-", "").isalnum() or not name.isascii():
        _impossible("name", name, "letters, digits, - and _: it names files", where)
    kind = _choice(table, "kind", KINDS, where)
    if kind in TIMED and not timed:
        raise InputError(f"{where}: kind {kind} shows time: name devices")
    return FigureDefinition(
        name=name,
        title=_text(table, "title", where),
        note=_text(table, "note", where, ""),
        kind=kind,
        models=_models(table, where),
        input=_size(table, where),
        unit=_choice(table, "unit", UNITS, where),
    )


def _models(table: Mapping[str, Any], where: str) -> tuple[Model, ...]:
    entries = table.get("models")
    if entries is None:
        raise InputError(f'{where}: models is missing; give a list, models = ["fmen_s"]')
    if not isinstance(entries, list):
        _impossible("models", entries, 'a list, models = ["fmen_s"]', where)
    if not entries:
        raise InputError(f"{where}: models is empty; name at least one, `srprof list` has the zoo")
    models = tuple(_model(entry, where) for entry in entries)
    _different([model.name for model in models], "models", where)
    return models


def _model(entry: object, where: str) -> Model:
    if isinstance(entry, str):
        entry = {"spec": entry}
    if not isinstance(entry, Mapping):
        _impossible("models", entry, "of SPECs, or tables with name and spec", where)
    check_keys(entry, _MODEL_KEYS, where, "models.")
    spec = _text(entry, "spec", where)
    published = entry.get("published", {})
    if not isinstance(published, Mapping):
        _impossible("published", published, "a table such as { time_ms = 46.1 }", where)
    from srprof.compare.published import MEASURES

    check_keys(published, tuple(MEASURES), where, "published.")
    for measure, value in published.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
            _impossible(f"published.{measure}", value, "a number", where)
    return Model(_text(entry, "name", where, spec), spec, dict(published))


def _different(names: Sequence[str], what: str, where: str) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"{where}: two {what} are called {twice!r}; give one another name, "
            f'{{ name = "another", ... }}'
        )


def _entries(table: Mapping[str, Any], key: str, where: str) -> list[Mapping[str, Any]]:
    entries = table.get(key, [])
    if not isinstance(entries, list) or not all(isinstance(e, Mapping) for e in entries):
        _impossible(key, entries, f"[[{key}]] tables", where)
    return entries


def _size(table: Mapping[str, Any], where: str) -> str:
    size = _text(table, "input", where, _DEFAULT_INPUT)
    try:
        parse_size(size)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return size


def _text(table: Mapping[str, Any], key: str, where: str, default: str | None = None) -> str:
    value = table.get(key, default)
    if value is None:
        raise InputError(f"{where}: {key} is missing; give a text")
    if not isinstance(value, str) or (not value.strip() and default is None):
        _impossible(key, value, "a text", where)
    return value


def _choice(table: Mapping[str, Any], key: str, known: Sequence[str], where: str) -> str:
    value = _text(table, key, where, known[0])
    if value not in known:
        _impossible(key, value, f"one of {', '.join(known)}", where)
    return value


def _words(
    table: Mapping[str, Any], key: str, where: str, known: Sequence[str] = ()
) -> tuple[str, ...]:
    """A list of texts, each one of those known, if these are given."""
    words = table.get(key, [])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        _impossible(key, words, "a list of texts", where)
    _different(words, key, where)
    for word in words:
        if known and word not in known:
            raise InputError(f"{where}: unknown entry of {key} {word!r}; {hint(word, known)}")
    return tuple(words)


def _impossible(key: str, value: object, wanted: str, where: str) -> NoReturn:
    raise InputError(f"{where}: {key} = {value!r} cannot be: it must be {wanted}")
