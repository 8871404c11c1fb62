"""An evaluation: the quality, runtime and memory of each image."""

from __future__ import annotations

from math import inf

from srprof.quality.record import Evaluation, ImageResult, Means
from srprof.render.document import Column, Document, Section, Table, notes
from srprof.words import mib, shape_text

#: Of the CSV, which has more of each image.
_NAMES = (
    *("row", "name", "lr_height", "lr_width", "psnr_rgb_dB", "ssim_rgb", "psnr_y_dB", "ssim_y"),
    *("bicubic_psnr_rgb_dB", "bicubic_psnr_y_dB", "runtime_ms"),
    *("predicted_peak_bytes", "measured_peak_bytes"),
)
_COLUMNS = (
    Column("image"),
    Column("LR", "number"),
    Column("PSNR RGB", "fixed"),
    Column("SSIM RGB", "fixed", decimals=4),
    Column("PSNR Y", "fixed"),
    Column("SSIM Y", "fixed", decimals=4),
    Column("bicubic RGB", "fixed"),
    Column("bicubic Y", "fixed"),
    Column("ms", "fixed", decimals=1),
    Column("peak MiB", "mib"),
)


def document(evaluation: Evaluation) -> Document:
    """A line for each image and one for the mean."""
    images, mean = evaluation.images, _figures(evaluation.mean)
    rows = [(i.name, shape_text(i.lr_size), *_figures(i), i.predicted_peak) for i in images]
    weights = f" with {evaluation.weights}" if evaluation.weights else ""
    title = f"{evaluation.spec}{weights}, x{evaluation.scale}, on {evaluation.hr}"
    table = Table(_COLUMNS, (*rows, ("mean", None, *mean, None)))
    section = Section(title, _lines(evaluation), table, _after(evaluation))
    every = [
        ("image", i.name, *i.lr_size, *_figures(i), i.predicted_peak, i.measured_peak)
        for i in images
    ]
    every.append(("mean", None, None, None, *mean, None, None))
    main = Table(tuple(map(Column, _NAMES)), tuple(every))
    return Document((section, *notes(evaluation.notes)), evaluation.to_dict, main=main)


def _figures(result: ImageResult | Means) -> tuple[float, ...]:
    """PSNR and SSIM of RGB, of Y, PSNR of bicubic, runtime; infinite where the images are one."""
    rgb, y = result.rgb, result.y
    decibels = (rgb.psnr_dB, y.psnr_dB, result.bicubic_rgb_dB, result.bicubic_y_dB)
    ours, ours_y, bicubic, bicubic_y = (inf if value is None else value for value in decibels)
    return ours, rgb.ssim, ours_y, y.ssim, bicubic, bicubic_y, result.runtime_ms


def _lines(evaluation: Evaluation) -> tuple[str, ...]:
    lr, tile = evaluation.lr, evaluation.tile
    how = (
        f"LR images of {lr}" if lr else "LR images by bicubic from the HR images",
        *([] if tile is None else [f"in tiles of {shape_text(tile)}"]),
        f"values 0 to {evaluation.pixel_range}",
        evaluation.dtype,
        f"on {evaluation.device.name}",
    )
    return (
        ", ".join(how),
        f"PSNR in dB of 8 bits without a border of {evaluation.scale}: RGB as the challenge, "
        "Y (BT.601) as the papers",
    )


def _after(evaluation: Evaluation) -> tuple[str, ...]:
    top = evaluation.largest
    measured = "" if top.measured_peak is None else f", measured {mib(top.measured_peak)} MiB"
    over = (top.measured_peak or 0) - top.predicted_peak
    scratch = (
        f"The {mib(over)} MiB more are scratch that the CPU's library takes within calls, weights "
        "and maps in an order of its own: no line of the network asks for it, and a GPU takes "
        "another. `srprof measure SPEC --device cpu` has it by node."
    )
    return (
        f"Peak at {shape_text(top.lr_size)} ({top.name}): predicted {mib(top.predicted_peak)} MiB"
        f"{measured}.",
        f"{evaluation.peak_is}.",
        *([scratch] if over > 0 and evaluation.device.kind == "cpu" else []),
    )
