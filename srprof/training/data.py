"""Images to train and validate on, and the patches of an iteration."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from srprof.errors import InputError
from srprof.loading import needed
from srprof.output import replacing
from srprof.progress import Progress, silent
from srprof.quality.images import image_files, read_image, to_bits8
from srprof.quality.metrics import modcrop
from srprof.quality.resize import bicubic
from srprof.training.config import BUNDLED, TrainingConfig

Pixels = NDArray[np.uint8]

#: Colour photographs that scikit-image has in its package.
_PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


@dataclass(frozen=True)
class Pair:
    """An image at both sizes: (H, W, 3) and (scale*H, scale*W, 3), 8 bits."""

    name: str
    lr: Pixels
    hr: Pixels


@dataclass(frozen=True)
class Dataset:
    """Images of a run; `fingerprint` changes with their names, sizes and splits."""

    scale: int
    training: tuple[Pair, ...]
    validation: tuple[Pair, ...]

    @property
    def fingerprint(self) -> str:
        splits = (self.training, self.validation)
        images = [[(pair.name, pair.hr.shape) for pair in split] for split in splits]
        return hashlib.sha256(repr((self.scale, images)).encode()).hexdigest()[:16]


def load_dataset(config: TrainingConfig, scale: int, progress: Progress = silent) -> Dataset:
    """Read the images of a run, and make their LR by bicubic downsampling, in 8 bits.

    Raises:
        InputError: a folder is missing or has no image, an image cannot be read, or is too small.
    """
    held_out = 0 if config.validation else config.held_out // scale * scale
    if not config.validation and not held_out:
        what = f"held_out = {config.held_out} leaves nothing to validate on at x{scale}"
        raise InputError(f"{what}: give at least {scale}, or folders as validation")
    store = _store(config.cache)
    training: list[Pair] = []
    validation: list[Pair] = []
    files = _files(config.data, "data")
    for number, path in enumerate(files):
        progress("images", number, len(files))
        hr = _image(path, config.crop, scale)
        _check_size(path, hr, config.patch * scale, held_out)
        split = hr.shape[1] - held_out
        training.append(_pair(path, hr[:, :split], scale, store))
        if held_out:
            validation.append(_pair(path, hr[:held_out, split:], scale, store))
    for path in _files(config.validation, "validation"):
        validation.append(_pair(path, _image(path, 0, scale), scale, store))
    return Dataset(scale, tuple(training), tuple(validation))


def batch_of(
    pairs: Sequence[Pair], scale: int, patch: int, batch: int, seed: int, iteration: int
) -> tuple[Pixels, Pixels]:
    """Patches of an iteration, a pure function of the seed and the iteration's number.

    Each is cut at random from a random image, mirrored and turned by quarters at random.

    Returns:
        LR (N, 3, patch, patch) and HR (N, 3, scale*patch, scale*patch), 8 bits.
    """
    random = np.random.default_rng([seed, iteration])
    cuts = [_cut(pairs, scale, patch, random) for _ in range(batch)]
    lr, hr = (np.stack(images).transpose(0, 3, 1, 2) for images in zip(*cuts, strict=True))
    return np.ascontiguousarray(lr), np.ascontiguousarray(hr)


def _cut(
    pairs: Sequence[Pair], scale: int, patch: int, random: np.random.Generator
) -> tuple[Pixels, Pixels]:
    pair = pairs[int(random.integers(len(pairs)))]
    y, x = (random.integers(side - patch + 1) for side in pair.lr.shape[:2])
    mirrored, turns = bool(random.integers(2)), int(random.integers(4))
    cut = []
    for image, factor in ((pair.lr, 1), (pair.hr, scale)):
        part = image[y * factor : (y + patch) * factor, x * factor : (x + patch) * factor]
        cut.append(np.rot90(part[:, ::-1] if mirrored else part, turns))
    return cut[0], cut[1]


def _files(places: Sequence[str], key: str) -> list[Path]:
    listed = (_photographs() if p == BUNDLED else image_files(p, key) for p in places)
    return [path for paths in listed for path in paths]


def _photographs() -> list[Path]:
    skimage = needed("skimage", f'data = "{BUNDLED}" needs the package scikit-image', "quality")
    folder = Path(skimage.__file__).parent / "data"
    missing = [name for name in _PHOTOGRAPHS if not (folder / name).is_file()]
    if missing:
        mend = "install 0.20 or newer, or give a folder of HR images as data"
        raise InputError(f"this scikit-image ships no {', '.join(missing)}: {mend}")
    return [folder / name for name in _PHOTOGRAPHS]


def _image(path: Path, crop: int, scale: int) -> Pixels:
    """The image, its middle if it is to be cropped, with sides that the scale divides."""
    pixels = read_image(path).bits8
    if min(pixels.shape[:2]) < scale:
        height, width = pixels.shape[:2]
        raise InputError(f"{path} is {height}x{width}, too small for x{scale}: leave it out")
    if crop:
        top, left = (max(side - crop, 0) // 2 for side in pixels.shape[:2])
        pixels = pixels[top : top + crop, left : left + crop]
    return modcrop(pixels, scale)


def _check_size(path: Path, hr: Pixels, patch: int, held_out: int) -> None:
    height, width = hr.shape[:2]
    if height < max(patch, held_out) or width < patch + held_out:
        beside = f" beside a held-out crop of {held_out}" if held_out else ""
        what = f"{path} is {height}x{width}, smaller than an HR patch of {patch}x{patch}{beside}"
        raise InputError(f"{what}: take a smaller patch, or leave the image out")


_Store = Callable[[Path, str, Callable[[], Pixels]], Pixels]


def _pair(path: Path, hr: Pixels, scale: int, store: _Store) -> Pair:
    what = f"{hr.shape} {hr[:1].tobytes()[:64]!r} {scale}"
    return Pair(
        path.name,
        store(path, f"{what} lr", lambda: to_bits8(bicubic(hr, Fraction(1, scale)))),
        store(path, f"{what} hr", lambda: np.ascontiguousarray(hr)),
    )


def _store(folder: str) -> _Store:
    """Where pixels are kept: main memory, or files of a folder that are mapped into it."""
    if not folder:
        return lambda _path, _what, make: make()
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cache {folder}: cannot be made: {error.strerror}") from error

    def stored(path: Path, what: str, make: Callable[[], Pixels]) -> Pixels:
        status = path.stat()
        key = f"{path.resolve()} {status.st_size} {status.st_mtime_ns} {what}"
        file = place / f"{hashlib.sha256(os.fsencode(key)).hexdigest()[:32]}.npy"
        if not file.exists():
            with replacing(file, "cache") as temporary, temporary.open("wb") as out:
                np.save(out, make())
        return cast(Pixels, np.load(file, mmap_mode="r"))

    return stored
