"""Makes bicubic_x4.json: a crop of a photograph shrunk and enlarged by the definition itself.

Run it from the repository's root: `python tests/golden/make_bicubic.py`; it takes a second. It
knows nothing of srprof: each pixel is a double sum over the mirrored image with exact fractions,
and PSNR is the formula. The photograph is NASA's portrait of Eileen Collins (public domain), which
comes with scikit-image.
"""

from __future__ import annotations

import json
from fractions import Fraction
from math import ceil, floor, log10
from pathlib import Path

import numpy as np
from skimage import data

SCALE = 4
PLACE = Path(__file__).parent / f"bicubic_x{SCALE}.json"


def keys(x: Fraction) -> Fraction:
    """Keys' cubic convolution kernel, a = -1/2."""
    a, x = Fraction(-1, 2), abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    if x <= 2:
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return Fraction(0)


def mirrored(i: int, n: int) -> int:
    """Index beyond the border: the image is its own mirror image, border pixels twice."""
    while not 0 <= i < n:
        i = -1 - i if i < 0 else 2 * n - 1 - i
    return i


def taps(i: int, factor: Fraction) -> list[tuple[int, Fraction]]:
    """Source positions of result pixel i (counted from 0) and their normalised weights."""
    u = (i + Fraction(1, 2)) / factor - Fraction(1, 2)
    narrow = min(factor, Fraction(1))
    reach = 2 / narrow
    found = [(k, keys((u - k) * narrow)) for k in range(floor(u - reach), ceil(u + reach) + 1)]
    total = sum(weight for _, weight in found)
    return [(k, weight / total) for k, weight in found if weight]


def resized(image: list[list[int]], factor: Fraction) -> list[list[Fraction]]:
    """One channel, each result pixel a double sum."""
    height, width = len(image), len(image[0])
    across = [taps(j, factor) for j in range(ceil(width * factor))]
    result = []
    for i in range(ceil(height * factor)):
        down = taps(i, factor)
        line = []
        for columns in across:
            value = Fraction(0)
            for row, vertical in down:
                for column, horizontal in columns:
                    pixel = image[mirrored(row, height)][mirrored(column, width)]
                    value += vertical * horizontal * pixel
            line.append(value)
        result.append(line)
    return result


def eight_bits(image: list[list[Fraction]]) -> list[list[int]]:
    return [[min(255, max(0, floor(v + Fraction(1, 2)))) for v in row] for row in image]


def psnr(pairs: list[tuple[int, int]]) -> float:
    squares = sum((a - b) ** 2 for a, b in pairs)
    return 10 * log10(255**2 * len(pairs) / squares)


def luma(red: int, green: int, blue: int) -> int:
    return floor(Fraction(65481 * red + 128553 * green + 24966 * blue, 255_000) + Fraction(33, 2))


def main() -> None:
    hr = np.asarray(data.astronaut())[60:108, 180:232].tolist()
    channels = [[[pixel[c] for pixel in row] for row in hr] for c in range(3)]
    lr = [eight_bits(resized(channel, Fraction(1, SCALE))) for channel in channels]
    sr = [eight_bits(resized(channel, Fraction(SCALE))) for channel in lr]
    rows, columns = (range(SCALE, len(side) - SCALE) for side in (hr, hr[0]))
    inside = [(i, j) for i in rows for j in columns]
    rgb = [(channels[c][i][j], sr[c][i][j]) for i, j in inside for c in range(3)]
    y = [
        (luma(*(channels[c][i][j] for c in range(3))), luma(*(sr[c][i][j] for c in range(3))))
        for i, j in inside
    ]
    record = {
        "what": "bicubic x4 of a crop of skimage.data.astronaut(), by make_bicubic.py",
        "psnr_rgb_dB": psnr(rgb),
        "psnr_y_dB": psnr(y),
        "hr": hr,
        "lr": np.moveaxis(np.array(lr), 0, 2).tolist(),
        "sr": np.moveaxis(np.array(sr), 0, 2).tolist(),
    }
    PLACE.write_text(json.dumps(record, separators=(",", ":")) + "\n", encoding="utf-8")
    print(record["psnr_rgb_dB"], record["psnr_y_dB"])


if __name__ == "__main__":
    main()
