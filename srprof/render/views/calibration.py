"""A calibration: what was timed, and how well the profile explains it."""

from __future__ import annotations

from srprof.calibration.record import Calibration, Timed, errors
from srprof.calibration.table import Tabulated
from srprof.codec import pick
from srprof.cost.fitting import spearman
from srprof.render.document import Cell, Column, Document, Section, Table
from srprof.render.views.tabulated import section


def document(
    calibration: Calibration, path: str | None = None, table: Tabulated | None = None
) -> Document:
    """Roofs, errors by group and the fitted figures; CSV has the benches, times in seconds.

    `path` is that of the profile, if it was written; a `table` of operations goes with it.
    """
    own = _roofs(calibration, path), _groups(calibration), _figures(calibration)
    sections = own if table is None else (*own, section(table))
    benches = Table.of(_benches(calibration))
    return Document(sections, lambda: _data(calibration, path), main=benches)


def _roofs(calibration: Calibration, path: str | None) -> Section:
    profile = calibration.profile
    written = f"written to {path}; predict with srprof analyze SPEC --profile {path}"
    spread = (
        f"{calibration.rounds} samples of each bench, spread of the median one "
        f"{calibration.spread:.1%}"
    )
    rows = [(f"peak, {mode}", f"{peak / 1e9:,.4g} GFLOP/s") for mode, peak in profile.peak.items()]
    rows.append(("bandwidth", f"{profile.bandwidth / 1e9:,.4g} GB/s"))
    table = Table((Column("measured"), Column("value", "number")), tuple(rows))
    lines = (written, spread) if path else (spread,)
    return Section(f"{profile.name}: {profile.title}", lines, table)


def _groups(calibration: Calibration) -> Section:
    fit, benches = calibration.fit, calibration.benches
    fitted, held_out = errors(fit.predicted, benches), errors(fit.left_out, benches)
    table = Table.build(
        fitted,
        (Column("benches"), lambda group: group),
        (Column("number", "count"), lambda group: sum(b.group == group for b in benches)),
        (Column("median error", "share"), lambda group: fitted[group]),
        (Column("held out", "share"), lambda group: held_out[group]),
    )
    after = (
        "held out: by fits that did not see the bench; mean of all "
        f"{fit.leave_one_out:.1%}, Spearman {spearman(fit.left_out, fit.measured):.3f}"
    )
    return Section("How well the profile explains the benches", (), table, (after,))


def _figures(calibration: Calibration) -> Section:
    rows = tuple(
        (key, Cell(value, f"{1e6 * value:.3g} us") if key == "launch" else value)
        for key, value in calibration.fit.values.items()
    )
    columns = (Column("fitted"), Column("value", "share"))
    return Section("Fitted figures", (), Table(columns, rows))


def _data(calibration: Calibration, path: str | None) -> dict[str, object]:
    """Everything, with each bench's samples."""
    fit, pairs = calibration.fit, zip(calibration.benches, _benches(calibration), strict=True)
    return {
        "profile": path,
        "device": calibration.profile.name,
        "title": calibration.profile.title,
        **pick(calibration, "rounds spread"),
        "mean_error": fit.mean_error,
        "held_out_error": fit.leave_one_out,
        "values": fit.values,
        "roofs": list(map(_samples, calibration.roofs)),
        "benches": [_samples(timed) | bench for timed, bench in pairs],
    }


def _samples(timed: Timed) -> dict[str, object]:
    return pick(timed, "name group") | {"samples_s": list(timed.samples)}


def _benches(calibration: Calibration) -> list[dict[str, object]]:
    fit = calibration.fit
    columns = (calibration.benches, fit.predicted, fit.left_out)
    return [
        pick(timed, "name group seconds") | {"predicted": predicted, "held_out": left_out}
        for timed, predicted, left_out in zip(*columns, strict=True)
    ]
