"""Checkpoints of a run: all that it needs to go on as if it had never stopped.

The weights stand under `params`, where `srprof analyze --weights` and `srprof merge` find them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from srprof.errors import InputError
from srprof.output import replacing
from srprof.training.config import TrainingConfig
from srprof.weights import torch_bytes

NAME = "checkpoint.pth"


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; the file is this one or the one before, whatever happens.

    Raises:
        InputError: the system refuses; the checkpoint before is still there.
    """
    data = torch_bytes(state)
    with replacing(path, "checkpoint") as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def state_of(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    iteration: int,
    losses: list[float],
    identity: dict[str, Any],
) -> dict[str, Any]:
    """What a checkpoint holds.

    Args:
        iteration: steps that were made; with the seed it gives the patches and learning rates
            that follow.
        losses: those that are not in the log yet.
        identity: of the configuration and the data.
    """
    return {
        "params": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "iteration": iteration,
        "losses": losses,
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "identity": json.dumps(identity),
    }


def restore(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, identity: dict[str, Any]
) -> tuple[int, list[float]]:
    """Load a checkpoint into the run; gives its iteration and the losses not in the log yet.

    Raises:
        InputError: it cannot be read, or belongs to another configuration; what differs.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        theirs = json.loads(state["identity"])
    except Exception as error:
        raise InputError(
            f"{path} is no checkpoint of srprof train, or damaged ({type(error).__name__}): name "
            "another output, or delete it to begin anew"
        ) from error
    ours = json.loads(json.dumps(identity))  # tuples as lists
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
        model.load_state_dict(state["params"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError, InputError) as error:
        raise InputError(
            f"{path} does not fit the network, whose code has changed since: name another output, "
            "or delete it to begin anew"
        ) from error
    torch.set_rng_state(state["random"])
    if state["random_cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["random_cuda"])
    return int(state["iteration"]), list(state["losses"])


def identity_of(config: TrainingConfig, fingerprint: str) -> dict[str, Any]:
    """What a run and its checkpoint must have in common."""
    return {**config.identity(), "images": fingerprint}
