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
from srprof.records import TrainingStep
from srprof.tracing.ledger import Ledger
from srprof.tracing.recorder import Recorder, call_model, recording, tensors_in
from srprof.workload import Instance

#: Adam as the FMEN paper has it: momenta and the constant of the denominator.
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
    instance: Instance,
    optimizer: torch.optim.Optimizer,
    targets: tuple[Tensor, ...],
    begins: Callable[[str], object] = lambda _phase: None,
) -> Tensor:
    """Forward, L1 loss, backward and update; gives the loss. No output outlives the loss.

    Args:
        targets: one for each tensor that the model returns; losses add up.
        begins: told "backward" and "update" when these begin.
    """
    optimizer.zero_grad(set_to_none=True)
    loss = _loss(call_model(*instance), targets)
    begins("backward")
    loss.backward()
    begins("update")
    optimizer.step()
    return loss.detach()


def _loss(result: Any, targets: tuple[Tensor, ...]) -> Tensor:
    pairs = zip(tensors_in(result), targets, strict=True)
    return reduce(add, [F.l1_loss(output, target) for output, target in pairs])


class StepRecorder(Recorder):
    """A recorder that knows of autograd's engine.

    It gives each call of backward the place of the call that it differentiates: autograd numbers
    its nodes as forward makes them, and says which of them is running.

    The engine adds gradients up in place where it holds the only reference, but never under a
    dispatch mode. Where it would have is seen in a first run, `last_references`; a second run,
    told so by `in_place`, does it.
    """

    def __init__(
        self,
        model: nn.Module,
        device: str,
        in_place: frozenset[int] = frozenset(),
        before: Ledger | None = None,
    ) -> None:
        super().__init__(model, device, before=before)
        self._in_place = in_place
        self._places: dict[int, tuple[str, str, int, str]] = {}
        self._running: list[int | None] = []  # by node, the node of autograd
        self._sums: dict[int, int | None] = {}  # by node, the storage that could have taken it

    def place(self) -> tuple[str, str, int, str]:
        running = _running()
        self._running.append(running)
        if running is not None:
            return self._places.get(running, ("", "", 0, ""))
        in_model = len(self.module_stack) > 1
        place = super().place() if in_model else ("", "", 0, "")
        self._places.setdefault(torch._C._autograd._get_sequence_nr() - 1, place)
        return place

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is _ADD and not kwargs and _running() is not None:
            self._note_sum(len(self.nodes), *args)
            if len(self.nodes) in self._in_place:
                func = _ADD_IN_PLACE
        return super().__torch_dispatch__(func, types, args, kwargs)

    def _note_sum(self, index: int, first: Tensor, second: Tensor) -> None:
        """Note a sum that may be of gradients, and whose first operand might take the result.

        A view holds its base, and with it a second reference to the storage.
        """
        one, other = (self.ledger.index_of(tensor) for tensor in (first, second))
        if one is None or self.ledger.lifetimes[one].birth < 0:
            return
        free = one != other and not first._is_view() and _dense(first)
        self._sums[index] = one if free else None

    def last_references(self) -> frozenset[int]:
        """Sums of gradients with whose end their first operand's storage was gone.

        The engine adds when a node of autograd has done what it does by itself.
        """
        sums: set[int] = set()
        last: int | None = None
        of_engine = True
        for index in reversed(range(len(self.nodes))):
            if self._running[index] != last:
                last, of_engine = self._running[index], True
            of_engine = of_engine and index in self._sums
            storage = self._sums.get(index)
            if not of_engine or storage is None:
                continue
            if self.ledger.lifetimes[storage].death == index + 1:
                sums.add(index)
        return frozenset(sums)


_ADD = torch.ops.aten.add.Tensor
_ADD_IN_PLACE = torch.ops.aten.add_.Tensor


def _running() -> int | None:
    """Number of the node of autograd that is running; None outside backward."""
    node: Any = torch._C._current_autograd_node()
    return None if node is None else node._sequence_nr()


def _dense(tensor: Tensor) -> bool:
    """Whether its elements fill a piece of memory without overlap, in whatever order."""
    expected = 1
    for stride, side in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if side != 1:
            if stride != expected:
                return False
            expected *= side
    return True


class TrainedInstance:
    """A model that has made one training step, which gave Adam its moments; each further is alike.

    Raises:
        ModelError: the model has no parameter to train, or gives nothing to compare.
    """

    def __init__(self, instance: Instance, device: str) -> None:
        self._instance = instance
        self._device = device
        self._trained = [p for p in instance.model.parameters() if p.requires_grad]
        if not self._trained:
            raise ModelError("no parameter requires a gradient, so there is nothing to train")
        self._optimizer = adam(self._trained, lr=1e-4)
        self._targets = _targets(instance)
        self._step()

    def _step(self, begins: Callable[[str], object] = lambda _phase: None) -> None:
        training_step(self._instance, self._optimizer, self._targets, begins)

    def recorder(self, last: StepRecorder | None = None) -> tuple[StepRecorder, frozenset[int]]:
        """A recorder of the next step, and the storages of the optimizer's state in it.

        `last` is that of the step before: its sums are made in place, and what the model keeps of
        that step is there.
        """
        self._optimizer.zero_grad(set_to_none=True)
        in_place = frozenset() if last is None else last.last_references()
        before = None if last is None else last.ledger
        recorder = StepRecorder(self._instance.model, self._device, in_place, before)
        state = _add_state(recorder, self._instance.model, self._optimizer)
        recorder.add_inputs(self._instance.args, self._instance.kwargs)
        for number, target in enumerate(self._targets):
            recorder.add_external(target, f"target_{number}" if number else "target", "input")
        return recorder, state

    def record(self, recorder: StepRecorder, state: frozenset[int]) -> TrainingStep:
        """Make a step under the recorder."""
        marks: dict[str, int] = {}
        gradients: set[int] = set()

        def begins(phase: str) -> None:
            marks[phase] = len(recorder.nodes)
            if phase == "update":
                grads = (p.grad for p in self._trained if p.grad is not None)
                storages = map(recorder.ledger.index_of, grads)
                gradients.update(index for index in storages if index is not None)

        with recording(recorder, grad=True):
            self._step(begins)
        return TrainingStep(marks["backward"], marks["update"], frozenset(gradients), state)


def _targets(instance: Instance) -> tuple[Tensor, ...]:
    """Something for each tensor that the model returns to be compared with."""
    result = call_model(*instance)
    targets = tuple(torch.zeros_like(t, requires_grad=False) for t in tensors_in(result))
    if not targets or not all(t.requires_grad for t in tensors_in(result)):
        raise ModelError("what the network returns does not depend on a parameter to train")
    return targets


def _add_state(
    recorder: Recorder, model: nn.Module, optimizer: torch.optim.Optimizer
) -> frozenset[int]:
    """Register the optimizer's state; gives its storages."""
    names = {id(p): name for name, p in model.named_parameters()}
    storages = set()
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                name = f"{key} of {names[id(parameter)]}"
                ref = recorder.add_external(value, name, "constant")
                storages.add(recorder.externals[ref.output].info.storage)
    return frozenset(storages)
