"""A calibration as text and JSON: what was timed, and how well the profile explains it."""

from __future__ import annotations

import json

from srprof.calibration.run import Calibration, errors
from srprof.cost.fitting import spearman
from srprof.render.tables import Column, Section, Table
from srprof.render.text import plain_sections


def calibration_text(found: Calibration, path: str) -> str:
    """Roofs, errors by group and the fitted figures, ending with a newline."""
    return plain_sections([_roofs(found, path), _groups(found), _figures(found)])


def _roofs(found: Calibration, path: str) -> Section:
    device = found.device
    lines = (
        f"written to {path}; predict with srprof analyze SPEC --device {path}",
        f"{found.rounds} samples of each bench, spread of the median one {found.spread:.1%}",
    )
    rows = [(f"peak, {mode}", f"{peak / 1e9:,.4g} GFLOP/s") for mode, peak in device.peak.items()]
    rows.append(("bandwidth", f"{device.bandwidth / 1e9:,.4g} GB/s"))
    columns = (Column("measured"), Column("value", "number"))
    return Section(f"{device.name}: {device.title}", lines, Table(columns, tuple(rows)))


def _groups(found: Calibration) -> Section:
    fitted = errors(found.fit.predicted, found.benches)
    held_out = errors(found.fit.left_out, found.benches)
    count = {g: sum(timed.group == g for timed in found.benches) for g in fitted}
    rows = tuple((g, count[g], fitted[g], held_out[g]) for g in fitted)
    columns = (
        Column("benches"),
        Column("number", "count"),
        Column("median error", "share"),
        Column("held out", "share"),
    )
    after = (
        f"held out: by fits that did not see the bench; mean of all "
        f"{found.fit.leave_one_out:.1%}, "
        f"Spearman {spearman(found.fit.left_out, found.fit.measured):.3f}",
    )
    return Section("How well the profile explains the benches", (), Table(columns, rows), after)


def _figures(found: Calibration) -> Section:
    rows = tuple(
        (key, f"{1e6 * value:.3g} us" if key == "launch" else f"{value:.1%}")
        for key, value in found.fit.values.items()
    )
    columns = (Column("fitted"), Column("value", "number"))
    return Section("Fitted figures", (), Table(columns, rows))


def calibration_json(found: Calibration, path: str) -> str:
    """Everything, with each bench's samples; times in seconds."""
    benches = [
        {
            "name": timed.name,
            "group": timed.group,
            "samples_s": list(timed.samples),
            "seconds": timed.seconds,
            "predicted": predicted,
            "held_out": left_out,
        }
        for timed, predicted, left_out in zip(
            found.benches, found.fit.predicted, found.fit.left_out, strict=True
        )
    ]
    roofs = [
        {"name": timed.name, "group": timed.group, "samples_s": list(timed.samples)}
        for timed in found.roofs
    ]
    report = {
        "profile": path,
        "device": found.device.name,
        "title": found.device.title,
        "rounds": found.rounds,
        "spread": found.spread,
        "mean_error": found.fit.mean_error,
        "held_out_error": found.fit.leave_one_out,
        "values": found.fit.values,
        "roofs": roofs,
        "benches": benches,
    }
    return json.dumps(report, indent=1) + "\n"
