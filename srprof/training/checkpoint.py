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
from srprof.weights import load_tensors, torch_bytes

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


def save(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    iteration: int,
    losses: list[float],
    identity: Identity,
) -> None:
    """Write a run's state, and torch's generators as they are now.

    The file is this checkpoint or the one before, also if the system refuses.
    """
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    states, random = (model.state_dict(), optimizer.state_dict()), torch.get_rng_state()
    state = State(*states, iteration, losses, random, on_gpus, json.dumps(identity))
    data = torch_bytes(vars(state))
    with replacing(path, "checkpoint") as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def restore(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, ours: Identity
) -> tuple[int, list[float]]:
    """Load a checkpoint into the run; gives its iteration and the losses not in the log yet.

    Raises:
        InputError: it cannot be read, or belongs to another configuration; what differs.
    """
    mend = "name another output, or delete it to begin anew"
    try:
        state = State(**load_tensors(path))
        theirs = json.loads(state.identity)
    except Exception as error:
        reason = f"is no checkpoint of srprof train, or damaged ({type(error).__name__})"
        raise InputError(f"{path} {reason}: {mend}") from error
    different = [
        "its images were others"
        if key == "images"
        else f"{key} was {theirs.get(key)!r} and is {ours.get(key)!r}"
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key)
    ]
    if different:
        raise InputError(f"{path} is of another configuration: {'; '.join(different)}; {mend}")
    try:
        model.load_state_dict(state.params)
        optimizer.load_state_dict(state.optimizer)
    except (RuntimeError, ValueError, InputError) as error:
        reason = "does not fit the network, whose code has changed since"
        raise InputError(f"{path} {reason}: {mend}") from error
    torch.set_rng_state(state.random)
    if state.random_cuda and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state.random_cuda)
    return state.iteration, state.losses
