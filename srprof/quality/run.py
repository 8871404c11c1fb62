"""`srprof.evaluate`: PSNR and SSIM of a network's images, with what they cost."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from math import isinf
from pathlib import Path
from typing import Any

import numpy as np

from srprof.call import Call
from srprof.codec import pick
from srprof.errors import InputError, ModelError
from srprof.measuring.settings import now, read_versions, usual_device
from srprof.progress import Progress, silent
from srprof.quality.doubts import doubts, weights_notes
from srprof.quality.images import Picture, image_size, read_image, to_bits8, write_image
from srprof.quality.metrics import Image8, luma8, modcrop, psnr, ssim
from srprof.quality.pairs import Pair, find_pairs
from srprof.quality.pixel_range import Range, find_range
from srprof.quality.record import Evaluation, Fidelity, ImageResult
from srprof.quality.resize import bicubic
from srprof.quality.upscaling import Probe, Upscaled, Upscaler, probe
from srprof.weights import AS_BUILT
from srprof.words import shape_text


def evaluate(
    model: Any,
    lr: str | os.PathLike[str] | None = None,
    hr: str | os.PathLike[str] | None = None,
    *,
    weights: str | None = None,
    scale: int | None = None,
    pixel_range: Range | None = None,
    tile: int | tuple[int, int] | None = None,
    halo: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    save: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Run a network on LR images and compare what it gives with the HR images.

    HR images are cropped to a multiple of the scale. A network for luma (one channel) gets Y of
    YCbCr, and chroma is enlarged by bicubic; one that does not enlarge gets the LR image enlarged
    by bicubic, as VDSR does.

    Args:
        model: a SPEC or an `nn.Module`.
        lr: folder of LR images, or one; None makes them by bicubic from the HR images, rounded
            to 8 bits.
        hr: folder of HR images, or one; an LR image has its name, or that with x4 behind.
        weights: checkpoint for a SPEC.
        scale: from LR to HR; by default the network's own, or what the images' sizes say.
        pixel_range: largest value of the network's input and result: 1, or 255 for checkpoints
            that were trained so. None finds it on the first image, and says so in the notes.
        tile, halo: run it tile by tile, as `srprof.tiling.tiled.Tiled`.
        device: "cpu", "cuda" or "cuda:1"; by default "cuda" if there is one.
        save: folder for the SR images as 8-bit PNG, made if it is missing.
        progress: called with what is being done, how many images are done, and of how many.

    Raises:
        InputError: the SPEC, the weights, an option or an image is wrong; which, and how.
        DeviceMemoryError: an image does not fit into the GPU's memory.
        ModelError: the model raised.
    """
    if hr is None:
        raise InputError("there is nothing to compare with: give hr, a folder of HR images")
    if pixel_range not in (None, 1, 255):
        raise InputError(f"pixel_range {pixel_range}: it is 1 or 255")
    if scale is not None and scale < 1:
        raise InputError(f"scale {scale}: give a whole number of at least 1")
    pairs = find_pairs(None if lr is None else os.fspath(lr), os.fspath(hr))
    call = Call(model, (), weights, dtype)
    probed = probe(call)
    scale = scale or _scale(probed, pairs)
    if probed.factor not in (1, scale):
        what = f"{probed.trace.spec} enlarges x{probed.factor}, not x{scale}"
        raise InputError(f"{what}: build it for that scale")
    for pair in pairs:
        _check_sizes(pair, scale)
    tile = (tile, tile) if isinstance(tile, int) else tile
    upscaler = Upscaler(call, probed, scale, pixel_range or 1, tile, halo, usual_device(device))
    folder = None if save is None else _folder(os.fspath(save), (lr, hr), pairs, scale)
    notes = weights_notes(model, weights, probed.trace.parameters)
    with upscaler.running():
        if pixel_range is None:
            notes += _find_range(upscaler, pairs[0], AS_BUILT not in notes)
        images = _run(upscaler, pairs, folder, progress)
    evaluation = Evaluation(
        name=probed.trace.name,
        spec=probed.trace.spec,
        network=probed.network,
        weights=weights or "",
        scale=scale,
        lr="" if lr is None else os.fspath(lr),
        hr=os.fspath(hr),
        pixel_range=upscaler.pixel_range,
        tile=tile,
        dtype=upscaler.dtype,
        taken=now(),
        device=upscaler.backend.device(),
        versions=read_versions(),
        peak_is=upscaler.peak_is,
        images=images,
        notes=(*notes, *upscaler.notes),
    )
    return replace(evaluation, notes=(*evaluation.notes, *doubts(evaluation, halo)))


def _find_range(upscaler: Upscaler, pair: Pair, trained: bool) -> list[str]:
    """Have the upscaler take the values that the network wants; a line that says which."""
    lr, _ = _read(pair, upscaler.scale)
    with _naming(pair):
        found = find_range(upscaler, lr.pixels, os.path.basename(pair.lr or pair.hr), trained)
    upscaler.pixel_range = found.pixel_range
    return [found.note] if found.note else []


def _scale(probed: Probe, pairs: Sequence[Pair]) -> int:
    """The network's factor; where it does not enlarge, what the first pair's sizes say."""
    if probed.factor > 1:
        return probed.factor
    lr, hr = pairs[0].lr, pairs[0].hr
    if lr is None:
        what = f"{probed.trace.spec} does not enlarge by itself"
        raise InputError(f"{what}: give --scale, or --lr with --hr")
    return max(1, round(image_size(hr)[0] / image_size(lr)[0]))


def _check_sizes(pair: Pair, scale: int) -> None:
    """Refuse sizes that do not match the scale, naming both files, before anything is run."""
    high = image_size(pair.hr)
    expected = tuple(side // scale for side in high)
    if 0 in expected:
        raise InputError(f"{pair.hr} is {shape_text(high)}: too small for x{scale}")
    low = expected if pair.lr is None else image_size(pair.lr)
    if low != expected:
        sizes = f"{pair.lr} is {shape_text(low)} and {pair.hr} is {shape_text(high)}"
        wanted = f"for x{scale} the LR image must be {shape_text(expected)} (HxW)"
        raise InputError(f"{sizes}: {wanted}; give images of one scale, or leave --lr out")


def _folder(
    save: str, places: Sequence[str | os.PathLike[str] | None], pairs: Sequence[Pair], scale: int
) -> Path:
    """The folder for SR images, made if it is missing; `places` has the LR and HR images.

    An InputError if it cannot be made or written, an image there would be one of the inputs, or
    all would be among them.
    """
    folder, mend = Path(save), "name another folder"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"--save {save}: cannot be made: {error.strerror}; {mend}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"--save {save}: no permission to write there; {mend}")
    inputs = {os.path.realpath(p) for pair in pairs for p in (pair.lr, pair.hr) if p is not None}
    for target in (_saved(folder, pair, scale) for pair in pairs):
        if os.path.realpath(target) in inputs:
            raise InputError(f"--save {save} would replace {target}, an input; {mend}")
    if os.path.realpath(save) in {os.path.realpath(place) for place in places if place is not None}:
        what = f"--save {save} is a folder of images to evaluate"
        raise InputError(f"{what}, and the next run would take the SR images for such; {mend}")
    return folder


def _saved(folder: Path, pair: Pair, scale: int) -> Path:
    return folder / f"{pair.name}x{scale}.png"


def _run(
    upscaler: Upscaler, pairs: Sequence[Pair], folder: Path | None, progress: Progress
) -> tuple[ImageResult, ...]:
    images: list[ImageResult] = []
    scale, largest, transparent = upscaler.scale, 0, list[str]()
    for done, pair in enumerate(pairs):
        progress("evaluating", done, len(pairs))
        lr, hr = _read(pair, scale)
        if lr.transparent or hr.transparent:
            transparent.append(pair.name)
        with _naming(pair):
            if not images:
                upscaler.warm_up(lr.pixels)
            result = upscaler(lr.pixels)
        images.append(_result(pair, lr, modcrop(hr.bits8, scale), result, upscaler))
        if folder is not None:
            write_image(result.rgb, _saved(folder, pair, scale), "--save")
        if images[done].predicted_peak > images[largest].predicted_peak:
            largest = done
    if transparent:
        upscaler.notes.insert(0, f"an alpha channel was left out: {', '.join(transparent)}")
    if images[largest].measured_peak is None:
        progress("memory", len(pairs), len(pairs))
        lr, _ = _read(pairs[largest], scale)
        peak = upscaler.measured_on_cpu(lr.pixels)
        images[largest] = replace(images[largest], measured_peak=peak)
    return tuple(images)


@contextmanager
def _naming(pair: Pair) -> Iterator[None]:
    """Errors of the model say which image it was given."""
    try:
        yield
    except ModelError as error:
        place = pick(error, "file line module")
        raise ModelError(f"{pair.lr or pair.hr}: {error}", **place) from error


def _read(pair: Pair, scale: int) -> tuple[Picture, Picture]:
    """The LR image, made from the HR image if there is no file of it, and the HR image."""
    hr = read_image(pair.hr)
    if pair.lr is not None:
        return read_image(pair.lr), hr
    shrunk = bicubic(modcrop(hr.bits8, scale), Fraction(1, scale))
    return Picture(to_bits8(shrunk).astype(np.float64)), hr


def _result(
    pair: Pair, lr: Picture, hr: Image8, upscaled: Upscaled, upscaler: Upscaler
) -> ImageResult:
    scale = upscaler.scale
    enlarged, luma = to_bits8(bicubic(lr.pixels, scale)), luma8(hr)
    height, width = lr.pixels.shape[:2]

    def finite_psnr(image: Image8, reference: Image8) -> float | None:
        value = psnr(image, reference, scale)
        return None if isinf(value) else value

    try:
        return ImageResult(
            name=pair.name,
            lr_size=(height, width),
            rgb=Fidelity(finite_psnr(upscaled.rgb, hr), ssim(upscaled.rgb, hr, scale)),
            y=Fidelity(finite_psnr(upscaled.y, luma), ssim(upscaled.y, luma, scale)),
            bicubic_rgb_dB=finite_psnr(enlarged, hr),
            bicubic_y_dB=finite_psnr(luma8(enlarged), luma),
            runtime_ms=upscaled.runtime_ms,
            predicted_peak=upscaler.predicted_peak((height, width)),
            measured_peak=upscaled.peak,
        )
    except InputError as error:
        raise InputError(f"{pair.hr}: {error}") from error
