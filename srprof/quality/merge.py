"""From a checkpoint of the training form to one of the inference form, with the proof."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from srprof import registry, spec
from srprof.errors import InputError
from srprof.loading import load_factory, recognised
from srprof.shown import Shown
from srprof.weights import load_weights, read_state_dict

#: The proof's input: an odd size, small enough for every network of the zoo on a laptop.
PROOF_SHAPE = (1, 3, 48, 37)


@dataclass(frozen=True, repr=False)
class Merge(Shown):
    """A merged network and how far its outputs are from those of the training form.

    Attributes:
        model: the inference form, in evaluation mode.
        name: of the network's class; before, after: numbers of parameters and buffers.
        difference64, difference32: largest difference of outputs on a random image, in float64
            and in float32, as a fraction of the largest output.
    """

    view = "merge"

    model: nn.Module
    name: str
    before: int
    after: int
    difference64: float
    difference32: float


def merge_checkpoint(path: str, text: str = "") -> Merge:
    """Merge a checkpoint.

    `text` is the SPEC of the network in training form; without it, a zoo must recognise the keys.
    An InputError if it cannot be read, is no zoo's, does not fit, or is merged already.
    """
    network, model = _training_form(path, text)
    merge: Callable[[nn.Module], nn.Module] = registry.load(network.merge)
    merged = merge(model)
    before, after = _numbers(model), _numbers(merged)
    if before == after:
        raise InputError(f"{path} is merged already: it is {type(model).__name__}'s inference form")
    return Merge(
        model=merged,
        name=type(merged).__name__,
        before=before,
        after=after,
        difference64=_difference(copy.deepcopy(model).double(), merge(model.double())),
        difference32=_difference(model.float(), copy.deepcopy(merged).float()),
    )


def _training_form(path: str, text: str) -> tuple[registry.Network, nn.Module]:
    if not text:
        known = recognised(read_state_dict(path), path)
        if known is None:
            mend = "name the network, for example --model \"fmen_baseline(form='train')\""
            raise InputError(f"{path}: no zoo recognises the keys; {mend}")
        return known
    parsed = spec.parse(text)
    if parsed.network is None or not parsed.network.merge:
        there = ", ".join(n.name for n in registry.networks() if n.merge)
        what = f"{text!r} has no training form that srprof can merge"
        raise InputError(f"{what}; these have: {there}")
    return parsed.network, load_weights(load_factory(parsed)(), path)


def _numbers(model: nn.Module) -> int:
    return sum(t.numel() for t in [*model.parameters(), *model.buffers()])


def _difference(first: nn.Module, second: nn.Module) -> float:
    dtype = next(first.parameters()).dtype
    image = torch.rand(PROOF_SHAPE, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.no_grad():
        one, other = first.eval()(image), second.eval()(image)
    return float((one - other).abs().max() / one.abs().max())
