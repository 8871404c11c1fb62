"""Image files: read as RGB in float64, written as 8-bit PNG.

Values are those of the file: colour profiles, gamma and orientation are not applied. Grey is R =
G = B. An alpha channel is left out, and colours stay as they are stored.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srprof.errors import InputError
from srprof.files import opened, read_bytes
from srprof.loading import needed
from srprof.output import replacing

#: How the name of an image file ends.
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


@dataclass(frozen=True)
class Picture:
    """An image: (H, W, 3), RGB from 0 to 255, with fractions if its file has 16 bits.

    It is `transparent` if it had an alpha channel that is not all opaque, and was left out.
    """

    pixels: NDArray[np.float64]
    transparent: bool = False

    @property
    def bits8(self) -> NDArray[np.uint8]:
        """The pixels rounded to 8 bits."""
        return to_bits8(self.pixels)


def to_bits8(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Values from 0 to 255 rounded, and what lies beyond taken to the end: uint8."""
    rounded: NDArray[np.uint8] = np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)
    return rounded


def read_image(path: str | Path) -> Picture:
    """Read an image of 8 or 16 bits, grey, RGB or with a palette, with or without alpha.

    An InputError if it cannot be read, is too large to be honest, or Pillow is missing.
    """
    with _reading(path):
        return _picture(read_bytes(path), str(path))


def image_size(path: str | Path) -> tuple[int, int]:
    """Height and width of an image, by the beginning of its file; raises as `read_image` does."""
    with _reading(path), opened(path) as file, _pillow().open(file) as image:
        return image.height, image.width


@contextmanager
def _reading(path: str | Path) -> Iterator[None]:
    """What Pillow says against a file becomes an `InputError`."""
    pillow = _pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            yield
    except (pillow.DecompressionBombWarning, pillow.DecompressionBombError) as error:
        why = f"it has more than {pillow.MAX_IMAGE_PIXELS:,} pixels"
        what = f"{path} is refused: {why}, which may be a decompression bomb"
        raise InputError(f"{what}; cut it into parts") from error
    except MemoryError as error:
        raise InputError(f"{path} does not fit into memory; cut it into parts") from error
    except InputError:
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or "it is damaged, cut off, or no image"
        raise InputError(f"{path} cannot be read as an image: {reason}") from error


def _picture(data: bytes, path: str) -> Picture:
    with _pillow().open(BytesIO(data)) as image:
        mode = image.tile[0].args if image.format == "PNG" and image.tile else ""
        if mode in _SIXTEEN:
            return _split(_sixteen(data, mode), 65535)
        if image.mode.startswith("I;16"):
            return _split(np.asarray(image)[..., None], 65535)
        if image.mode in ("I", "F"):
            raise InputError(f"{path} has pixels of 32 bits: convert it to a PNG of 8 or 16 bits")
        has_alpha = "A" in image.getbands() or "transparency" in image.info
        return _split(np.asarray(image.convert("RGBA" if has_alpha else "RGB")), 255)


#: Raw modes of 16-bit PNGs of several channels, which Pillow would cut down to their high bytes,
#: and a mode that gives the low ones.
_SIXTEEN = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L", "LA;16B": ""}


def _sixteen(data: bytes, mode: str) -> NDArray[np.int64]:
    """The samples of such a PNG, (H, W, C)."""
    if not _SIXTEEN[mode]:  # two samples of two bytes each, read as four samples
        four = _unpacked(data, "RGBA")
        return four[..., ::2] * 256 + four[..., 1::2]
    return _unpacked(data, mode) * 256 + _unpacked(data, _SIXTEEN[mode])


def _unpacked(data: bytes, mode: str) -> NDArray[np.int64]:
    """The file's bytes as a raw mode of Pillow's takes them."""
    with _pillow().open(BytesIO(data)) as image:
        image.tile = [tile._replace(args=mode) for tile in image.tile]
        return np.asarray(image).astype(np.int64)


def _split(samples: NDArray[Any], largest: int) -> Picture:
    """The picture of samples (H, W, 1 to 4), of which 2 or 4 have alpha at the end."""
    channels = samples.shape[2]
    colours = samples[..., :-1] if channels in (2, 4) else samples
    opaque = colours is samples or bool((samples[..., -1] == largest).all())
    pixels = colours * (255 / largest)
    if pixels.shape[2] == 1:
        pixels = pixels.repeat(3, axis=2)
    return Picture(np.ascontiguousarray(pixels, np.float64), not opaque)


def write_image(pixels: NDArray[np.uint8], path: Path, option: str = "-o") -> None:
    """Write an 8-bit image (H, W, 3) or (H, W) as PNG; raises as `replacing` does."""
    with replacing(path, option) as temporary:
        _pillow().fromarray(pixels).save(temporary, format="PNG")


def image_files(folder: str, option: str) -> list[Path]:
    """The images of a folder by name, hidden ones left out, or the one file that is named.

    An InputError if there is no such folder, or it has no image; `option` is who named it.
    """
    place = Path(folder)
    if place.is_file():
        return [place]
    try:
        seen = sorted(path for path in place.iterdir() if not path.name.startswith("."))
        paths = [path for path in seen if path.suffix.lower() in ENDINGS]
    except OSError as error:
        what = f"{option} {folder}: cannot be read: {error.strerror}"
        raise InputError(f"{what}; name a folder of images") from error
    if not paths:
        raise InputError(f"{option} {folder} has no image: none ends in {', '.join(ENDINGS)}")
    return paths


def _pillow() -> Any:
    return needed("PIL.Image", "images need the package Pillow", "quality")
