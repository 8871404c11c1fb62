"""The physical model, as far off as measured operations say, where a profile has a table of them.

They correct it also by what it cannot see: Winograd's kernels, and which of its kernels a library
picks. A table of another device is carried: arithmetic by the physical model's ratio; traffic by
the bandwidth where this device has as much for each multiprocessor as that one, else by
multiprocessors, but no faster than its memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from srprof.cost.classes import NodeCost
from srprof.cost.measured import Match, Table, doubts
from srprof.cost.profiles import Profile, parse_profile
from srprof.cost.roofline import mode_of, modelled
from srprof.cost.tables import TableRecord, load_record, rows_of, table_path


def corrected(
    cost: NodeCost, profile: Profile, cached: int = 0
) -> tuple[float, float, float, int, Match | None]:
    """What `modelled` says, as far off as measured operations are, and the nearest's distance."""
    found = measured(profile.table)
    match = None if found is None else found.table.match(cost, mode_of(cost, profile))
    if found is None or match is None:
        return *modelled(cost, profile, cached), None
    base, own = found.base, modelled(cost, profile, measured=True)
    compute = own[0] * match.ratio
    if profile.bandwidth * base.sms >= base.bandwidth * profile.sms:
        # each multiprocessor has the bandwidth that it had there, or more: it holds up as well
        memory, layout = (t * match.ratio for t in own[1:3])
        return compute, memory, layout, match.kernels, match
    there = modelled(cost, base, measured=True)
    memory, layout = (t * match.ratio * base.sms / profile.sms for t in there[1:3])
    if profile.bandwidth < base.bandwidth and cost.read + cost.written > profile.cache:
        # what the other device's memory did not hold up, this one's may
        shares = profile.bandwidth_share[cost.family], profile.tensor.get("transpose", 1.0)
        most = profile.bandwidth_share["elementwise"]
        memory, layout = (
            max(carried, t * share / most)
            for carried, t, share in zip((memory, layout), own[1:3], shares, strict=True)
        )
    return compute, memory, layout, match.kernels, match


@dataclass(frozen=True)
class Measured:
    """The table that a profile names, the device that it was measured on, and that in words."""

    table: Table
    base: Profile
    text: str


@cache
def measured(name: str) -> Measured | None:
    """The measured operations that a profile names; None of ""."""
    return read_table(load_record(table_path(name)), f"table {name}") if name else None


def doubted(record: TableRecord) -> TableRecord:
    """A table that says how far its groups' intervals hold."""
    return replace(record, doubts=doubts(read_table(record).table))


def read_table(record: TableRecord, source: str = "the table") -> Measured:
    """A table by its record; an InputError if the figures in it are none of a profile."""
    base = parse_profile(source, record.profile, source)
    plain = replace(base, peak={k: v for k, v in base.peak.items() if k != "tf32"})

    def model(cost: NodeCost, mode: str) -> float:
        device = plain if mode == "float32" else base
        compute, memory, layout, _ = modelled(cost, device, measured=True)
        return max(compute, memory) + layout

    text = record.device + (record.torch and f" with torch {record.torch}")
    return Measured(Table(rows_of(record), model, base.cache, record.doubts), base, text)
