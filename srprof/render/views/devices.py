"""Device profiles: what they say, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import starmap

from srprof.cost.profiles import HOST_RATES, Profile
from srprof.render.document import Cell, Column, Document, Section, Table

#: How a profile without figures gets them.
CALIBRATE = "srprof calibrate --device {name} -o {name}.toml"

_FLOPS = Column("TFLOP/s, float32", "number", "float32_flops_per_s", spare=2)


def document(profile: Profile) -> Document:
    """All figures of one profile with their sources; as JSON in SI units."""
    return Document(_details(profile), lambda: asdict(profile))


def without_figures(name: str, title: str) -> Document:
    """A profile that has to be made on the device, and how."""
    section = Section(f"{name}: {title}", (_no_figures(name),))
    how = CALIBRATE.format(name=name)
    return Document((section,), lambda: {"name": name, "title": title, "calibrate": how})


def overview(profiles: Sequence[Profile], uncalibrated: Mapping[str, str]) -> Document:
    """A line for each profile, of the `uncalibrated` by name and title; pages have all of each."""
    every = (*map(document, profiles), *starmap(without_figures, uncalibrated.items()))
    return Document(
        (_lines(profiles, uncalibrated),),
        lambda: [one.data() for one in every],
        lambda: tuple(section for one in every for section in one.sections),
    )


def _no_figures(name: str) -> str:
    return f"no figures yet: {CALIBRATE.format(name=name)}"


def _lines(profiles: Sequence[Profile], uncalibrated: Mapping[str, str]) -> Section:
    """Key figures, and how good the profile is known to be."""
    table = Table.build(
        profiles,
        (Column("name"), lambda p: p.name),
        (Column("device"), lambda p: p.title),
        (_FLOPS, lambda p: _in("", 1e12, p.peak.get("float32"))),
        (Column("fastest", "number", "fastest_flops_per_s"), _fastest),
        (Column("GB/s", "number", "bytes_per_s"), lambda p: _in("", 1e9, p.bandwidth)),
        (Column("cache MiB", "number", "cache_bytes", spare=3), lambda p: _in("", 2**20, p.cache)),
        (Column("memory GiB", "number", "memory_bytes"), lambda p: _in("", 2**30, p.memory)),
        (Column("launch us", "number", "launch_s", spare=4), lambda p: _in("", 1e-6, p.launch, 3)),
        (Column("figures", spare=1), _quality),
    )
    rest = ((name, title, *[None] * 6, _no_figures(name)) for name, title in uncalibrated.items())
    after = (
        "srprof devices NAME has every figure with its source; predict with srprof analyze SPEC "
        "--profile NAME.",
        "A profile of your own is a TOML file: srprof analyze SPEC --profile mine.toml.",
    )
    return Section("Device profiles", (), Table(table.columns, (*table.rows, *rest)), after)


def _fastest(profile: Profile) -> Cell | None:
    """The mode of the highest peak, where that is not float32."""
    mode, peak = max(profile.peak.items(), key=lambda item: item[1])
    return _in(mode, 1e12, peak) if mode != "float32" else None


def _in(unit: str, factor: float, value: float | None, digits: int = 4) -> Cell | None:
    """A value in SI, which a person sees in this unit."""
    return None if value is None else Cell(value, f"{value / factor:,.{digits}g} {unit}".rstrip())


def _quality(profile: Profile) -> str:
    if profile.held_out_error is None:
        table = profile.table and ", corrected by measured operations"
        return f"datasheet, assumed efficiencies{table}"
    return f"fitted; held-out error {profile.held_out_error:.1%}"


def _details(profile: Profile) -> tuple[Section, Section]:
    """All figures of one profile with their sources."""
    lines = (_quality(profile), profile.command and f"made by: {profile.command}", profile.note)
    columns = (Column("figure"), Column("value", "number", "value_si"), Column("source"))
    figures = (item for item in _figures(profile) if item[2] is not None)
    rows = tuple((name, value, profile.source.get(key)) for key, name, value in figures)
    title = f"{profile.name}: {profile.title}"
    return Section(title, tuple(filter(None, lines)), Table(columns, rows)), _efficiencies(profile)


def _figures(profile: Profile) -> list[tuple[str, str, Cell | None]]:
    """Key of the source, name and value of the hardware's figures."""
    peaks, capability = profile.peak.items(), profile.capability
    version = "{}.{}".format(*capability) if capability else ""
    elsewhere = None if profile.allocates_workspaces else Cell(0, "not of torch's allocator")
    return [
        *(("peak", f"peak, {mode}", _in("TFLOP/s", 1e12, peak)) for mode, peak in peaks),
        ("bandwidth", "bandwidth", _in("GB/s", 1e9, profile.bandwidth)),
        ("cache", "last-level cache", _in("MiB", 2**20, profile.cache)),
        ("cache_bandwidth", "bandwidth of the cache", _in("GB/s", 1e9, profile.cache_bandwidth)),
        ("memory", "memory", _in("GiB", 2**30, profile.memory)),
        ("sms", "multiprocessors", Cell(profile.sms, f"{profile.sms:,}")),
        ("capability", "compute capability", Cell(float(version), version) if version else None),
        ("allocates_workspaces", "cuBLAS's workspace", elsewhere),
        ("launch", "overhead of a launch", _in("us", 1e-6, profile.launch, 3)),
        ("gap", "between two kernels", _in("us", 1e-6, profile.gap, 3)),
        ("wave", "latency of a wave", _in("us", 1e-6, profile.wave, 3)),
        ("start", "a kernel's beginning and end", _in("us", 1e-6, profile.start, 3)),
        ("gather", "values gathered", _in("x 10^9/s", 1e9, profile.gather)),
        ("serial", "a read that waits for another", _in("ns", 1e-9, profile.serial, 3)),
        *(("host", f"host, {name}", _of_host(name, value)) for name, value in profile.host.items()),
        ("table", "measured operations", Cell(profile.table) if profile.table else None),
    ]


def _of_host(name: str, value: float) -> Cell | None:
    return _in("GB/s", 1e9, value) if name in HOST_RATES else _in("us", 1e-6, value, 3)


def _efficiencies(profile: Profile) -> Section:
    """What classes of operations reach, the sources under the table."""
    tables = {
        "compute": ("share of the peak", profile.compute),
        "relative": ("of a tile's share", profile.relative),
        "bandwidth_share": ("share of the bandwidth", profile.bandwidth_share),
        "tensor": ("of convolutions in tensor cores", profile.tensor),
        "spread": ("assumed spread", profile.spread),
    }
    columns = (Column("class"), Column("figure"), Column("value", "share"))
    rows = tuple((name, what, v) for what, table in tables.values() for name, v in table.items())
    keys = (*tables, "bias_pass")
    after = tuple(f"{key}: {profile.source[key]}" for key in keys if key in profile.source)
    return Section("Efficiencies", (), Table(columns, rows), after)
