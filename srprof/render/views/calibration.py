"""A calibration: what was timed, and how well the profile explains it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from srprof.calibration.record import Calibration, Timed, errors
from srprof.cost.fitting import spearman
from srprof.render.document import Cell, Column, Document, Section, Table


def document(calibration: Calibration, path: str | None = None) -> Document:
    """Roofs, errors by group and the fitted figures; CSV has the benches, times in seconds.

    Args:
        path: of the profile, if it was written.
    """
    sections = (_roofs(calibration, path), _groups(calibration), _figures(calibration))
    return Document(
        sections, lambda: _data(calibration, path), main=Table.of(_benches(calibration))
    )


def _roofs(calibration: Calibration, path: str | None) -> Section:
    device = calibration.device
    written = f"written to {path}; predict with srprof analyze SPEC --device {path}"
    spread = (
        f"{calibration.rounds} samples of each bench, spread of the median one "
        f"{calibration.spread:.1%}"
    )
    rows = [
        *((f"peak, {mode}", f"{peak / 1e9:,.4g} GFLOP/s") for mode, peak in device.peak.items()),
        ("bandwidth", f"{device.bandwidth / 1e9:,.4g} GB/s"),
    ]
    table = Table((Column("measured"), Column("value", "number")), tuple(rows))
    return Section(
        f"{device.name}: {device.title}", ((written,) if path else ()) + (spread,), table
    )


def _groups(calibration: Calibration) -> Section:
    fit, benches = calibration.fit, calibration.benches
    fitted, held_out = errors(fit.predicted, benches), errors(fit.left_out, benches)
    count = {group: sum(timed.group == group for timed in benches) for group in fitted}
    columns = (
        Column("benches"),
        Column("number", "count"),
        Column("median error", "share"),
        Column("held out", "share"),
    )
    after = (
        "held out: by fits that did not see the bench; mean of all "
        f"{fit.leave_one_out:.1%}, Spearman {spearman(fit.left_out, fit.measured):.3f}"
    )
    table = Table(columns, tuple((g, count[g], fitted[g], held_out[g]) for g in fitted))
    return Section("How well the profile explains the benches", (), table, (after,))


def _figures(calibration: Calibration) -> Section:
    rows = tuple(
        (key, Cell(value, f"{1e6 * value:.3g} us") if key == "launch" else value)
        for key, value in calibration.fit.values.items()
    )
    columns = (Column("fitted"), Column("value", "share"))
    return Section("Fitted figures", (), Table(columns, rows))


def _data(calibration: Calibration, path: str | None) -> dict[str, Any]:
    """Everything, with each bench's samples."""
    fit = calibration.fit
    return {
        "profile": path,
        "device": calibration.device.name,
        "title": calibration.device.title,
        "rounds": calibration.rounds,
        "spread": calibration.spread,
        "mean_error": fit.mean_error,
        "held_out_error": fit.leave_one_out,
        "values": fit.values,
        "roofs": _samples(calibration.roofs),
        "benches": [
            samples | bench
            for samples, bench in zip(
                _samples(calibration.benches), _benches(calibration), strict=True
            )
        ],
    }


def _samples(benches: Sequence[Timed]) -> list[dict[str, Any]]:
    return [
        {"name": timed.name, "group": timed.group, "samples_s": list(timed.samples)}
        for timed in benches
    ]


def _benches(calibration: Calibration) -> list[dict[str, Any]]:
    fit = calibration.fit
    return [
        {
            "name": timed.name,
            "group": timed.group,
            "seconds": timed.seconds,
            "predicted": predicted,
            "held_out": left_out,
        }
        for timed, predicted, left_out in zip(
            calibration.benches, fit.predicted, fit.left_out, strict=True
        )
    ]
