"""What `srprof fit` found, as text and JSON."""

from __future__ import annotations

import json

from srprof.render.tables import Column, Section, Table
from srprof.render.text import plain_sections
from srprof.sizing.records import MEMORY, Fit, Image, SizedCall
from srprof.tiling.sizes import SizeRule
from srprof.words import mib, shape_text


def fit_json(found: Fit) -> str:
    """The JSON object; sizes in bytes."""
    return json.dumps(found.to_dict(), indent=1) + "\n"


def fit_text(found: Fit) -> str:
    """The largest input with its peaks, the next one, and an image whole and in tiles."""
    sections = [_largest(found)]
    if found.image is not None:
        sections.append(_image(found, found.image))
    return plain_sections(sections)


def _columns(found: Fit, first: str) -> tuple[Column, ...]:
    peaks = tuple(Column(f"{name} MiB", "mib") for name in MEMORY)
    predicted = (Column("predicted ms", "time"),) if found.device else ()
    return (Column(first), Column("input"), Column("result"), *peaks, *predicted)


def _row(found: Fit, what: str, call: SizedCall) -> tuple[object, ...]:
    peaks = (call.peaks[name] for name in MEMORY)
    predicted = (call.predicted_ms,) if found.device else ()
    return (what, shape_text(call.shape), shape_text(call.result) or "-", *peaks, *predicted)


def _largest(found: Fit) -> Section:
    rows = [_row(found, "fits", found.largest)]
    if found.following is not None:
        rows.append(_row(found, "next", found.following))
    lines = [] if found.rule is None else [_sides(found.rule)]
    if found.device:
        lines.append(f"predicted on {found.device}")
    what = "batch" if found.grows == "batch" else "input"
    title = (
        f"{found.spec}, {found.dtype}: the largest {what} within {mib(found.budget)} MiB of "
        f"{found.memory} memory"
    )
    table = Table(_columns(found, ""), tuple(rows))
    return Section(title, tuple(lines), table, found.notes)


def _sides(rule: SizeRule) -> str:
    """The sides that the network takes, in words."""
    if rule.step is None:
        return f"it takes images of {rule.least}x{rule.least} only"
    if rule.step == 1:
        return f"it takes every side from {rule.least} pixels on"
    return f"it takes sides of {rule.side(0)}, {rule.side(1)}, {rule.side(2)}, ... pixels"


def _image(found: Fit, image: Image) -> Section:
    """Whole against tiled."""
    whole, tiled = image.whole, image.tiled
    verdict = "fits" if image.whole_fits else "does not fit"
    rows = [_row(found, f"whole: {verdict}", whole)]
    lines = []
    if tiled is not None:
        rows.append(_row(found, f"in {tiled.count} tiles: fits", tiled.call))
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
    return Section(title, (), Table(_columns(found, ""), tuple(rows)), tuple(lines))
