"""Image files for tests: crops of what scikit-image ships, and PNGs that no library here writes."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def photograph(height: int = 48, width: int = 52, top: int = 60, left: int = 180) -> NDArray:
    """A crop of NASA's portrait of Eileen Collins, which is in scikit-image's package."""
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[top : top + height, left : left + width])


def save(pixels: NDArray, path: Path) -> Path:
    """Write an 8-bit image in the format of its ending."""
    from PIL import Image

    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(pixels).save(path)
    return path


def png_of_16_bits(samples: NDArray) -> bytes:
    """A PNG of 16-bit samples (H, W) or (H, W, 2 to 4), its rows by the five filters in turn."""
    height, width = samples.shape[:2]
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    step = 2 * channels
    rows = np.frombuffer(samples.astype(">u2").tobytes(), np.uint8).reshape(height, width * step)
    above = np.zeros(width * step, int)
    body = b""
    for i, row in enumerate(rows.astype(int)):
        kind = i % 5
        left, corner = (np.concatenate([np.zeros(step, int), r[:-step]]) for r in (row, above))
        guesses = {0: 0 * row, 1: left, 2: above, 3: (left + above) // 2}
        guess = guesses[kind] if kind < 4 else paeth(left, above, corner)
        body += bytes([kind]) + ((row - guess) % 256).astype(np.uint8).tobytes()
        above = row
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(body)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in chunks)


def paeth(left: NDArray, above: NDArray, corner: NDArray) -> NDArray:
    """The PNG specification's predictor."""
    distances = [abs(above - corner), abs(left - corner), abs(left + above - 2 * corner)]
    nearest = np.argmin(distances, axis=0)  # the first of equals, in the specification's order
    return np.choose(nearest, [left, above, corner])


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
