"""The values that a network takes, 0 to 1 or 0 to 255, found by running it on one image.

What a checkpoint was trained on is written nowhere in it. An enlarged image looks like the image,
so of both ways the one whose result is nearest to bicubic enlargement is the checkpoint's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from srprof.errors import InputError, ModelError
from srprof.quality.images import to_bits8
from srprof.quality.metrics import psnr
from srprof.quality.resize import Array, bicubic
from srprof.quality.upscaling import Upscaler

Range = Literal[1, 255]

#: The side of the LR image's middle that is run: what `probe` ran, which the network takes.
_SIDE = 64
#: dB against bicubic below which a result does not look like the image, and by which the better
#: way must be better.
_LIKE, _BETTER = 15.0, 1.0
#: dB above which both results are the image, and within which they are one.
_SAME, _APART = 40.0, 0.1


@dataclass(frozen=True)
class Found:
    """The range that was chosen, and a line that says why; "" where both give the same.

    `sure` if the result looks like the image, and the other range's does not as much; `like` has
    each range at which it looks like the image.
    """

    pixel_range: Range
    note: str = ""
    sure: bool = True
    like: frozenset[Range] = frozenset()


def find_range(upscaler: Upscaler, lr: Array, name: str) -> Found:
    """The range of values that a network wants, from an LR image (H, W, 3) of 0 to 255.

    0 to 1 where it cannot be told: where both give the same image, or neither looks like it.
    Within `upscaler.running`; its range is as it was afterwards.
    """
    before = upscaler.pixel_range
    middle = _middle(lr)
    try:
        by_one, by_255 = (_likeness(upscaler, middle, each) for each in (1, 255))
    finally:
        upscaler.pixel_range = before
    better: Range = 255 if by_255 > by_one else 1
    pairs: tuple[tuple[Range, float], ...] = ((1, by_one), (255, by_255))
    like = frozenset(each for each, likeness in pairs if likeness >= _LIKE)
    most, least = max(by_one, by_255), min(by_one, by_255)
    if least > _SAME or most == least or most - least < _APART:
        return Found(1, like=like)
    shown = f"{by_one:.1f} dB with 0 to 1, {by_255:.1f} dB with 0 to 255, on {name}"
    against = f"its result against bicubic's has a PSNR of {shown}"
    if most < _LIKE or most - least < _BETTER:
        what = "whether it takes values of 0 to 1 or of 0 to 255 cannot be told, so 0 to 1 is taken"
        return Found(1, f"{what}: {against}; --range 1 or 255 says it", False, like)
    note = f"it takes values of 0 to {better}: {against}; --range says otherwise"
    return Found(better, note, like=like)


def _middle(lr: Array) -> Array:
    """The middle of an image, of the size that the network was tried with."""
    top, left = (max(0, (side - _SIDE) // 2) for side in lr.shape[:2])
    return lr[top : top + _SIDE, left : left + _SIDE]


def _likeness(upscaler: Upscaler, lr: Array, pixel_range: Range) -> float:
    """PSNR of the result against bicubic enlargement; minus infinity where there is none."""
    upscaler.pixel_range = pixel_range
    try:
        result = upscaler(lr).rgb
    except (InputError, ModelError):
        return float("-inf")
    return psnr(result, to_bits8(bicubic(lr, upscaler.scale)), 0)
