"""The largest input within a budget, and an image whole and in tiles."""

from __future__ import annotations

from srprof.figures import peak_names
from srprof.render.document import Column, Document, Section, Table
from srprof.sizing.records import Fit, Image, SizedCall
from srprof.tiling.sizes import SizeRule
from srprof.words import mib, shape_text


def document(fit: Fit) -> Document:
    """The largest input with its peaks, the next one, and an image whole and in tiles."""
    sections = [_largest(fit)]
    if fit.image is not None:
        sections.append(_image(fit, fit.image))
    rows = (row for section in sections if section.table for row in section.table.rows)
    return Document(tuple(sections), fit.to_dict, main=Table(_columns(fit), tuple(rows)))


def _columns(fit: Fit) -> tuple[Column, ...]:
    peaks = tuple(Column(f"{name} MiB", "mib") for name in peak_names())
    predicted = (Column("predicted ms", "time"),) if fit.device else ()
    return (Column("", key="row"), Column("input"), Column("result"), *peaks, *predicted)


def _row(fit: Fit, what: str, call: SizedCall) -> tuple[object, ...]:
    peaks = (call.peaks.get(name) for name in peak_names())
    predicted = (call.predicted_ms,) if fit.device else ()
    return (what, shape_text(call.shape), shape_text(call.result) or "-", *peaks, *predicted)


def _largest(fit: Fit) -> Section:
    rows = [_row(fit, "fits", fit.largest)]
    if fit.following is not None:
        rows.append(_row(fit, "next", fit.following))
    lines = [] if fit.rule is None else [_sides(fit.rule)]
    if fit.device:
        lines.append(f"predicted on {fit.device}")
    what = "batch" if fit.grows == "batch" else "input"
    title = (
        f"{fit.spec}, {fit.dtype}: the largest {what} within {mib(fit.budget)} MiB of "
        f"{fit.memory} memory"
    )
    table = Table(_columns(fit), tuple(rows))
    return Section(title, tuple(lines), table, fit.notes)


def _sides(rule: SizeRule) -> str:
    """The sides that the network takes, in words."""
    if rule.step is None:
        return f"it takes images of {rule.least}x{rule.least} only"
    if rule.step == 1:
        return f"it takes every side from {rule.least} pixels on"
    return f"it takes sides of {rule.side(0)}, {rule.side(1)}, {rule.side(2)}, ... pixels"


def _image(fit: Fit, image: Image) -> Section:
    """Whole against tiled."""
    whole, tiled = image.whole, image.tiled
    verdict = "fits" if image.whole_fits else "does not fit"
    rows = [_row(fit, f"whole: {verdict}", whole)]
    lines = []
    if tiled is not None:
        rows.append(_row(fit, f"in {tiled.count} tiles: fits", tiled.call))
        proof = (
            "to the bit"
            if tiled.bit_equal
            else f"to {tiled.difference:.1e} of the largest value, by rounding"
        )
        lines = [
            f"{tiled.rows} x {tiled.columns} tiles (rows x columns) that read "
            f"{tiled.tile[0]}x{tiled.tile[1]} each, with a halo of {tiled.halo} pixels"
            + (f", from multiples of {tiled.multiple}" if tiled.multiple > 1 else ""),
            f"{tiled.recomputed:.1%} more pixels are computed than the image has",
            f"tried on random images, tiles gave the whole image's result {proof}",
        ]
    elif image.reason:
        lines = [image.reason]
    high, wide = whole.shape[-2:]
    title = f"An image of {high}x{wide} ({high} high, {wide} wide)"
    return Section(title, (), Table(_columns(fit), tuple(rows)), tuple(lines))
