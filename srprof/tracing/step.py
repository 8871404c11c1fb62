"""One training step: as `srprof train` makes it, and as the recorder sees it.

Both run the same function, so that what is predicted is what is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from operator import add
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srprof.errors import ModelError
from srprof.tracing.ledger import Ledger
from srprof.tracing.recorder import Recorder, call_model, recording, tensors_in
from srprof.tracing.records import Step
from srprof.workload import Instance

#: Adam as the FMEN paper has it (Section 4.1): momenta and the constant of the denominator.
BETAS, EPSILON = (0.9, 0.999), 1e-8


def adam(
    parameters: Iterable[nn.Parameter],
    lr: float,
    betas: tuple[float, float] = BETAS,
    eps: float = EPSILON,
) -> torch.optim.Adam:
    """Adam that updates one parameter after the other, on every device.

    torch's default on a GPU (`foreach`) updates all in each call, and takes several times the
    parameters' memory meanwhile; for networks of this size it is not worth it.
    """
    return torch.optim.Adam(parameters, lr=lr, betas=betas, eps=eps, foreach=False)


def training_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    targets: tuple[Tensor, ...],
    begins: Callable[[str], object] = lambda _phase: None,
) -> Tensor:
    """Forward, L1 loss, backward and update; gives the loss. No output outlives the loss.

    Args:
        targets: one for each tensor that the model returns; losses add up.
        begins: told "backward" and "update" when these begin.
    """
    optimizer.zero_grad(set_to_none=True)
    loss = _loss(call_model(model, args, kwargs), targets)
    begins("backward")
    loss.backward()  # type: ignore[no-untyped-call]
    begins("update")
    optimizer.step()
    return loss.detach()


def _loss(result: Any, targets: tuple[Tensor, ...]) -> Tensor:
    pairs = zip(tensors_in(result), targets, strict=True)
    return reduce(add, [F.l1_loss(output, target) for output, target in pairs])


class StepRecorder(Recorder):  # type: ignore[no-untyped-call]  # torch's own metaclass hook
    """A recorder that gives each call of backward the place of the call that it differentiates.

    autograd numbers its nodes as forward makes them, and says which of them is running.
    """

    def __init__(self, model: nn.Module, device: str, before: Ledger | None = None) -> None:
        super().__init__(model, device, before=before)
        self._places: dict[int, tuple[str, str, int, str]] = {}

    def place(self) -> tuple[str, str, int, str]:
        running: Any = torch._C._current_autograd_node()  # None outside backward
        if running is not None:
            return self._places.get(running._sequence_nr(), ("", "", 0, ""))
        in_model = len(self.module_stack) > 1
        found = super().place() if in_model else ("", "", 0, "")
        number = torch._C._autograd._get_sequence_nr() - 1
        self._places.setdefault(number, found)
        return found


def record_step(instance: Instance, device: str) -> tuple[StepRecorder, Callable[[], Step]]:
    """Prepare the record of a model's second training step, from which on each is alike.

    The first makes Adam's moments. Gives the recorder, and what makes the step under it.

    Raises:
        ModelError: the model has no parameter to train, or gives nothing to compare.
    """
    model, args, kwargs = instance
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ModelError("no parameter requires a gradient, so there is nothing to train")
    optimizer = adam(trained, lr=1e-4)
    targets = _targets(model, args, kwargs)
    training_step(model, optimizer, args, kwargs, targets)
    optimizer.zero_grad(set_to_none=True)
    recorder = StepRecorder(model, device)
    state = _add_state(recorder, model, optimizer)
    recorder.add_inputs(args, kwargs)
    for number, target in enumerate(targets):
        recorder.add_external(target, f"target_{number}" if number else "target", "input")

    def run() -> Step:
        marks: dict[str, int] = {}
        gradients: set[int] = set()

        def begins(phase: str) -> None:
            marks[phase] = len(recorder.nodes)
            if phase == "update":
                found = (recorder.ledger.index_of(p.grad) for p in trained if p.grad is not None)
                gradients.update(index for index in found if index is not None)

        with recording(recorder, grad=True):
            training_step(model, optimizer, args, kwargs, targets, begins)
        return Step(marks["backward"], marks["update"], frozenset(gradients), state)

    return recorder, run


def _targets(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, ...]:
    """Something for each tensor that the model returns to be compared with."""
    result = call_model(model, args, kwargs)
    targets = tuple(torch.zeros_like(t, requires_grad=False) for t in tensors_in(result))
    if not targets or not all(t.requires_grad for t in tensors_in(result)):
        raise ModelError("what the network returns does not depend on a parameter to train")
    return targets


def _add_state(
    recorder: Recorder, model: nn.Module, optimizer: torch.optim.Optimizer
) -> frozenset[int]:
    """Register the optimizer's state; gives its storages."""
    names = {id(p): name for name, p in model.named_parameters()}
    found = set()
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                name = f"{key} of {names[id(parameter)]}"
                found.add(recorder.add_external(value, name, "constant").output)
    storages = {recorder.externals[i].info.storage for i in found}
    return frozenset(storages)
