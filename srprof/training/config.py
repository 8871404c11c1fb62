"""What a training run does: its TOML file, checked. No torch.

    model = "fmen_s(scale=2)"
    data = ["DIV2K/DIV2K_train_HR"]
    output = "runs/fmen_s_x2"

All else is the recipe of the FMEN paper (Du et al., CVPRW 2022) unless it is said
otherwise. Paths are from the current folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from srprof.codec import encode
from srprof.files import load_table
from srprof.rules import Count, Filled, Whole, listed, positive, rule, short
from srprof.spec import refuse_unknown

#: The name of the images that scikit-image ships, where a folder may stand.
BUNDLED = "skimage"

_FOLDERS = f'a folder of HR images, a list of such, or "{BUNDLED}"'
_Folders = Annotated[tuple[Filled, ...], short(listed), rule(_FOLDERS)]
_BETAS = "two numbers of at least 0 and below 1, such as [0.9, 0.999]"
_Beta = Annotated[float, rule("a number of at least 0 and below 1", lambda beta: 0 <= beta < 1)]
_DEVICE = re.compile(r"cpu|cuda(:\d+)?")


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
        seed: of weights and patches. device: "cpu", "cuda" or "cuda:N".
        log: "csv", or "tensorboard" beside it.
        log_every, validate_every, checkpoint_every: in iterations.
    """

    model: Annotated[Filled, rule('a SPEC such as "fmen_s(scale=2)"')]
    output: Annotated[Filled, rule("a folder for the run")]
    data: Annotated[_Folders, rule(_FOLDERS, bool)]
    validation: _Folders = ()
    held_out: Whole = 96
    crop: Whole = 0
    cache: Annotated[str, rule("a folder", lambda name: "\0" not in name)] = ""
    iterations: Count = 3_000_000
    batch: Count = 64
    patch: Count = 64
    lr: Annotated[float, positive()] = 5e-4
    halve_every: Count = 600_000
    betas: Annotated[tuple[_Beta, _Beta], rule(_BETAS)] = (0.9, 0.999)
    eps: Annotated[float, positive()] = 1e-8
    init: Literal["he", "network"] = "he"
    init_gain: Annotated[float, positive()] = 0.5
    value_range: Annotated[float, rule("1 or 255", lambda value: value in (1, 255))] = 1.0
    seed: Whole = 0
    device: Annotated[str, rule("cpu, cuda or cuda:N", _DEVICE.fullmatch)] = "cpu"
    log: Literal["csv", "tensorboard"] = "csv"
    log_every: Count = 100
    validate_every: Count = 5000
    checkpoint_every: Count = 5000

    def lr_at(self, iteration: int) -> float:
        """Learning rate of an iteration, from 0 on."""
        return float(self.lr * 0.5 ** (iteration // self.halve_every))

    def identity(self) -> dict[str, object]:
        """What a run cannot change on its way, as JSON has it; the rest may differ later."""
        return {key: value for key, value in encode(self).items() if key not in _FREE}


#: What may change between the parts of a run.
_FREE = "output cache iterations device log log_every validate_every checkpoint_every".split()


def read_training(path: str) -> TrainingConfig:
    """A run's TOML file, checked; an InputError says which key or value cannot be."""
    source = f"training configuration {path}"
    config = load_table(TrainingConfig, path, source)
    refuse_unknown(config.model, f"{source}: model")
    return config
