"""The record of a report: plain data that the page, the tables and the figures are drawn from.

It is what `data.json` holds. Sizes are in bytes, times in milliseconds unless a name says `us`.
Predicted times are rounded to six digits, so that the same models give the same file on every
machine.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

from srprof import figures
from srprof._version import __version__
from srprof.analysis import Analysis, analyze
from srprof.analysis.record import ComplexityRecord, ReleaseRecord
from srprof.codec import Key, made_of
from srprof.compare.published import MEASURES, compare, printed
from srprof.cost.profiles import Profile, load_profile
from srprof.failures import Failures
from srprof.inputs import TensorSpec
from srprof.progress import Progress, silent
from srprof.render import charts
from srprof.render.charts import DeviceTimes, Rows, digits
from srprof.report.definition import Definition, FigureDefinition, Model, TableDefinition

#: Version of the record, and how a folder is known for a report.
SCHEMA, KIND = 1, "srprof report"
#: Sections that show single nodes.
DETAILED = frozenset({"memory", "held", "roofline", "modules", "nodes"})
_PACKAGES = ("srprof", "torch", "numpy", "matplotlib", "plotly")


@dataclass(frozen=True)
class NamedDevice:
    """A profile by which time is predicted."""

    name: str
    title: str


@dataclass(frozen=True)
class PeakColumn:
    """A peak that is shown: `peak` of a model has its bytes, `factor` of them make the unit."""

    name: str
    title: str
    unit: str
    factor: float
    meaning: str


@dataclass(frozen=True)
class ShownModel:
    """A model at an input; `map` is a feature map in bytes, `published` has figures by measure."""

    name: str
    spec: str
    inputs: tuple[TensorSpec, ...]
    traced_on: str
    notes: tuple[str, ...]
    complexity: ComplexityRecord
    net: int
    map: int | None
    peak: Mapping[str, int]
    peak_node: Mapping[str, int | None]
    published: Mapping[str, float]
    devices: tuple[DeviceTimes, ...]
    held: Annotated[tuple[ReleaseRecord, ...] | None, Key(sparse=True)] = None
    nodes: Annotated[Rows | None, Key(sparse=True)] = None


@dataclass(frozen=True)
class FigureCell:
    """A published figure beside ours, in the measure's unit."""

    published: float | None
    ours: float | None
    agrees: bool | None
    how: str
    reproducible: bool = True
    uncertainty: Annotated[float | None, Key(sparse=True)] = None


@dataclass(frozen=True)
class ComparedRow:
    """A model's figures by measure."""

    name: str
    spec: str
    figures: Mapping[str, FigureCell]


@dataclass(frozen=True)
class ComparedTable:
    """Published figures beside ours, one row a model and scale."""

    title: str
    note: str
    input: str
    device: str | None
    measures: tuple[str, ...]
    rows: tuple[ComparedRow, ...]


@dataclass(frozen=True)
class PaperFigure:
    """A figure with models of its own."""

    name: str
    title: str
    note: str
    kind: str
    unit: str
    input: str
    models: tuple[ShownModel, ...]


@dataclass(frozen=True)
class Environment:
    """What made the report: not part of what it says."""

    command: str
    python: str
    system: str
    packages: Mapping[str, str | None]


@dataclass(frozen=True)
class RankedCell:
    """A cell of the ranking as it is shown."""

    text: str
    mark: str
    note: str


@dataclass(frozen=True)
class Ranking:
    """The ranking as it is shown, and the values of its rows for programs."""

    title: str
    head: tuple[RankedCell, ...]
    rows: tuple[tuple[RankedCell, ...], ...]
    footnotes: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    values: tuple[Mapping[str, object], ...]


@dataclass(frozen=True)
class ReportRecord:
    """All that a report says; `files` are those of its folder, `failed` says what is left out."""

    kind: str
    schema: int
    title: str
    note: str
    input: str
    sections: tuple[str, ...]
    devices: tuple[NamedDevice, ...]
    peaks: tuple[PeakColumn, ...]
    references: tuple[str, ...]
    models: tuple[ShownModel, ...]
    tables: tuple[ComparedTable, ...]
    figures: tuple[PaperFigure, ...]
    environment: Environment
    ranking: Annotated[Ranking | None, Key(sparse=True)] = None
    failed: Annotated[tuple[str, ...], Key(sparse=True)] = ()
    files: Annotated[tuple[str, ...], Key(sparse=True)] = ()

    @property
    def shown_tables(self) -> tuple[ComparedTable, ...]:
        """The tables, where their section is asked for."""
        return self.tables if "tables" in self.sections else ()


@cache
def _analysis(spec: str, size: str) -> Analysis:
    """A model at an input, traced once however often a report names it."""
    return analyze(spec, size)


def make_record(
    definition: Definition, command: str, failures: Failures, progress: Progress = silent
) -> ReportRecord:
    """Trace what a report names, and say all that it shows; raises as `analyze` does.

    `command` is what the user ran. A model that raises is left out, and noted in the failures.
    """
    _analysis.cache_clear()  # a file may have changed since an earlier report of this process
    profiles = [load_profile(name) for name in definition.profiles]
    detailed = bool(DETAILED & set(definition.sections))
    return made_of(
        ReportRecord,
        definition,
        kind=KIND,
        schema=SCHEMA,
        devices=tuple(made_of(NamedDevice, profile) for profile in profiles),
        peaks=tuple(made_of(PeakColumn, peak) for peak in figures.peaks()),
        models=_models(definition.models, definition.input, profiles, detailed, failures, progress),
        tables=tuple(_table(table, profiles, failures) for table in definition.tables),
        figures=tuple(
            figure
            for figure in (_figure(each, profiles, failures) for each in definition.figures)
            if figure.models
        ),
        environment=Environment(
            command=command,
            python=platform.python_version(),
            system=f"{platform.system()} {platform.machine()}",
            packages={name: _version(name) for name in _PACKAGES},
        ),
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return __version__ if package == "srprof" else None


def _models(
    models: Iterable[Model],
    size: str,
    profiles: Iterable[Profile],
    detailed: bool,
    failures: Failures,
    progress: Progress = silent,
) -> tuple[ShownModel, ...]:
    """The models that run, as for `_model`."""
    shown, chosen = [], [model for model in models if model.spec not in failures]
    for done, model in enumerate(chosen):
        progress(f"analyzing {model.name}", done, len(chosen))
        with failures.alone(model.spec):
            shown.append(_model(model, size, profiles, detailed))
    return tuple(shown)


def _model(
    model: Model, size: str, profiles: Iterable[Profile], detailed: bool = True
) -> ShownModel:
    """A model at an input; its nodes too, if it is to be `detailed`."""
    analysis = _analysis(model.spec, size)
    record, memory = analysis.record, analysis.record.memory
    return made_of(
        ShownModel,
        model,
        record,
        memory,
        map=record.feature_map_bytes,
        published=_published(model, record.model.scale),
        devices=tuple(charts.times(replace(analysis, profile=p), detailed) for p in profiles),
        held=charts.held(record) if detailed else None,
        nodes=charts.node_rows(record) if detailed else None,
    )


def _published(model: Model, scale: int | None) -> Mapping[str, float]:
    """What is published of the model as it is here: of a zoo network without other arguments."""
    from srprof import spec as specs

    parsed = specs.parse(model.spec)
    known: Mapping[str, float] = {}
    if parsed.network and not parsed.args and not parsed.kwargs and scale:
        known = parsed.network.published.get(scale, {})
    return {**known, **model.published}


def _table(
    table: TableDefinition, profiles: Sequence[Profile], failures: Failures
) -> ComparedTable:
    rows: list[ComparedRow] = []
    for model in (model for model in table.models if model.spec not in failures):
        with failures.alone(model.spec):
            rows += list(_rows(model, table, profiles))
    device = profiles[0].title if profiles else None
    return made_of(ComparedTable, table, device=device, rows=tuple(rows))


def _rows(
    model: Model, table: TableDefinition, profiles: Sequence[Profile]
) -> Iterator[ComparedRow]:
    """A model's rows of a table, one for each scale."""
    for name, cells in _figures_of(model, table):
        for measure in ("time_ms", "runtime_ms"):
            if measure in table.measures and profiles:
                cell = cells.get(measure, FigureCell(None, None, None, ""))
                cells[measure] = _predicted(cell, model, table.input, profiles[0])
        yield ComparedRow(name, model.spec, cells)


def _figures_of(
    model: Model, table: TableDefinition
) -> Iterator[tuple[str, dict[str, FigureCell]]]:
    """What is published of a model and what is ours, by row name and measure."""
    from srprof import spec as specs

    parsed = specs.parse(model.spec)
    network = parsed.network
    if network is None or parsed.args or parsed.kwargs or not network.published:
        known = [m for m in table.measures if m in model.published or MEASURES[m].counts]
        yield model.name, {m: _cell(model, m, table, model.published.get(m)) for m in known}
        return
    for scale in table.scales or (network.scale,):
        if scale is None or scale not in network.published:
            continue
        cells = {
            c.measure: made_of(FigureCell, c, ours=c.ours and digits(c.ours))
            for c in compare(network, scale)
            if c.measure in table.measures
        }
        for measure in table.measures:
            if measure not in cells and MEASURES[measure].counts and scale == network.scale:
                cells[measure] = _cell(model, measure, table, None)
        yield f"{model.name} x{scale}" if len(table.scales) > 1 else model.name, cells


def _cell(
    model: Model, measure: str, table: TableDefinition, published: float | None
) -> FigureCell:
    """A figure of a model that the zoo publishes nothing of, counted as the measure's default."""
    ours, decimals = _ours(model, measure, table.input), MEASURES[measure].decimals
    agrees = None
    if published is not None and ours is not None:
        agrees = printed(ours, decimals) == printed(published, decimals)
    return FigureCell(published, ours and digits(ours), agrees, MEASURES[measure].how)


def _ours(model: Model, measure: str, size: str) -> float | None:
    wanted, analysis = MEASURES[measure], _analysis(model.spec, size)
    if not wanted.counts:
        return None
    if wanted.size is not None:
        height, width = wanted.size(analysis.trace.scale or 4)
        analysis = _analysis(model.spec, f"{height}x{width}")
    return wanted.counts[""](analysis) / wanted.factor


def _predicted(cell: FigureCell, model: Model, size: str, profile: Profile) -> FigureCell:
    """The cell with the predicted time, which no published figure can equal but by chance."""
    latency = replace(_analysis(model.spec, size), profile=profile).latency
    assert latency is not None
    return replace(
        cell,
        ours=digits(1e3 * latency.seconds),
        agrees=None,
        how=f"predicted for {profile.title} at {size}",
        uncertainty=digits(1e3 * latency.uncertainty),
    )


def _figure(
    figure: FigureDefinition, profiles: Sequence[Profile], failures: Failures
) -> PaperFigure:
    nodes = figure.kind == "memory"
    timed = () if nodes else profiles
    models = _models(figure.models, figure.input, timed, nodes, failures)
    return made_of(PaperFigure, figure, models=models)
