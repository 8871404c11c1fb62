"""Device profiles as text, JSON and Markdown: what they say, and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from srprof.cost.profiles import Profile
from srprof.render.markdown import markdown_sections
from srprof.render.tables import Column, Section, Table
from srprof.render.text import plain_sections

#: How a profile without figures gets them.
CALIBRATE = "srprof calibrate --device {name} -o {name}.toml"


def devices_report(
    devices: Sequence[Profile],
    uncalibrated: Mapping[str, str],
    form: str,
    detailed: bool,
) -> str:
    """The profiles in a format.

    Args:
        uncalibrated: titles by name of those that have no figures yet.
        form: "text", "json" or "markdown".
        detailed: every figure of the one profile with its source; else a line for each.
    """
    if form == "json":
        data = _data(devices, uncalibrated)
        return json.dumps(data[0] if detailed else data, indent=1) + "\n"
    if detailed:
        found = [section for device in devices for section in details(device)]
        found += [Section(f"{n}: {title}", (_without(n),)) for n, title in uncalibrated.items()]
    else:
        found = [overview(devices, uncalibrated)]
        if form == "markdown":
            found += [details(device)[0] for device in devices]
    return markdown_sections(found) if form == "markdown" else plain_sections(found)


def _data(devices: Sequence[Profile], uncalibrated: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every field in SI units; profiles without figures have only what they need to get them."""
    return [asdict(device) for device in devices] + [
        {"name": name, "title": title, "calibrate": CALIBRATE.format(name=name)}
        for name, title in uncalibrated.items()
    ]


def _without(name: str) -> str:
    return f"no figures yet: {CALIBRATE.format(name=name)}"


def overview(devices: Sequence[Profile], uncalibrated: Mapping[str, str]) -> Section:
    """One line for each profile: its key figures, and how good it is known to be."""
    columns = (
        Column("name"),
        Column("device"),
        Column("TFLOP/s, float32", "number"),
        Column("fastest", "number"),
        Column("GB/s", "number"),
        Column("cache MiB", "number"),
        Column("memory GiB", "number"),
        Column("launch us", "number"),
        Column("figures"),
    )
    rows = [_row(device) for device in devices]
    rows += [(name, title, *[None] * 6, _without(name)) for name, title in uncalibrated.items()]
    after = (
        "srprof devices NAME has every figure with its source; predict with srprof analyze SPEC "
        "--device NAME.",
        "A profile of your own is a TOML file: srprof analyze SPEC --device mine.toml.",
    )
    return Section("Device profiles", (), Table(columns, tuple(rows)), after)


def _row(device: Profile) -> tuple[str | None, ...]:
    fastest = max(device.peak, key=lambda mode: device.peak[mode])
    tera = {mode: f"{peak / 1e12:,.4g}" for mode, peak in device.peak.items()}
    return (
        device.name,
        device.title,
        tera.get("float32"),
        f"{tera[fastest]} {fastest}" if fastest != "float32" else None,
        f"{device.bandwidth / 1e9:,.4g}",
        f"{device.cache / 2**20:,.4g}",
        f"{device.memory / 2**30:,.4g}",
        f"{1e6 * device.launch:.3g}",
        _quality(device),
    )


def _quality(device: Profile) -> str:
    if device.held_out_error is None:
        return "datasheet, assumed efficiencies"
    return f"fitted; held-out error {device.held_out_error:.1%}"


def details(device: Profile) -> list[Section]:
    """All figures of one profile with their sources."""
    lines = [_quality(device)]
    lines += [f"made by: {device.command}"] if device.command else []
    lines += [device.note] if device.note else []
    columns = (Column("figure"), Column("value", "number"), Column("source"))
    rows = tuple((name, value, device.source.get(key)) for key, name, value in _figures(device))
    return [
        Section(f"{device.name}: {device.title}", tuple(lines), Table(columns, rows)),
        _efficiencies(device),
    ]


def _figures(device: Profile) -> list[tuple[str, str, str]]:
    """Key of the source, name and value of the hardware's figures."""
    cache_bandwidth = device.cache_bandwidth
    gap, wave, gather = device.gap, device.wave, device.gather
    return [
        *(
            ("peak", f"peak, {mode}", f"{peak / 1e12:,.4g} TFLOP/s")
            for mode, peak in device.peak.items()
        ),
        ("bandwidth", "bandwidth", f"{device.bandwidth / 1e9:,.4g} GB/s"),
        ("cache", "last-level cache", f"{device.cache / 2**20:,.4g} MiB"),
        *(
            [("cache_bandwidth", "bandwidth of the cache", f"{cache_bandwidth / 1e9:,.4g} GB/s")]
            if cache_bandwidth is not None
            else []
        ),
        ("memory", "memory", f"{device.memory / 2**30:,.4g} GiB"),
        ("sms", "multiprocessors", f"{device.sms:,}"),
        ("launch", "overhead of a launch", f"{1e6 * device.launch:.3g} us"),
        *([("gap", "between two kernels", f"{1e6 * gap:.3g} us")] if gap is not None else []),
        *([("wave", "latency of a wave", f"{1e6 * wave:.3g} us")] if wave is not None else []),
        *([("gather", "values gathered", f"{gather / 1e9:,.4g} x 10^9/s")] if gather else []),
    ]


def _efficiencies(device: Profile) -> Section:
    """What classes of operations reach, the sources under the table."""
    tables = {
        "compute": ("share of the peak", device.compute),
        "relative": ("of a tile's share", device.relative),
        "bandwidth_share": ("share of the bandwidth", device.bandwidth_share),
        "tensor": ("of convolutions in tensor cores", device.tensor),
        "spread": ("assumed spread", device.spread),
    }
    columns = (Column("class"), Column("figure"), Column("value", "share"))
    rows = tuple(
        (name, what, value) for what, table in tables.values() for name, value in table.items()
    )
    keys = (*tables, "bias_pass")
    after = tuple(f"{key}: {device.source[key]}" for key in keys if key in device.source)
    return Section("Efficiencies", (), Table(columns, rows), after)
