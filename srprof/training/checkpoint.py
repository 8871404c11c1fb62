"""Checkpoints of a run: all that it needs to go on as if it had never stopped.

The weights stand under `params`, where `srprof analyze --weights` and `srprof merge` find them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from srprof.codec import DecodeError, JsonObject
from srprof.errors import InputError
from srprof.files import opened, parse_json
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
        state, theirs = _read(path, mend)
    except InputError:
        raise
    except Exception as error:
        what = str(error) if type(error) is DecodeError else type(error).__name__
        reason = f"is no checkpoint of srprof train, or damaged ({what})"
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
        _restore_optimizer(optimizer, state.optimizer)
    except Exception as error:  # whatever torch's own code raises at a state that is none
        reason = "does not fit the network, whose code has changed since"
        raise InputError(f"{path} {reason}: {mend}") from error
    try:
        torch.set_rng_state(state.random)
        if state.random_cuda and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state.random_cuda)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"{path} is damaged (random): {mend}") from error
    return state.iteration, state.losses


def _read(path: Path, mend: str) -> tuple[State, JsonObject]:
    """The state in a file, and its identity; raises whatever torch does, or a DecodeError."""
    with opened(path, mend=mend) as file:
        found = load_tensors(file)
    for key, holds in _HOLDS.items():
        if key not in found or not holds(found[key]):
            raise DecodeError(" is missing" if key not in found else " cannot be", key)
    theirs = None
    with suppress(InputError):
        theirs = parse_json(found["identity"])
    if not isinstance(theirs, dict):
        raise DecodeError(" cannot be", "identity")
    return State(**found), theirs


#: What each of a state's fields must be.
_HOLDS: Mapping[str, Callable[[Any], bool]] = {
    "params": lambda value: isinstance(value, dict),
    "optimizer": lambda value: isinstance(value, dict),
    "iteration": lambda value: type(value) is int and value >= 0,
    "losses": lambda value: isinstance(value, list) and all(type(one) is float for one in value),
    "random": lambda value: isinstance(value, Tensor),
    "random_cuda": lambda value: (
        isinstance(value, list) and all(isinstance(one, Tensor) for one in value)
    ),
    "identity": lambda value: isinstance(value, str),
}


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load its state; a ValueError if a setting or a moment is not as this run has it."""
    ours = [_settings(group) for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for before, group in zip(ours, optimizer.param_groups, strict=True):
        if any(group.get(key, value) != value for key, value in before.items()):
            raise ValueError("another optimizer's settings")
    for parameter, moments in optimizer.state.items():
        for name, moment in moments.items():
            if moment.shape != (torch.Size() if name == "step" else parameter.shape):
                raise ValueError(f"{name} of another shape")
            if name == "step" and not moment >= 1:
                raise ValueError("a step that is none")


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    """What is set once for a run; each iteration sets its learning rate."""
    changing = ("params", "lr")
    return {key: value for key, value in group.items() if key not in changing}
