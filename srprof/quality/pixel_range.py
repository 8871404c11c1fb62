"""The values that a network takes, 0 to 1 or 0 to 255, found by running it on one image.

What a checkpoint was trained on is written nowhere in it. An SR image that is shrunk again is the
LR image, so of both ways the one whose result keeps to that is the checkpoint's. How near a result
is to bicubic enlargement does not tell: the wrong way may give less detail, and be nearer.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import inf
from typing import Literal

from srprof.errors import InputError, ModelError
from srprof.quality.images import to_bits8
from srprof.quality.metrics import Image8, psnr
from srprof.quality.resize import Array, bicubic
from srprof.quality.upscaling import Upscaler

Range = Literal[1, 255]

#: The side of the LR image's middle that is run: what `probe` ran, which the network takes.
_SIDE = 64
#: dB of a result, shrunk again, against the LR image below which it does not look like it, and by
#: which the better way must be better: half of the squared error.
_LIKE, _BETTER = 15.0, 3.0
#: dB between both results above which they are one, but for rounding.
_SAME = 50.0


@dataclass(frozen=True)
class Found:
    """The range that was chosen, and a line that says why; "" where there is nothing to say.

    `sure` is False where the two ways differ and neither is told to be the network's; `like` has
    each range whose result, shrunk again, looks like the image.
    """

    pixel_range: Range
    note: str = ""
    sure: bool = True
    like: frozenset[Range] = frozenset()


def find_range(upscaler: Upscaler, lr: Array, name: str, trained: bool) -> Found:
    """The range of values that a network wants, from an LR image (H, W, 3) of 0 to 255.

    0 to 1 where it cannot be told: where both give the same image, or neither looks like it. Of a
    network that may not be `trained` that is not said, and it must be nearer to the LR image than
    bicubic enlargement is: one that adds noise to that is the nearest where the noise is least.
    Within `upscaler.running`; its range is as it was afterwards.
    """
    before = upscaler.pixel_range
    middle = _middle(lr)
    try:
        first, second = (_result(upscaler, middle, each) for each in (1, 255))
    finally:
        upscaler.pixel_range = before
    if _alike(first, second):
        return Found(1)
    by_one, by_255 = _likeness(first, middle), _likeness(second, middle)
    better: Range = 255 if by_255 > by_one else 1
    shown = f"{_shown(by_one)} with 0 to 1, {_shown(by_255)} with 0 to 255, on {name}"
    against = f"(PSNR of its result, shrunk again, against the LR image: {shown})"
    pairs: tuple[tuple[Range, float], ...] = ((1, by_one), (255, by_255))
    like = frozenset(each for each, likeness in pairs if likeness > _LIKE)
    enough = _LIKE
    if not trained:
        enough = _BETTER + _likeness(to_bits8(bicubic(middle, upscaler.scale)), middle)
    if not (max(by_one, by_255) > enough and abs(by_one - by_255) > _BETTER):
        if not trained:
            return Found(1, sure=False, like=like)
        what = "whether it takes values of 0 to 1 or of 0 to 255 cannot be told, so 0 to 1 is taken"
        return Found(1, f"{what} {against}; --range 1 or 255 says it", False, like)
    note = f"it takes values of 0 to {better} {against}; --range says otherwise"
    return Found(better, note, like=like)


def _middle(lr: Array) -> Array:
    """The middle of an image, of the size that the network was tried with."""
    top, left = (max(0, (side - _SIDE) // 2) for side in lr.shape[:2])
    return lr[top : top + _SIDE, left : left + _SIDE]


def _result(upscaler: Upscaler, lr: Array, pixel_range: Range) -> Image8 | None:
    """The SR image with values of that range; None where there is none."""
    upscaler.pixel_range = pixel_range
    try:
        return upscaler(lr).rgb
    except (InputError, ModelError):
        return None


def _alike(first: Image8 | None, second: Image8 | None) -> bool:
    """Whether both ways give the same image, or both give none."""
    if first is None or second is None:
        return first is second
    return psnr(first, second) > _SAME


def _likeness(result: Image8 | None, lr: Array) -> float:
    """PSNR of a result, shrunk by bicubic, against the LR image; minus infinity of none."""
    if result is None:
        return -inf
    shrunk = bicubic(result, Fraction(len(lr), len(result)))
    return psnr(to_bits8(shrunk), to_bits8(lr))


def _shown(likeness: float) -> str:
    return "none" if likeness == -inf else f"{likeness:.1f} dB"
