"""A table of measured operations and how far off it is; a machine's own times."""

from __future__ import annotations

from collections.abc import Mapping

from srprof.calibration.table import Tabulated
from srprof.codec import encode, pick
from srprof.cost.profiles import HOST_RATES, Profile
from srprof.render.document import Column, Document, Section, Table


def document(table: Tabulated, path: str | None = None) -> Document:
    """Where a table is from, and its errors by class; CSV has the errors."""
    errors = _errors(table)
    return Document((section(table, path),), lambda: _data(table, path), main=errors)


def section(table: Tabulated, path: str | None = None) -> Section:
    """The errors of rows that were predicted from the others."""
    record = table.record
    rows = len(record.convolutions.us) + len(record.operations.us)
    where = ", ".join(
        f"{name} {version}"
        for name, version in pick(record, "torch cudnn driver").items()
        if version
    )
    written = f"written to {path}; predict with srprof analyze SPEC --profile {path}"
    lines = (*((written,) if path else ()), f"{rows:,} rows{where and f' ({where})'}")
    after = (
        "held out: rows that were predicted from the others, of each width, and of each size, as "
        "if nobody had measured it; 90 %: so many are off by no more",
    )
    return Section(f"Measured operations: {record.device}", lines, _errors(table), after)


def _errors(table: Tabulated) -> Table:
    sizes = {of_class.name: of_class for of_class in table.by_size}
    return Table.build(
        [(width, sizes[width.name]) for width in table.by_width if width.name in sizes],
        (Column("class"), lambda pair: pair[0].name),
        (Column("rows", "count"), lambda pair: pair[1].rows),
        (Column("width held out", "share"), lambda pair: pair[0].median),
        (Column("90 %", "share", "width_90"), lambda pair: pair[0].ninth_decile),
        (Column("size held out", "share"), lambda pair: pair[1].median),
        (Column("90 %", "share", "size_90"), lambda pair: pair[1].ninth_decile),
    )


def _data(table: Tabulated, path: str | None) -> dict[str, object]:
    about = pick(table.record, "device torch cudnn driver command")
    return {"profile": path, **about, **pick(table, "by_width by_size")}


def host_document(profile: Profile, found: Mapping[str, float], path: str) -> Document:
    """What a machine needs to launch a device's work."""
    rows = [
        (name, f"{value / 1e9:.3g} GB/s" if name in HOST_RATES else f"{1e6 * value:.3g} us")
        for name, value in profile.host.items()
    ]
    kept = ", ".join(name for name in profile.host if name not in found)
    lines = [f"written to {path}; predict with srprof analyze SPEC --profile {path}"]
    lines += [f"not measured here, as {profile.name} has it: {kept}"] if kept else []
    table = Table((Column("host"), Column("takes", "number")), tuple(rows))
    section = Section(f"The host of {profile.title}", tuple(lines), table)
    return Document((section,), lambda: {"profile": path, "host": encode(profile.host)}, main=table)
