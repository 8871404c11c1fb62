"""The largest input within a budget, and an image whole and in tiles."""

from __future__ import annotations

from collections.abc import Mapping

from srprof.estimating.record import SizedCall
from srprof.render.document import Column, Document, Section, Table
from srprof.sizing.record import Fit, Image
from srprof.words import mib, shape_text


def document(fit: Fit) -> Document:
    """The largest input with its peaks, the next one, and an image whole and in tiles."""
    sections = (_largest(fit), *([] if fit.image is None else [_image(fit, fit.image)]))
    tables = [section.table for section in sections if section.table is not None]
    rows = tuple(row for table in tables for row in table.rows)
    return Document(sections, fit.to_dict, main=Table(tables[0].columns, rows))


def _table(fit: Fit, calls: Mapping[str, SizedCall]) -> Table:
    """A row for each call, by what is to be said of it."""
    peaks = tuple(
        (Column(f"{name} MiB", "mib"), lambda item, name=name: item[1].peaks.get(name))
        for name in fit.largest.peaks
    )
    predicted = ((Column("predicted ms", "time"), lambda item: item[1].predicted_ms),)
    return Table.build(
        calls.items(),
        (Column("", key="row"), lambda item: item[0]),
        (Column("input"), lambda item: shape_text(item[1].shape)),
        (Column("result", spare=1), lambda item: shape_text(item[1].result) or "-"),
        *peaks,
        *(predicted if fit.profile else ()),
    )


def _largest(fit: Fit) -> Section:
    calls = {"fits": fit.largest} | ({} if fit.following is None else {"next": fit.following})
    lines = [] if fit.rule is None else [f"it takes {fit.rule}"]
    if fit.profile:
        lines.append(f"predicted on {fit.profile}")
    what = {"batch": "largest batch", "frames": "most frames"}.get(fit.grows, "largest input")
    title = (
        f"{fit.spec}, {fit.dtype}: the {what} within {mib(fit.budget)} MiB of "
        f"{'a training step' if fit.memory == 'step' else f'{fit.memory} memory'}"
    )
    return Section(title, tuple(lines), _table(fit, calls), fit.notes)


def _image(fit: Fit, image: Image) -> Section:
    """Whole against tiled."""
    whole, tiled = image.whole, image.tiled
    calls = {f"whole: {'fits' if image.whole_fits else 'does not fit'}": whole}
    lines = []
    if tiled is not None:
        calls[f"in {tiled.count} tiles: fits"] = tiled.call
        rounding = f"to {tiled.difference:.1e} of the largest value, by rounding"
        proof = "to the bit" if tiled.bit_equal else rounding
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
    return Section(title, (), _table(fit, calls), tuple(lines))
