"""Networks and helpers of the tests that give srprof bad input."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from srprof.cli import main

NETWORKS = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, nf=4, scale=2):
        super().__init__()
        self.body = nn.Conv2d(3, nf, 3, padding=1)

    def forward(self, x):
        return self.body(x)


class Plain(nn.Module):
    def forward(self, x):
        return x * 2


class Wide(nn.Module):
    def forward(self, x):
        return torch.cat([x] * 8, dim=1)


class Needs(Net):
    def __init__(self, nf):
        super().__init__(nf)


class Raises(Net):
    def forward(self, x):
        raise ValueError("the first line\\nand a second one")


class RaisesNothing(Net):
    def forward(self, x):
        assert x.dim() == 3


class CudaInForward(Net):
    def forward(self, x):
        return self.body(x.cuda())


class CudaInConstructor(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3).cuda()

    def forward(self, x):
        return self.body(x)


def number():
    return 3


def nothing():
    pass


def its_class():
    return Net


def bad_constructor():
    raise KeyError("nf")


constant = 5
net = Net()
"""

AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
CUDA_LINES = {  # of `NETWORKS`, counted from 1
    name: next(i for i, line in enumerate(NETWORKS.splitlines(), 1) if ".cuda()" in line and i > at)
    for name, at in (
        ("CudaInForward", NETWORKS[: NETWORKS.index("class CudaInForward")].count("\n")),
        ("CudaInConstructor", NETWORKS[: NETWORKS.index("class CudaInConstructor")].count("\n")),
    )
}


#: Commands that write a result.
COMMANDS = [("analyze", "net.py:Net", "--input", "8x8"), ("list",)]


def line_of(source: str, text: str) -> int:
    """The number of the first line of the source that has the text."""
    return next(i for i, line in enumerate(source.splitlines(), 1) if text in line)


def files_in(folder: Path) -> set[str]:
    """Everything below a folder, Python's own caches aside."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return {path for path in found if "__pycache__" not in path}


def run_main(*argv: str) -> int:
    """The exit code of a command, which argparse gives by an exception."""
    try:
        return main(list(argv))
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1


#: Runs a command that must be refused; gives its line on stderr.
Refused = Callable[..., str]


def environment() -> dict[str, str]:
    """Without unbuffered output, which hides what happens when the interpreter ends."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}


def command(*argv: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    defaults: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run(
        [sys.executable, "-m", "srprof", *argv],
        cwd=cwd,
        env=environment(),
        text=True,
        timeout=120,
        check=False,
        **(defaults | options),
    )
