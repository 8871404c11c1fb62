"""An evaluation as text, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from math import inf

from srprof.quality.evaluation import Evaluation, ImageResult, Means
from srprof.render.markdown import markdown_sections
from srprof.render.tables import Column, Section, Table
from srprof.render.text import plain_sections
from srprof.words import mib, shape_text


def evaluation_text(found: Evaluation) -> str:
    """Aligned for a person."""
    return plain_sections(_sections(found))


def evaluation_markdown(found: Evaluation) -> str:
    """For a README or a pull request."""
    return markdown_sections(_sections(found))


def evaluation_json(found: Evaluation) -> str:
    """The whole record."""
    return found.to_json()


_HEADER = (
    *("row", "name", "lr_height", "lr_width", "psnr_rgb_dB", "ssim_rgb", "psnr_y_dB", "ssim_y"),
    *("bicubic_psnr_rgb_dB", "bicubic_psnr_y_dB", "runtime_ms"),
    *("predicted_peak_bytes", "measured_peak_bytes"),
)


def evaluation_csv(found: Evaluation) -> str:
    """A line for each image and one for the mean; an infinite PSNR is inf, unknown is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_HEADER)
    for image in found.images:
        peaks = (image.predicted_peak, image.measured_peak)
        writer.writerow(["image", image.name, *image.lr_size, *_figures(image), *peaks])
    writer.writerow(["mean", "", "", "", *_figures(found.mean), "", ""])
    return out.getvalue()


#: What `--format` takes.
FORMATS: Mapping[str, Callable[[Evaluation], str]] = {
    "text": evaluation_text,
    "csv": evaluation_csv,
    "json": evaluation_json,
    "markdown": evaluation_markdown,
}


def _figures(found: ImageResult | Means) -> tuple[float, ...]:
    """PSNR and SSIM of RGB, of Y, PSNR of bicubic, runtime; infinite where the images are one."""
    rgb, y = found.rgb, found.y
    decibels = (rgb.psnr_dB, y.psnr_dB, found.bicubic_rgb_dB, found.bicubic_y_dB)
    ours, ours_y, bicubic, bicubic_y = (inf if value is None else value for value in decibels)
    return ours, rgb.ssim, ours_y, y.ssim, bicubic, bicubic_y, found.runtime_ms


_COLUMNS = (
    Column("image"),
    Column("LR", "number"),
    Column("PSNR RGB", "number"),
    Column("SSIM RGB", "number"),
    Column("PSNR Y", "number"),
    Column("SSIM Y", "number"),
    Column("bicubic RGB", "number"),
    Column("bicubic Y", "number"),
    Column("ms", "number"),
    Column("peak MiB", "mib"),
)
_WRITTEN = ("{:.2f}", "{:.4f}", "{:.2f}", "{:.4f}", "{:.2f}", "{:.2f}", "{:.1f}")


def _sections(found: Evaluation) -> list[Section]:
    rows = [
        (image.name, shape_text(image.lr_size), *_written(image), image.predicted_peak)
        for image in found.images
    ]
    rows.append(("mean", None, *_written(found.mean), None))
    weights = f" with {found.weights}" if found.weights else ""
    title = f"{found.spec}{weights}, x{found.scale}, on {found.hr}"
    return [
        Section(title, _lines(found), Table(_COLUMNS, tuple(rows)), _after(found)),
        *([Section("Notes", found.notes)] if found.notes else []),
    ]


def _written(found: ImageResult | Means) -> list[str]:
    return [form.format(value) for form, value in zip(_WRITTEN, _figures(found), strict=True)]


def _lines(found: Evaluation) -> tuple[str, ...]:
    lr = f"LR images of {found.lr}" if found.lr else "LR images by bicubic from the HR images"
    how = [lr, f"values 0 to {found.pixel_range}", found.dtype, f"on {found.device.name}"]
    if found.tile is not None:
        how.insert(1, f"in tiles of {shape_text(found.tile)}")
    return (
        ", ".join(how),
        f"PSNR in dB of 8 bits without a border of {found.scale}: RGB as the challenge, Y (BT.601) "
        "as the papers",
    )


def _after(found: Evaluation) -> tuple[str, ...]:
    top = found.largest
    measured = "" if top.measured_peak is None else f", measured {mib(top.measured_peak)} MiB"
    return (
        f"Peak at {shape_text(top.lr_size)} ({top.name}): predicted {mib(top.predicted_peak)} MiB"
        f"{measured}.",
        f"{found.peak_is}.",
    )
