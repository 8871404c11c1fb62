"""A training run before its first step: everything checked, and its memory predicted."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from srprof import spec
from srprof.call import Call
from srprof.errors import InputError, ModelError
from srprof.progress import Progress, silent
from srprof.temporary import alone_in
from srprof.timeout import limited
from srprof.training.analysis import analyze_training, training_spec
from srprof.training.config import TrainingConfig
from srprof.training.data import Dataset, load_dataset
from srprof.training.record import Score, TrainingAnalysis
from srprof.training.validation import score_bicubic
from srprof.workload import Workload, resolve


@dataclass(frozen=True)
class TrainingPlan:
    """A run that can begin: everything was checked, and its step's memory predicted."""

    config: TrainingConfig
    workload: Workload
    data: Dataset
    memory: TrainingAnalysis
    bicubic: Score


def prepare(
    config: TrainingConfig, progress: Progress = silent, memory: TrainingAnalysis | None = None
) -> TrainingPlan:
    """Check everything that can be checked before the first step, and predict its memory.

    Args:
        memory: that of the step, where it is known.

    Raises:
        InputError: the model, the images, the device or the folder cannot be.
        ModelError: the model raised, or cannot be trained.
    """
    _check_device(config.device)
    _check_folder(Path(config.output).absolute())
    if spec.parse(config.model).channels != 3:
        raise InputError(f"model {config.model} does not take RGB; train one that does")
    memory = memory or memory_of_step(config)
    scale = scale_of(memory)
    data = load_dataset(config, scale, progress)
    call = Call(training_spec(config.model), (_shape(config),))
    workload = replace(resolve(call), training=True)
    return TrainingPlan(config, workload, data, memory, score_bicubic(data.validation, scale))


def memory_of_step(config: TrainingConfig) -> TrainingAnalysis:
    """What a step of a run takes, on its device.

    Raises:
        InputError, ModelError: as `analyze_training`.
    """
    granularity = 1 if config.device == "cpu" else 512
    with limited(config.model):
        return analyze_training(config.model, _shape(config), granularity=granularity)


def _shape(config: TrainingConfig) -> tuple[int, int, int, int]:
    return config.batch, 3, config.patch, config.patch


def _check_device(device: str) -> None:
    if device == "cpu":
        return
    if not torch.cuda.is_available():
        raise InputError(f"device = {device!r}: torch sees no GPU here; take cpu")
    if torch.device(device).index not in (None, *range(torch.cuda.device_count())):
        raise InputError(f"device = {device!r}: there are {torch.cuda.device_count()} GPUs")


def _check_folder(folder: Path) -> None:
    """Refuse a run's folder that cannot be; none is made before the run begins."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise InputError(f"output {folder}: {there} is no folder; name another place")
    if not os.access(there, os.W_OK):
        raise InputError(f"output {folder}: no permission to write there; name another place")
    if there == folder:
        with alone_in_run(folder):
            pass


def alone_in_run(folder: Path) -> AbstractContextManager[None]:
    """What refuses a run's folder in which another training runs, and holds it for this one."""
    what = f"output {folder}: another training runs there"
    return alone_in(folder, f"{what}; wait for it, or name another place")


def scale_of(memory: TrainingAnalysis) -> int:
    """By how much a network enlarges one RGB image, by its step's trace; else a ModelError."""
    name = memory.trace.spec
    (image, *targets) = (e.info.shape for e in memory.trace.inputs)
    if len(targets) != 1 or len(targets[0]) != 4 or targets[0][:2] != image[:2]:
        raise ModelError(f"{name} does not give one RGB image, and that is trained here")
    height, width = targets[0][2:]
    scale = height // image[2]
    if (height, width) != (scale * image[2], scale * image[3]) or scale < 2:
        sides = f"{height}x{width} of {image[2]}x{image[3]}"
        raise ModelError(f"{name} makes {sides}, which is no enlargement by 2 or more")
    return scale
