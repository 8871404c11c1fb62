"""The record of a report: plain data that the page, the tables and the figures are drawn from.

It is what `data.json` holds. Sizes are in bytes, times in milliseconds unless a name says `us`.
Predicted times are rounded to six digits, so that the same models give the same file on every
machine.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from srprof._version import __version__
from srprof.analysis import Analysis, analyze
from srprof.analysis.record import NodeRecord
from srprof.codec import encode
from srprof.compare.published import MEASURES, compare, printed
from srprof.cost.profiles import Profile, load_profile
from srprof.inputs import parse_size
from srprof.paths import short_path
from srprof.report.definition import Definition, FigureDefinition, Model, TableDefinition

#: Version of the record, and how a folder is known for a report.
SCHEMA, KIND = 1, "srprof report"
#: Columns of a model's nodes; those from `class` on are of each device.
NODE_COLUMNS = (
    "index", "op", "module", "file", "line", "shape", "inplace", "input", "output", "kept", "held",
    "workspace", "allocated", "macs", "bytes_moved",
)  # fmt: skip
TIME_COLUMNS = ("class", "family", "us", "bound", "intensity", "speed")
#: Sections that show single nodes.
DETAILED = frozenset({"memory", "held", "roofline", "modules", "nodes"})
_PACKAGES = ("srprof", "torch", "numpy", "matplotlib", "plotly")


@cache
def _analysis(spec: str, size: str) -> Analysis:
    """A model at an input, traced once however often a report names it."""
    from srprof import spec as specs

    network = specs.parse(spec).network
    return analyze(spec, parse_size(size, network.channels if network else 3))


def make_record(definition: Definition, command: str) -> dict[str, Any]:
    """Trace what a report names, and say all that it shows.

    Args:
        command: what the user ran.

    Raises:
        InputError: a SPEC or a device is wrong. ModelError: a model raised.
    """
    _analysis.cache_clear()  # a file may have changed since an earlier report of this process
    devices = [load_profile(name) for name in definition.devices]
    detailed = bool(DETAILED & set(definition.sections))
    shown = [_model(m, definition.input, devices, detailed) for m in definition.models]
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "title": definition.title,
        "note": definition.note,
        "input": definition.input,
        "sections": list(definition.sections),
        "devices": [{"name": d.name, "title": d.title} for d in devices],
        "references": list(definition.references),
        "models": shown,
        "tables": [_table(t, devices) for t in definition.tables],
        "figures": [_figure(f, devices) for f in definition.figures],
        "environment": environment(command),
    }


def environment(command: str) -> dict[str, Any]:
    """What made the report: not part of what it says."""
    return {
        "command": command,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return __version__ if package == "srprof" else None


# -- a model --------------------------------------------------------------------------------------


def _model(
    model: Model, size: str, devices: Iterable[Profile], detailed: bool = True
) -> dict[str, Any]:
    """A model at an input; its nodes too, if it is to be `detailed`."""
    analysis = _analysis(model.spec, size)
    record, memory = analysis.record, analysis.record.memory
    found = {
        "name": model.name,
        "spec": model.spec,
        "inputs": encode(record.inputs),
        "traced_on": record.traced_on,
        "notes": list(record.notes),
        "complexity": encode(record.complexity),
        "net": memory.net,
        "map": record.feature_map_bytes,
        "peak": dict(memory.peak),
        "peak_node": dict(memory.peak_node),
        "published": _published(model, analysis),
        "devices": [_timed(replace(analysis, device=device), detailed) for device in devices],
    }
    if not detailed:
        return found
    return found | {
        "held": [
            {
                "variable": release.variable,
                "function": release.function,
                "file": short_path(release.file),
                "line": release.line,
                "bytes": release.bytes,
                "saving": release.saving,
                "peak_after": release.peak_after,
            }
            for release in memory.releases
        ],
        "nodes": {"columns": list(NODE_COLUMNS), "rows": [_row(n) for n in record.nodes]},
    }


def _published(model: Model, analysis: Analysis) -> dict[str, float]:
    """What is published of the model as it is here: of a zoo network without other arguments."""
    from srprof import spec as specs

    parsed = specs.parse(model.spec)
    known: Mapping[str, float] = {}
    if parsed.network and not parsed.args and not parsed.kwargs and analysis.trace.scale:
        known = parsed.network.published.get(analysis.trace.scale, {})
    return {**known, **model.published}


def _row(node: NodeRecord) -> list[Any]:
    row = encode(node)
    return [short_path(node.file) if key == "file" else row[key] for key in NODE_COLUMNS]


def _timed(analysis: Analysis, detailed: bool) -> dict[str, Any]:
    """The predicted latency of a model on a device, by node and by module if `detailed`."""
    from srprof.render.figures.latency import module_times, operations, roofs

    found, device = analysis.latency, analysis.device
    assert found is not None and device is not None
    total = {
        "device": device.name,
        "predicted_ms": _digits(1e3 * found.seconds),
        "uncertainty_ms": _digits(1e3 * found.uncertainty),
        "uncertainty_from": found.uncertainty_from,
    }
    if not detailed:
        return total
    rows = []
    for node in found.nodes:
        done, moved = operations(node), node.cost.read + node.cost.written
        runs = bool(done and moved and node.seconds)
        rows.append(
            [
                node.cost.op_class,
                node.cost.family,
                _digits(1e6 * node.seconds),
                node.bound,
                _digits(done / moved) if runs else None,
                _digits(done / node.seconds) if runs else None,
            ]
        )
    slopes = {"memory": device.bandwidth}
    if device.cache_bandwidth is not None:
        slopes["cache"] = device.cache_bandwidth
    return total | {
        "peaks": roofs(found),
        "bandwidths": slopes,
        "modules": {
            path: {family: _digits(1e3 * seconds) for family, seconds in times.items()}
            for path, times in module_times(analysis).items()
        },
        "nodes": {"columns": list(TIME_COLUMNS), "rows": rows},
    }


def _digits(value: float) -> float:
    return float(f"{value:.6g}")


# -- a table of published figures -----------------------------------------------------------------


def _table(table: TableDefinition, devices: Sequence[Profile]) -> dict[str, Any]:
    """Published figures beside ours, one row a model and scale."""
    rows = []
    for model in table.models:
        for name, found in _figures_of(model, table):
            for measure in ("time_ms", "runtime_ms"):
                if measure in table.measures and devices:
                    cell = found.setdefault(measure, _cell(None, None))
                    cell |= _predicted(model, table.input, devices[0])
            rows.append({"name": name, "spec": model.spec, "figures": found})
    return {
        "title": table.title,
        "note": table.note,
        "input": table.input,
        "device": devices[0].title if devices else None,
        "measures": list(table.measures),
        "rows": rows,
    }


def _figures_of(
    model: Model, table: TableDefinition
) -> Iterable[tuple[str, dict[str, dict[str, Any]]]]:
    """What is published of a model and what is ours, by row name and measure."""
    from srprof import spec as specs

    parsed = specs.parse(model.spec)
    network = parsed.network
    if network is None or parsed.args or parsed.kwargs or not network.published:
        analysis = _analysis(model.spec, table.input)
        found = {}
        for measure in table.measures:
            if measure in model.published or MEASURES[measure].counts:
                ours = _ours(model, measure, analysis)
                found[measure] = _cell(model.published.get(measure), ours, measure=measure)
        yield model.name, found
        return
    for scale in table.scales or (network.scale,):
        if scale not in network.published:
            continue
        assert scale is not None
        comparisons = {c.measure: c for c in compare(network, scale)}
        name = f"{model.name} x{scale}" if len(table.scales) > 1 else model.name
        found = {
            measure: {
                "published": c.published,
                "ours": None if c.ours is None else _digits(c.ours),
                "agrees": c.agrees,
                "how": c.how,
                "reproducible": c.reproducible,
            }
            for measure, c in comparisons.items()
            if measure in table.measures
        }
        for measure in table.measures:
            if measure not in found and MEASURES[measure].counts and scale == network.scale:
                analysis = _analysis(model.spec, table.input)
                ours = _ours(model, measure, analysis)
                found[measure] = _cell(None, ours, measure=measure)
        yield name, found


def _ours(model: Model, measure: str, analysis: Analysis) -> float | None:
    """A figure of a model that the zoo publishes nothing of, counted as the measure's default."""
    from srprof import spec as specs

    wanted = MEASURES[measure]
    if not wanted.counts:
        return None
    if wanted.size is not None:
        height, width = wanted.size(analysis.trace.scale or 4)
        network = specs.parse(model.spec).network
        channels = network.channels if network else 3
        analysis = _analysis(model.spec, f"1x{channels}x{height}x{width}")
    return wanted.counts[""](analysis) / wanted.factor


def _cell(published: float | None, ours: float | None, measure: str = "") -> dict[str, Any]:
    agrees = None
    if published is not None and ours is not None:
        decimals = MEASURES[measure].decimals
        agrees = printed(ours, decimals) == printed(published, decimals)
    return {
        "published": published,
        "ours": None if ours is None else _digits(ours),
        "agrees": agrees,
        "how": MEASURES[measure].how if measure else "",
        "reproducible": True,
    }


def _predicted(model: Model, size: str, device: Profile) -> dict[str, Any]:
    """The predicted time, which no published figure can equal but by chance."""
    found = replace(_analysis(model.spec, size), device=device).latency
    assert found is not None
    return {
        "ours": _digits(1e3 * found.seconds),
        "uncertainty": _digits(1e3 * found.uncertainty),
        "agrees": None,
        "how": f"predicted for {device.title} at {size}",
    }


# -- a paper's figure -----------------------------------------------------------------------------


def _figure(figure: FigureDefinition, devices: Sequence[Profile]) -> dict[str, Any]:
    """A figure with models of its own."""
    nodes = figure.kind == "memory"
    return {
        "name": figure.name,
        "title": figure.title,
        "note": figure.note,
        "kind": figure.kind,
        "unit": figure.unit,
        "input": figure.input,
        "models": [_model(m, figure.input, () if nodes else devices, nodes) for m in figure.models],
    }
