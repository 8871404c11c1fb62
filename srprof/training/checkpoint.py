"""Checkpoints of a run: all that it needs to go on as if it had never stopped.

The weights stand under `params`, where `srprof analyze --weights` and `srprof merge` find them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from srprof.errors import InputError
from srprof.output import replacing
from srprof.training.config import TrainingConfig
from srprof.weights import torch_bytes

NAME = "checkpoint.pth"


#: What a run and its checkpoint must have in common, as JSON has it.
Identity = Mapping[str, object]


@dataclass(frozen=True)
class State:
    """What a checkpoint holds.

    Attributes:
        params, optimizer: their state dicts. iteration: steps that were made; with the seed it
            gives the patches and learning rates that follow.
        losses: those that are not in the log yet. random, random_cuda: of torch's generators.
        identity: JSON of the configuration and the data.
    """

    params: Mapping[str, Tensor]
    optimizer: dict[str, object]
    iteration: int
    losses: list[float]
    random: Tensor
    random_cuda: list[Tensor]
    identity: str


def save(path: Path, state: State) -> None:
    """Write a checkpoint; the file is this one or the one before, whatever happens.

    Raises:
        InputError: the system refuses; the checkpoint before is still there.
    """
    data = torch_bytes(vars(state))
    with replacing(path, "checkpoint") as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def state_of(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    iteration: int,
    losses: list[float],
    identity: Identity,
) -> State:
    """The state of a run, and of torch's generators now."""
    on_gpus = torch.cuda.is_initialized()
    return State(
        params=model.state_dict(),
        optimizer=optimizer.state_dict(),
        iteration=iteration,
        losses=losses,
        random=torch.get_rng_state(),
        random_cuda=torch.cuda.get_rng_state_all() if on_gpus else [],
        identity=json.dumps(identity),
    )


def restore(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, ours: Identity
) -> tuple[int, list[float]]:
    """Load a checkpoint into the run; gives its iteration and the losses not in the log yet.

    Raises:
        InputError: it cannot be read, or belongs to another configuration; what differs.
    """
    try:
        state = State(**torch.load(path, map_location="cpu", weights_only=True))
        theirs = json.loads(state.identity)
    except Exception as error:
        raise InputError(
            f"{path} is no checkpoint of srprof train, or damaged ({type(error).__name__}): name "
            "another output, or delete it to begin anew"
        ) from error
    different = [
        "its images were others"
        if key == "images"
        else f"{key} was {theirs.get(key)!r} and is {ours.get(key)!r}"
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key)
    ]
    if different:
        raise InputError(
            f"{path} is of another configuration: {'; '.join(different)}; name another output, or "
            "delete it to begin anew"
        )
    try:
        model.load_state_dict(state.params)
        optimizer.load_state_dict(state.optimizer)
    except (RuntimeError, ValueError, InputError) as error:
        raise InputError(
            f"{path} does not fit the network, whose code has changed since: name another output, "
            "or delete it to begin anew"
        ) from error
    torch.set_rng_state(state.random)
    if state.random_cuda and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state.random_cuda)
    return state.iteration, state.losses


def identity_of(config: TrainingConfig, fingerprint: str) -> Identity:
    """Of a configuration and its images."""
    return {**config.identity(), "images": fingerprint}
