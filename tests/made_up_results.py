"""Results files of the challenge's form, and a repository whose script would have made one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

IMAGES = 40
SCALES = {"00_base": 4.0, "01_wide": 9.0, "02_twin": 9.02, "18_warm": 3.0}


def sizes(images: int = IMAGES, seed: int = 7) -> list[float]:
    """Of images, in those of the mean one."""
    draw = random.Random(seed)
    return [draw.choice((0.5, 1.0, 1.0, 1.5, 2.5)) for _ in range(images)]


def times(scale: float, of: Sequence[float], seed: int, noise: float = 0.02) -> list[float]:
    """Milliseconds of a network that takes `scale` for the mean image, and 1 for none."""
    draw = random.Random(seed)
    return [1 + scale * size * (1 + noise * draw.random()) for size in of]


def row(valid: list[float], test: list[float], **more: Any) -> dict[str, Any]:
    """A row as the script writes it."""
    return {
        "valid_runtime": valid,
        "valid_memory": 2.5,
        "valid_ave_runtime": sum(valid) / len(valid),
        "valid_ave_psnr": 26.95,
        "test_runtime": test,
        "test_memory": 4.0,
        "test_ave_runtime": sum(test) / len(test),
        "test_ave_psnr": 27.0,
        "activations": 0.5,
        "num_conv": 2,
        "flops": 0.0125,
        "num_parameters": 0.0005,
        **more,
    }


def results() -> dict[str, Any]:
    """Four rows: two are as fast, the first images of three are cold, the fourth ran before."""
    made = {}
    for seed, (name, scale) in enumerate(SCALES.items()):
        valid = times(scale, sizes(), 2 * seed)
        if name != "18_warm":
            valid[0] += 100
        made[name] = row(valid, times(scale, sizes(seed=8), 2 * seed + 1))
    made["18_warm"] |= {"valid_memory": 9.0, "test_memory": 9.0}
    return made


NETWORKS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, warm=False):
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.tail = nn.Conv2d(8, 12, 3, padding=1)
        if warm:
            self.cuda()
            self(torch.randn(1, 3, 600, 600).cuda())

    def forward(self, x):
        return nn.functional.pixel_shuffle(self.tail(self.head(x).relu()), 2)
"""

SCRIPT = '''
import os

import torch

import a_package_that_nobody_has
from utils import quietly as _quietly

RANGE = 1.0


def select_model(args, device):
    """By number."""
    from models.net import Net

    path = os.path.join("model_zoo", "net.pth")
    if args.model_id == 0:
        model = Net()
        model.load_state_dict(torch.load(path)["params"], strict=True)
    elif args.model_id == 1:
        model = Net(warm=True)
    elif args.model_id in (2, 3):
        model = Net()
    elif args.model_id == 7:
        os.abort()
    elif args.model_id == 18:
        model = Net().to(device)
        image = torch.randn(1, 3, 600, 600).to(device)
        for _ in range(4):
            out = model(image)
    else:
        raise NotImplementedError(f"Model {args.model_id} is not implemented.")
    tile = 64 if args.model_id == 2 else None
    return _quietly(model.to(device)), "name", RANGE, tile


def forward(image, model, tile=None, overlap=0):
    n, c, h, w = image.shape
    out = torch.zeros(n, c, 2 * h, 2 * w).type_as(image)
    for i in range(0, h, tile):
        for j in range(0, w, tile):
            part = model(image[..., i : i + tile, j : j + tile])
            out[..., 2 * i : 2 * (i + tile), 2 * j : 2 * (j + tile)] = part
    return out


def forward_padded(image, model, tile=None):
    height, width = (-side % 8 for side in image.shape[2:])
    return model(torch.nn.functional.pad(image, (0, width, 0, height)))


def run(args, image, model, tile):
    print(image.shape)
    if args.model_id == 3:
        image = forward_padded(image, model, tile)
    else:
        image = forward(image, model, tile)
    return image


def main(args):
    select_model(args, None)
'''


def write_repository(folder: Path) -> Path:
    """A repository of the challenge's form; its networks by number, one of them crashes."""
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "__init__.py").touch()
    (folder / "models" / "net.py").write_text(NETWORKS, encoding="utf-8")
    (folder / "utils.py").write_text(
        "def quietly(model):\n    for p in model.parameters():\n"
        "        p.requires_grad = False\n    return model\n",
        encoding="utf-8",
    )
    (folder / "test_demo.py").write_text(SCRIPT, encoding="utf-8")
    return folder
