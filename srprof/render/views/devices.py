"""Device profiles: what they say, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from srprof.cost.profiles import Profile
from srprof.render.document import Column, Document, Section, Table

#: How a profile without figures gets them.
CALIBRATE = "srprof calibrate --device {name} -o {name}.toml"


def document(
    profiles: Sequence[Profile], uncalibrated: Mapping[str, str], detailed: bool = False
) -> Document:
    """A line for each profile, then all figures of each; `detailed` leaves the lines out.

    Args:
        uncalibrated: titles by name of those that have no figures yet.
    """
    figures = [section for profile in profiles for section in details(profile)]
    without = [Section(f"{n}: {title}", (_without(n),)) for n, title in uncalibrated.items()]
    sections = [*figures, *without] if detailed else [overview(profiles, uncalibrated)]

    def data() -> Any:
        """Every field in SI units; profiles without figures have what they need to get them."""
        rows = [*map(asdict, profiles)] + [
            {"name": name, "title": title, "calibrate": CALIBRATE.format(name=name)}
            for name, title in uncalibrated.items()
        ]
        return rows[0] if detailed else rows

    return Document(tuple(sections), data)


def _without(name: str) -> str:
    return f"no figures yet: {CALIBRATE.format(name=name)}"


def overview(profiles: Sequence[Profile], uncalibrated: Mapping[str, str]) -> Section:
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
    rows = [*map(_row, profiles)]
    rows += [(name, title, *[None] * 6, _without(name)) for name, title in uncalibrated.items()]
    after = (
        "srprof devices NAME has every figure with its source; predict with srprof analyze SPEC "
        "--device NAME.",
        "A profile of your own is a TOML file: srprof analyze SPEC --device mine.toml.",
    )
    return Section("Device profiles", (), Table(columns, tuple(rows)), after)


def _row(profile: Profile) -> tuple[str | None, ...]:
    fastest = max(profile.peak, key=lambda mode: profile.peak[mode])
    tera = {mode: f"{peak / 1e12:,.4g}" for mode, peak in profile.peak.items()}
    return (
        profile.name,
        profile.title,
        tera.get("float32"),
        f"{tera[fastest]} {fastest}" if fastest != "float32" else None,
        f"{profile.bandwidth / 1e9:,.4g}",
        f"{profile.cache / 2**20:,.4g}",
        f"{profile.memory / 2**30:,.4g}",
        f"{1e6 * profile.launch:.3g}",
        _quality(profile),
    )


def _quality(profile: Profile) -> str:
    if profile.held_out_error is None:
        return "datasheet, assumed efficiencies"
    return f"fitted; held-out error {profile.held_out_error:.1%}"


def details(profile: Profile) -> list[Section]:
    """All figures of one profile with their sources."""
    lines = [_quality(profile)]
    lines += [f"made by: {profile.command}"] if profile.command else []
    lines += [profile.note] if profile.note else []
    columns = (Column("figure"), Column("value", "number"), Column("source"))
    rows = tuple((name, value, profile.source.get(key)) for key, name, value in _figures(profile))
    return [
        Section(f"{profile.name}: {profile.title}", tuple(lines), Table(columns, rows)),
        _efficiencies(profile),
    ]


def _figures(profile: Profile) -> list[tuple[str, str, str]]:
    """Key of the source, name and value of the hardware's figures."""
    cache_bandwidth = profile.cache_bandwidth
    gap, wave, gather = profile.gap, profile.wave, profile.gather
    return [
        *(
            ("peak", f"peak, {mode}", f"{peak / 1e12:,.4g} TFLOP/s")
            for mode, peak in profile.peak.items()
        ),
        ("bandwidth", "bandwidth", f"{profile.bandwidth / 1e9:,.4g} GB/s"),
        ("cache", "last-level cache", f"{profile.cache / 2**20:,.4g} MiB"),
        *(
            [("cache_bandwidth", "bandwidth of the cache", f"{cache_bandwidth / 1e9:,.4g} GB/s")]
            if cache_bandwidth is not None
            else []
        ),
        ("memory", "memory", f"{profile.memory / 2**30:,.4g} GiB"),
        ("sms", "multiprocessors", f"{profile.sms:,}"),
        ("launch", "overhead of a launch", f"{1e6 * profile.launch:.3g} us"),
        *([("gap", "between two kernels", f"{1e6 * gap:.3g} us")] if gap is not None else []),
        *([("wave", "latency of a wave", f"{1e6 * wave:.3g} us")] if wave is not None else []),
        *([("gather", "values gathered", f"{gather / 1e9:,.4g} x 10^9/s")] if gather else []),
    ]


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
    rows = tuple(
        (name, what, value) for what, table in tables.values() for name, value in table.items()
    )
    keys = (*tables, "bias_pass")
    after = tuple(f"{key}: {profile.source[key]}" for key in keys if key in profile.source)
    return Section("Efficiencies", (), Table(columns, rows), after)
