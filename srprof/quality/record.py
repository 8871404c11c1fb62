"""An evaluation: how good a network's images are, as a record that outlives the run.

Frozen data without torch, which round-trips through JSON. A PSNR of None (JSON: null) is infinite:
the images are the same. Means over images are taken of the finite ones, and say how many those
are not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from srprof.codec import JsonObject, encode
from srprof.errors import InputError
from srprof.files import RecordFile
from srprof.measuring.record import Device, Versions, fingerprint
from srprof.records import Trace
from srprof.shown import Shown

#: Version of the JSON object. Fields may be added within one; see `srprof.codec`.
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How near an image is to the HR image: PSNR in dB, None where they are the same, and SSIM."""

    psnr_dB: float | None  # noqa: N815  # the unit is written so
    ssim: float


@dataclass(frozen=True, slots=True)
class ImageResult:
    """One image.

    Attributes:
        name: of the HR file, without its ending. lr_size: height and width.
        rgb: of R, G and B, in the challenge's way; y: of luma, in the papers'.
        bicubic_rgb_dB, bicubic_y_dB: PSNR of the LR image enlarged by bicubic, for comparison.
        runtime_ms: of the one forward pass.
        predicted_peak: bytes; measured_peak: as the device's allocator counted, None where
            nobody did.
    """

    name: str
    lr_size: tuple[int, int]
    rgb: Fidelity
    y: Fidelity
    bicubic_rgb_dB: float | None  # noqa: N815
    bicubic_y_dB: float | None  # noqa: N815
    runtime_ms: float
    predicted_peak: int
    measured_peak: int | None = None


@dataclass(frozen=True, slots=True)
class Means:
    """Means over images; a PSNR is of the images that have a finite one, None if none has.

    `same_rgb` and `same_y` count images that are the same as the HR image, and left out of it.
    """

    rgb: Fidelity
    y: Fidelity
    bicubic_rgb_dB: float | None  # noqa: N815
    bicubic_y_dB: float | None  # noqa: N815
    runtime_ms: float
    same_rgb: int
    same_y: int


@dataclass(frozen=True, repr=False)
class Evaluation(Shown):
    """How good a network's images are.

    Attributes:
        name, spec: of the model, as in a `Trace`. network: its fingerprint's part that is the
            same on every device (`measuring.record.Fingerprint.network`).
        weights: the checkpoint's file, "" if none was given.
        scale: between LR and HR, and the border that is left out.
        lr: the folder of LR images, "" if they were made by bicubic; hr: of HR images.
        pixel_range: largest value that the network was given, 1 or 255.
        tile: LR height and width that it was given at a time, None for whole images.
        peak_is: what the peaks count. taken: when, in UTC (ISO 8601).
        notes: what a reader of the figures must know, one line each.
    """

    view = "evaluation"

    name: str
    spec: str
    network: str
    weights: str
    scale: int
    lr: str
    hr: str
    pixel_range: int
    tile: tuple[int, int] | None
    dtype: str
    taken: str
    device: Device
    versions: Versions
    peak_is: str
    images: tuple[ImageResult, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.images:
            raise ValueError("there are no images")

    def __repr__(self) -> str:
        psnr, count = self.mean.rgb.psnr_dB, len(self.images)
        shown = "infinite" if psnr is None else f"{psnr:.2f} dB"
        return f"<Evaluation of {self.name} on {count} images: PSNR {shown} (RGB)>"

    @property
    def mean(self) -> Means:
        """Means over the images."""
        images = self.images
        rgb, y = [image.rgb for image in images], [image.y for image in images]
        return Means(
            rgb=_mean_fidelity(rgb),
            y=_mean_fidelity(y),
            bicubic_rgb_dB=mean_psnr(image.bicubic_rgb_dB for image in images),
            bicubic_y_dB=mean_psnr(image.bicubic_y_dB for image in images),
            runtime_ms=fmean(image.runtime_ms for image in images),
            same_rgb=sum(fidelity.psnr_dB is None for fidelity in rgb),
            same_y=sum(fidelity.psnr_dB is None for fidelity in y),
        )

    @property
    def largest(self) -> ImageResult:
        """The image with the largest predicted peak, the first of equals."""
        return max(self.images, key=lambda image: image.predicted_peak)

    def psnr_of(self, trace: Trace | None, path: str) -> float:
        """PSNR (RGB, as the challenge has it) in dB of the network of a trace, from a --record.

        Args:
            trace: None where the network could not be run, and nobody can tell.

        Raises:
            InputError: the evaluation is of another network, or all images are infinitely good.
        """
        if trace and self.network != fingerprint(trace.externals, trace.nodes).network:
            raise InputError(
                f"--record {path} is of {self.spec}, and {trace.spec} is another network (its "
                "parameters differ); give the SPEC that was evaluated, or evaluate this one"
            )
        if self.mean.rgb.psnr_dB is None:
            same = "every image is the same as its HR image; evaluate with other images"
            raise InputError(f"--record {path} has no finite PSNR: {same}")
        return self.mean.rgb.psnr_dB

    def to_dict(self) -> JsonObject:
        """The JSON object: sizes in bytes, times in ms; beside the fields it has the `mean`."""
        return {**FILE.encode(self), "mean": encode(self.mean)}

    def to_json(self) -> str:
        """The JSON text, ending with a newline."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"


def mean_psnr(values: Iterable[float | None]) -> float | None:
    """The mean of those that are finite; None, infinite, if none is."""
    finite = [value for value in values if value is not None]
    return fmean(finite) if finite else None


def _mean_fidelity(images: list[Fidelity]) -> Fidelity:
    return Fidelity(mean_psnr(f.psnr_dB for f in images), fmean(f.ssim for f in images))


_COMMAND = "srprof evaluate SPEC --format json -o FILE"
FILE = RecordFile(Evaluation, "srprof evaluation", SCHEMA, "evaluate again", _COMMAND)
