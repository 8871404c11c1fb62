"""Makes the files that some pages need: images, and weights of the networks named there.

    python make.py

All of it is made up: the images are patterns, the weights random. Needs 'srprof[quality]'.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from net import Net
from PIL import Image

from srprof import models

SIDE = 96


def pattern(seed: int, side: int = SIDE) -> Image.Image:
    """An image of a few waves and edges, as smooth and as sharp as photographs are."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    planes = []
    for _ in range(3):
        plane = np.full((side, side), 0.5)
        for _ in range(5):
            fy, fx, phase = rng.uniform(-6, 6), rng.uniform(-6, 6), rng.uniform(0, 2 * np.pi)
            plane += 0.09 * np.sin(2 * np.pi * (fy * y + fx * x) + phase)
        plane += 0.25 * ((x - rng.uniform()) * rng.normal() > (y - rng.uniform()) * rng.normal())
        planes.append(plane)
    pixels = 255 * np.clip(np.stack(planes, -1), 0, 1)
    return Image.fromarray(pixels.astype(np.uint8))


def main() -> None:
    """Write them into the current folder."""
    Path("images").mkdir(exist_ok=True)
    for seed in range(2):
        pattern(seed).save(f"images/{seed}.png")
    pattern(2, 48).save("lr.png")
    torch.manual_seed(0)
    torch.save(Net().state_dict(), "net.pth")
    small = {"n_feats": 8, "mid_feats": 6, "up_blocks": (1, 1)}
    torch.save(models.fmen(2, **small, form="train").state_dict(), "trained.pth")


if __name__ == "__main__":
    main()
