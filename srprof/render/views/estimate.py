"""An estimate: peaks at a few sizes, and how it compares with what was traced."""

from __future__ import annotations

from functools import partial

from srprof.estimating.record import Estimate, Kind
from srprof.render.document import Column, Document, Section, Table, notes

#: Sides of the table, before they are brought to what the network takes.
_SIDES = (64, 128, 256, 512, 1024, 2048)


def document(estimate: Estimate) -> Document:
    """Peaks by side and dtype, what was checked, and the corrections."""
    sections = (_peaks(estimate), _checks(estimate), *notes(estimate.notes))
    return Document(sections, estimate.to_dict)


def _peaks(estimate: Estimate) -> Section:
    """A row for each dtype and side."""
    traced = [dtype for dtype, place in estimate.dtypes.items() if not isinstance(place, str)]
    sides = sorted({estimate.at_least(side) for side in _SIDES})
    timed = estimate.time is not None
    table = Table.build(
        [(dtype, side) for dtype in traced for side in sides],
        (Column("dtype"), lambda row: row[0]),
        (Column("side", "number"), lambda row: row[1]),
        *(
            (Column(f"{kind} MiB", "mib"), partial(_peak, estimate, kind))
            for kind in estimate.checked
        ),
        *([(Column("predicted ms", "time"), lambda row: estimate.ms_of(*row))] if timed else []),
    )
    left_out = [f"not {d}: {why}" for d, why in estimate.dtypes.items() if isinstance(why, str)]
    times = [] if estimate.time is None else [f"predicted on {estimate.time.profile}"]
    run = [] if estimate.run_as is None else [f"as {estimate.run_as.name} runs it"]
    lines = (f"it holds for {estimate.rule}", *run, *times, *left_out)
    return Section(f"{estimate.spec}: peaks by the image's side, of one image", lines, table)


def _peak(estimate: Estimate, kind: Kind, row: tuple[str, int]) -> int:
    """Bytes at a peak of one square image."""
    dtype, side = row
    return estimate.peak_bytes(side, side, 1, dtype, kind)


def _checks(estimate: Estimate) -> Section:
    """A row for each peak."""
    table = Table.build(
        estimate.checked.items(),
        (Column("peak"), lambda row: row[0]),
        (Column("traces", "number"), lambda row: row[1].sizes),
        (Column("to the byte", "number"), lambda row: row[1].equal),
        (Column("least", "change"), lambda row: row[1].least),
        (Column("most", "change"), lambda row: row[1].most),
    )
    held = "every trace is of one graph" if estimate.exact else "it is not exact everywhere"
    return Section(f"Beside {estimate.traces} traces: {held}", (), table, estimate.corrections)
