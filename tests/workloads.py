"""Networks and helpers of the tests of what can be analysed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from srprof.analysis import Analysis

IMAGE = (1, 3, 8, 8)
IMAGE_BYTES = 3 * 8 * 8 * 4

#: Parameters of a 3x3 convolution from 3 to `nf` channels, by `nf`.
PARAMETERS = {nf: 27 * nf + nf for nf in range(1, 33)}


class Net(nn.Module):
    """One convolution and a ReLU."""

    def __init__(self, nf: int = 4) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, nf, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x))


def ops(found: Analysis) -> list[str]:
    """The names of the ATen calls."""
    return [node.op for node in found.trace.nodes]


def state_of(model: nn.Module) -> dict[str, Any]:
    """All that a tool may change of a model by mistake, in comparable form."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_state_dict_hooks")
    return {
        "modules": [(name, type(module)) for name, module in model.named_modules()],
        "training": [module.training for module in model.modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "hooks": [len(vars(module)[hook]) for module in model.modules() for hook in hooks],
        "keys": list(model.state_dict()),
        "tensors": [
            (name, id(t), t.device, t.dtype, t.data_ptr(), t._version, t.requires_grad, t.tolist())
            for name, t in tensors
        ],
    }


Command = Callable[..., dict[str, Any]]


def parameters(found: dict[str, Any]) -> int:
    return int(found["complexity"]["params"])


FACTORY = "def Net(nf={nf}):\n    return Body(nf)\n"
BODY = """\
from torch import nn


class Body(nn.Module):
    def __init__(self, nf):
        super().__init__()
        self.body = nn.Conv2d(3, nf, 3, padding=1)

    def forward(self, x):
        return self.body(x)
"""


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def write_repository(root: Path, nf: int, *, package: bool = True) -> None:
    """A repository as people have it: a script at its root, and a `models` package."""
    write(
        root,
        {
            "models/blocks.py": BODY,
            "models/net.py": "from models.blocks import Body\n" + FACTORY.format(nf=nf),
            "train.py": "from models.net import Net\n",
        }
        | ({"models/__init__.py": ""} if package else {}),
    )
