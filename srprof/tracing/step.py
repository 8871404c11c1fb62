"""One training step: as `srprof train` makes it, and as the recorder sees it.

Both run the same function, so that what is predicted is what is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from itertools import accumulate, groupby, takewhile
from operator import add, mul
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srprof.errors import ModelError
from srprof.meta_kernels import Shortcuts
from srprof.networks import named_parameters, parameters
from srprof.records import TrainingStep
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

    torch's default on a GPU (`foreach`) takes several times the parameters' memory meanwhile.
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
        targets: one for each of the model's `trainable` outputs; losses add up.
        begins: told "backward" and "update" when these begin.
    """
    optimizer.zero_grad(set_to_none=True)
    loss = _loss(call_model(*instance), targets)
    begins("backward")
    loss.backward()
    begins("update")
    optimizer.step()
    return loss.detach()


def trainable(result: Any) -> Iterator[Tensor]:
    """What a loss takes of a result: not masks, indices and what is detached, for example."""
    return (output for output in tensors_in(result) if output.requires_grad)


def _loss(result: Any, targets: tuple[Tensor, ...]) -> Tensor:
    pairs = zip(trainable(result), targets, strict=True)
    return reduce(add, [F.l1_loss(output, target) for output, target in pairs])


class StepRecorder(Recorder):
    """A recorder that knows of autograd's engine.

    It gives each call of backward the place of the call that it differentiates: autograd numbers
    its nodes as forward makes them, and says which of them is running.

    The engine adds gradients up in place where it holds the only reference, but never under a
    dispatch mode. Where it would have is seen in the step before, `last_references` of `last`.

    Attributes:
        state: storages of the optimizer's state.
    """

    def __init__(self, model: nn.Module, device: str, last: StepRecorder | None) -> None:
        super().__init__(model, device, before=None if last is None else last.ledger)
        self._in_place = frozenset() if last is None else last.last_references()
        self.state: frozenset[int] = frozenset()
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
        gradients = all(isinstance(value, Tensor) for value in args)  # a number is none
        if func is _ADD and gradients and not kwargs and _running() is not None:
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
        for _, nodes in groupby(reversed(range(len(self.nodes))), self._running.__getitem__):
            for index in takewhile(self._sums.__contains__, nodes):
                storage = self._sums[index]
                if storage is not None and self.ledger.lifetimes[storage].death == index + 1:
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
    pairs = [pair for pair in zip(tensor.stride(), tensor.shape, strict=True) if pair[1] != 1]
    expected = accumulate((side for _, side in sorted(pairs)), mul, initial=1)
    return all(stride == step for (stride, _), step in zip(sorted(pairs), expected, strict=False))


class TrainedInstance:
    """A model that has made one training step, which gave Adam its moments; each further is alike.

    Raises:
        ModelError: the model has no parameter to train, or gives nothing to compare.
    """

    def __init__(self, instance: Instance, device: str) -> None:
        self._instance = instance
        self._device = device
        self._trained = [p for p in parameters(instance.model) if p.requires_grad]
        if not self._trained:
            raise ModelError("no parameter requires a gradient, so there is nothing to train")
        self._optimizer = adam(self._trained, lr=1e-4)
        outputs = list(trainable(call_model(*instance)))
        if not outputs:
            raise ModelError("what the network returns does not depend on a parameter to train")
        self._targets = tuple(torch.zeros_like(output, requires_grad=False) for output in outputs)
        del outputs
        with Shortcuts():  # type: ignore[no-untyped-call]  # torch's own has no types
            self._step()

    def _step(self, begins: Callable[[str], object] = lambda _phase: None) -> None:
        training_step(self._instance, self._optimizer, self._targets, begins)

    def recorder(self, last: StepRecorder | None = None) -> StepRecorder:
        """A recorder of the next step.

        `last` is that of the step before: its sums are made in place, and what the model keeps of
        that step is there.
        """
        self._optimizer.zero_grad(set_to_none=True)
        model, args, kwargs, _ = self._instance
        recorder = StepRecorder(model, self._device, last)
        names = {id(p): name for name, p in named_parameters(model)}
        state = [
            recorder.add_external(value, f"{key} of {names[id(parameter)]}", "constant").output
            for parameter, values in self._optimizer.state.items()
            for key, value in values.items()
            if isinstance(value, Tensor)
        ]
        recorder.state = frozenset(recorder.externals[i].info.storage for i in state)
        recorder.add_inputs(args, kwargs)
        for number, target in enumerate(self._targets):
            recorder.add_external(target, f"target_{number}" if number else "target", "input")
        return recorder

    def record(self, recorder: StepRecorder) -> TrainingStep:
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
        phases = marks["backward"], marks["update"]
        return TrainingStep(*phases, frozenset(gradients), recorder.state)
