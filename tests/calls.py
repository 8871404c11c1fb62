"""A call of each command on a tiny network, and the files that the calls name."""

from __future__ import annotations

import json
from pathlib import Path

from tests.made_up_images import photograph, save
from tests.made_up_results import results

#: What they write is no table: a folder of pages and figures, texts, a script.
WITHOUT_FORMAT = {"report", "help", "completion"}

NET = """
import torch
from torch import nn


class Net(nn.Module):
    scale = 2

    def __init__(self, nf=8):
        super().__init__()
        self.head = nn.Conv2d(3, nf, 3, padding=1)
        self.tail = nn.Conv2d(2 * nf, 12, 1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x):
        y = self.head(x)
        z = y.relu()
        return self.shuffle(self.tail(torch.cat([y, z], 1)))
"""

CHECK = """
[[check]]
model = "networks/residual/net.py:Net"
input = "16x16"
peak.eager = "1 MiB"
"""

#: A call of each command on a tiny network, and a word that its result has.
CALLS = {
    "analyze": ("analyze net.py:Net --input 16", "head"),
    "analyze --train": ("analyze net.py:Net --input 16 --train", "forward"),
    "analyze --profile": ("analyze net.py:Net --input 16 --profile h100", "conv"),
    "analyze --view": ("analyze net.py:Net --input 16 --view modules --profile h100", "├─ head"),
    "advise": ("advise net.py:Net --input 16", "eager"),
    "advise --profile": ("advise net.py:Net --input 16 --profile h100", "would cost"),
    "advise --widths": ("advise net.py:Net --input 16 --profile h100 --widths nf=7..9", "best"),
    "audit": ("audit results.json --year ntire2026", "not settled"),
    "check": ("check", "net.py:Net"),
    "diff": ("diff net.py:Net net.py:Net(nf=4) --input 16", "planned"),
    "devices": ("devices", "gtx1080ti"),
    "estimate": ("estimate net.py:Net --dtype float32 --profile h100", "float32"),
    "evaluate": ("evaluate bicubic(scale=2) --lr lr --hr hr", "mean"),
    "fit": ("fit net.py:Net --budget 2MiB", "fits"),
    "lean": ("lean net.py:Net --input 16", "eager"),
    "lean --profile": ("lean net.py:Net --input 16 --profile h200", "as predicted"),
    "lint": ("lint net.py:Net --scale 2", "is worth"),
    "list": ("list", "bicubic"),
    "measure": ("measure net.py:Net --input 16 --device cpu --repeat 3 --warmup 0", "net"),
    "rank": ("rank net.py:Net fsrcnn --input 16", "fsrcnn"),
    "spectrum": ("spectrum net.py:Net --image hr/a.png --module head", "head"),
    "rank --with": ("rank fsrcnn fmen_s --with ntire2022 --ranks", "NEESR"),
    "sweep": ("sweep net.py:Net --set nf=4,8 --inputs 16 --jobs 1", "16"),
    "time": ("time net.py:Net --input 16 --device cpu --repeat 3 --warmup 0", "measured"),
    "validate": ("validate net.py:Net --inputs 16 --device cpu --repeat 3", "net.py:Net"),
}
#: Commands whose results other tests draw in every format, as a run of them takes longer.
ELSEWHERE = {"ablate", "calibrate", "merge", "train"}


def write_folder(folder: Path) -> None:
    """The files that the calls name."""
    (folder / "net.py").write_text(NET, encoding="utf-8")
    (folder / "networks/residual").mkdir(parents=True)
    (folder / "networks/residual/net.py").write_text(NET, encoding="utf-8")
    (folder / "results.json").write_text(json.dumps(results()), encoding="utf-8")
    (folder / "srprof.toml").write_text("baseline = false\n" + CHECK, encoding="utf-8")
    for name, side in (("hr", 32), ("lr", 16)):
        save(photograph(side, side), folder / name / "a.png")
