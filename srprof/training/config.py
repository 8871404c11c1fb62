"""What a training run does: its TOML file, checked. No torch.

    model = "fmen_s(scale=2)"
    data = ["DIV2K/DIV2K_train_HR"]
    output = "runs/fmen_s_x2"

All else is the recipe of the FMEN paper (Du et al., CVPRW 2022) unless it is said
otherwise. Paths are from the current folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any

from srprof.errors import InputError
from srprof.toml import check_keys, read_toml
from srprof.words import hint

#: The name of the images that scikit-image ships, where a folder may stand.
BUNDLED = "skimage"

INITS = ("he", "network")
LOGS = ("csv", "tensorboard")


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """A training run.

    Attributes:
        model: SPEC; a network of the zoo that has a training form is taken in it.
        output: folder of the run: checkpoint, log, merged weights. A run goes on from there.
        data: folders of HR images, or `BUNDLED`.
        validation: the same, of images to validate on; empty holds a crop of each image out.
        held_out: HR side of that crop. No patch overlaps it, nor the columns above and below it.
        crop: take this many HR pixels from the middle of each side only; 0 is the whole image.
        cache: folder where pixels are kept, and read from as needed; "" is main memory.
        iterations, batch: how many steps, of how many patches; patch: LR side of a patch.
        lr: of Adam, halved every `halve_every` iterations; betas, eps: Adam's others.
        init: "he" draws the convolutions' weights by He et al. (ICCV 2015), times `init_gain`,
            and sets biases to 0; "network" leaves what the constructor made.
        value_range: of pixels as the network takes and gives them, 1 or 255.
        seed: of weights and patches.
        device: "cpu", "cuda" or "cuda:N".
        log: "csv", or "tensorboard" beside it.
        log_every, validate_every, checkpoint_every: in iterations.
    """

    model: str
    output: str
    data: tuple[str, ...]
    validation: tuple[str, ...] = ()
    held_out: int = 96
    crop: int = 0
    cache: str = ""
    iterations: int = 3_000_000
    batch: int = 64
    patch: int = 64
    lr: float = 5e-4
    halve_every: int = 600_000
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    init: str = "he"
    init_gain: float = 0.5
    value_range: float = 1.0
    seed: int = 0
    device: str = "cpu"
    log: str = "csv"
    log_every: int = 100
    validate_every: int = 5000
    checkpoint_every: int = 5000

    def lr_at(self, iteration: int) -> float:
        """Learning rate of an iteration, from 0 on."""
        return float(self.lr * 0.5 ** (iteration // self.halve_every))

    def identity(self) -> dict[str, Any]:
        """What a run cannot change on its way; the rest may differ when it goes on."""
        return {key: value for key, value in asdict(self).items() if key not in _FREE}


#: What may change between the parts of a run.
_FREE = frozenset(
    "output cache iterations device log log_every validate_every checkpoint_every".split()
)

_Check = tuple[Callable[[Any], bool], str]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)


def _whole(least: int) -> _Check:
    return (
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least,
        f"a whole number of at least {least}",
    )


def _positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _one_of(known: tuple[str, ...]) -> _Check:
    return lambda value: value in known, f"one of {', '.join(known)}"


def _is_device(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    kind, colon, number = value.partition(":")
    return value == "cpu" or (kind == "cuda" and (number.isdecimal() if colon else True))


_FOLDERS = (
    lambda value: isinstance(value, list) and all(map(_is_text, value)),
    f'a folder of HR images, a list of such, or "{BUNDLED}"',
)
_CHECKS: dict[str, _Check] = {
    "model": (_is_text, 'a SPEC such as "fmen_s(scale=2)"'),
    "output": (_is_text, "a folder for the run"),
    "data": (lambda value: bool(value) and _FOLDERS[0](value), _FOLDERS[1]),
    "validation": _FOLDERS,
    "held_out": _whole(0),
    "crop": _whole(0),
    "cache": (lambda value: isinstance(value, str), "a folder"),
    **dict.fromkeys(("iterations", "batch", "patch", "halve_every"), _whole(1)),
    **dict.fromkeys(("log_every", "validate_every", "checkpoint_every"), _whole(1)),
    "lr": (_positive, "a positive number"),
    "betas": (
        lambda value: (
            isinstance(value, list)
            and len(value) == 2
            and all(_is_number(beta) and 0 <= beta < 1 for beta in value)
        ),
        "two numbers of at least 0 and below 1, [0.9, 0.999]",
    ),
    "eps": (_positive, "a positive number"),
    "init": _one_of(INITS),
    "init_gain": (_positive, "a positive number"),
    "value_range": (lambda value: _is_number(value) and value in (1, 255), "1 or 255"),
    "seed": _whole(0),
    "device": (_is_device, "cpu, cuda or cuda:N"),
    "log": _one_of(LOGS),
}


def read_training(path: str) -> TrainingConfig:
    """Read and check a run's TOML file.

    Raises:
        InputError: no such file, no TOML, or a key or value that cannot be; says which.
    """
    return parse_training(read_toml(Path(path), "training configuration"), f"training {path}")


def parse_training(table: Mapping[str, Any], where: str) -> TrainingConfig:
    """Check a run.

    Args:
        table: as TOML gives it. where: names it in messages.

    Raises:
        InputError: a key is unknown or missing, or a value cannot be; says which.
    """
    check_keys(table, _CHECKS, where)
    for key in ("model", "data", "output"):
        if key not in table:
            raise InputError(f"{where}: {key} is missing; give {_CHECKS[key][1]}")
    read: dict[str, Any] = {}
    for key, value in table.items():
        listed = [value] if key in ("data", "validation") and isinstance(value, str) else value
        holds, wanted = _CHECKS[key]
        if not holds(listed):
            raise InputError(f"{where}: {key} = {value!r} cannot be: {_wanted(key, value, wanted)}")
        read[key] = tuple(listed) if isinstance(listed, list) else listed
    for field in fields(TrainingConfig):
        if field.type == "float" and field.name in read:
            read[field.name] = float(read[field.name])
    return TrainingConfig(**read)


def _wanted(key: str, value: Any, wanted: str) -> str:
    known = {"init": INITS, "log": LOGS}.get(key)
    if known and isinstance(value, str):
        return hint(value, known)
    return f"it must be {wanted}"
