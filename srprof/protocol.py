"""Protocols: which images a program runs before the one that is analyzed.

The allocator's blocks outlive an image, so what one image needs depends on those before it. The
sizes of a run come from the DIV2K test list, a list of the user's own, or a folder of images.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from srprof.codec import DecodeError, decode
from srprof.errors import InputError
from srprof.files import opened, parse_json, read_json, read_text
from srprof.inputs import first_image, parse_sides, parse_size, with_images
from srprof.rules import Count

#: What `--protocol` takes: one cold image, or a list of images before it, as the challenge runs.
PROTOCOLS = ("single", "ntire")

_DIV2K = Path(__file__).parent / "data" / "div2k_test_lr_sizes.json"
#: The scale at which the list has LR sizes.
_DIV2K_SCALE = 4

_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})

Size = tuple[int, int]
_SIZES = tuple[tuple[Count, Count], ...]


def read_sizes(source: str | None, scale: int | None = None) -> tuple[Size, ...]:
    """LR heights and widths in the order in which they are run.

    Args:
        source: a folder of LR images (by name), or a file of sizes: one `HxW` a line, or JSON, a
            list of `[H, W]`. None is the DIV2K test set, 0901 to 1000.
        scale: the network's, for the DIV2K set; 4 if it has none.

    Raises:
        InputError: there is no such file, it has no sizes, or one that is none (which line).
    """
    if source is None:
        sizes = decode(_SIZES, read_json(_DIV2K)["hw"])
        factor = _DIV2K_SCALE / (scale or _DIV2K_SCALE)
        return tuple((round(h * factor), round(w * factor)) for h, w in sizes)
    if os.path.isdir(source):
        found = _of_images(source)
    elif os.path.exists(source):
        found = _of_file(source)
    else:
        raise InputError(f"there is no file or folder {source!r}: check --sizes")
    if not found:
        mend = "give a folder of images, or a file with one HxW a line"
        raise InputError(f"{source} has no sizes: {mend}")
    return found


def _of_images(folder: str) -> tuple[Size, ...]:
    try:
        from PIL import Image
    except ImportError:
        mend = "pip install pillow, or list them in a file"
        raise InputError(f"reading the sizes of images needs Pillow: {mend}") from None
    found = []
    for path in sorted(Path(folder).iterdir()):
        if path.suffix.lower() in _IMAGES:
            try:
                with opened(path) as file, Image.open(file) as image:
                    found.append((image.height, image.width))
            except OSError as error:
                raise InputError(f"{path} cannot be read as an image; take it out") from error
    return tuple(found)


def _of_file(path: str) -> tuple[Size, ...]:
    text = read_text(path, mend="write one HxW a line")
    if text.lstrip().startswith(("[", "{")):
        return _of_json(path, text)
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            try:
                height, width = _sides(line.strip())
            except InputError as error:
                raise InputError(f"{path}, line {number}: {error}") from error
            found.append((height, width))
    return tuple(found)


def _sides(text: str) -> Size:
    """Height and width of a size, or of an image's whole shape."""
    return parse_sides(text) if text.count("x") < 2 else parse_size(text)[-2:]  # type: ignore[return-value]  # two sides


def _of_json(path: str, text: str) -> tuple[Size, ...]:
    mend = "write a list of [height, width] in pixels: [[339, 510], ...]"
    rows = parse_json(text, path, mend)
    if isinstance(rows, dict):
        rows = rows.get("hw")
    try:
        return decode(_SIZES, rows)
    except DecodeError as error:
        raise InputError(f"{path}: {error}; {mend}") from error


def resized(args: Sequence[Any], kwargs: Mapping[str, Any], size: Size) -> dict[str, Any]:
    """A call's `args` and `kwargs` with their first image at another size.

    An InputError if it takes none, or another one could not keep its proportion to it.
    """
    doing, mend = "--protocol ntire runs images of many sizes", "analyze it with --protocol single"
    image = first_image((args, kwargs), doing, mend)
    shape = (*image.shape[:-2], *size)
    at_size = with_images((tuple(args), dict(kwargs)), image, shape)
    return dict(zip(("args", "kwargs"), at_size, strict=True))
