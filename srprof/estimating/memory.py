"""`srprof.estimate_memory`: what one call or one training step will take, in PyTorch's RFC's words.

RFC 108 of 2026 (pytorch/rfcs, "torch.cuda.estimate_memory") asks for the peak of a model for a
sample input before it is run, for what it is made of, and whether it fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from srprof.analysis import analyze
from srprof.cost.gpus import find_gpu
from srprof.cost.profiles import Profile
from srprof.errors import InputError
from srprof.quantities import parse_budget
from srprof.training.analysis import analyze_training
from srprof.words import MIB, mib_size

#: Optimizers by what they keep of each parameter: Adam's two moments are what is traced.
_TRACED = ("Adam", "AdamW")


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes at the peak, and what they are made of.

    Attributes:
        total: the prediction of `torch.cuda.max_memory_allocated()`; of a training step the bytes
            that it references, without what libraries take.
        params: parameters and buffers. optimizer, gradients: of a training step, else 0.
        libraries: what cuBLAS keeps, and scratch as far as it is known.
        activations: all else: inputs, results and what is between.
        reserved: the prediction of `torch.cuda.max_memory_reserved()`; 0 of a training step, of
            which it is not predicted.
        notes: what a reader of the figures must know, one line each.
    """

    total: int
    params: int
    activations: int
    optimizer: int = 0
    gradients: int = 0
    libraries: int = 0
    reserved: int = 0
    notes: tuple[str, ...] = ()

    @property
    def total_mb(self) -> float:
        """MiB of 2^20 bytes, as all that follow."""
        return self.total / MIB

    @property
    def params_mb(self) -> float:
        """Of parameters and buffers."""
        return self.params / MIB

    @property
    def optimizer_mb(self) -> float:
        """Of the optimizer's state."""
        return self.optimizer / MIB

    @property
    def activations_mb(self) -> float:
        """Of inputs, results and what is between."""
        return self.activations / MIB

    def fits(self, device: int | str) -> bool:
        """Whether it is within what a device has.

        Args:
            device: a GPU by its name, "RTX 3060", as `srprof fit --gpu`; a size, "8GiB"; or an
                index of CUDA's, whose memory that is free now is asked for.

        Raises:
            InputError: there is no such GPU, or torch finds none.
        """
        return max(self.total, self.reserved) <= _available(device)

    def __str__(self) -> str:
        names = ("params", "optimizer", "gradients", "activations", "libraries")
        parts: Mapping[str, int] = {name: getattr(self, name) for name in names}
        made_of = ", ".join(f"{name} {mib_size(size)}" for name, size in parts.items() if size)
        return f"{mib_size(self.total)}: {made_of}"


def estimate_memory(
    model: Any,
    *inputs: Any,
    optimizer: Any = None,
    dtype: str | None = None,
    workspace: str | None = None,
    profile: str | Profile | None = None,
) -> MemoryEstimate:
    """The peak memory of a model for inputs of these shapes, without running or allocating it.

        >>> srprof.estimate_memory(model, (1, 3, 256, 256)).total_mb
        >>> srprof.estimate_memory(model, (8, 3, 64, 64), optimizer="Adam").fits("RTX 3060")

    Args:
        model, inputs, dtype: as for `srprof.trace`: a shape, or a tensor as an example, for each
            argument of the call.
        optimizer: of a training step, which is then meant in the call's place: "Adam", or a class
            or an instance of `torch.optim`. The loss is L1.
        workspace, profile: as for `srprof.analyze`; not of a training step.

    Raises:
        InputError: an argument is wrong; an optimizer of which no step is traced.
        ModelError: the model raised.
    """
    if optimizer is None:
        found = analyze(model, *inputs, dtype=dtype, workspace=workspace, profile=profile)
        peaks, libraries = found.peaks, sum(found.cold.libraries.values())
        total, params = peaks["allocated"].nbytes, found.memory.net
        return MemoryEstimate(
            total,
            params,
            total - params - libraries,
            libraries=libraries,
            reserved=peaks["reserved"].nbytes,
            notes=found.trace.notes,
        )
    name = _name(optimizer)
    if name not in _TRACED:
        raise InputError(f"a step of {name} is not traced: {' and '.join(_TRACED)} are")
    if workspace is not None or profile is not None:
        raise InputError("of a training step no scratch is known: leave workspace and profile out")
    step = analyze_training(model, *inputs, dtype=dtype)
    parts = dict(step.at_peak)
    net, state, gradients = (parts.pop(kind) for kind in ("net", "state", "gradients"))
    return MemoryEstimate(
        step.peak, net, sum(parts.values()), state, gradients, notes=step.trace.notes
    )


def _name(optimizer: Any) -> str:
    """An optimizer's, by its name, its class or itself."""
    if isinstance(optimizer, str):
        return next((name for name in _TRACED if name.lower() == optimizer.lower()), optimizer)
    kind = optimizer if isinstance(optimizer, type) else type(optimizer)
    return kind.__name__


def _available(device: int | str) -> int:
    """Bytes that a program gets on a device."""
    if isinstance(device, str):
        try:
            return parse_budget(device)
        except InputError:
            return find_gpu(device).usable
    import torch

    if not torch.cuda.is_available():
        raise InputError(f"device {device}: torch finds no CUDA here; name a GPU, 'RTX 3060'")
    free: int = torch.cuda.mem_get_info(device)[0]
    return free
