"""A network that computes what it did in less memory."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import Signature, signature
from typing import Any

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

from srprof.leaning.capture import RefusedError, sizes_forgotten, stand_in
from srprof.leaning.forming import Form
from srprof.leaning.levels import LEVELS, Backend, check_level
from srprof.leaning.plan import Plan, capture_call, flatten, kinds, planner
from srprof.networks import mark, named_modules, named_parameters, parameters, weights
from srprof.running import aside, reserved
from srprof.tracing.isolation import collector_resting, kept

#: Plans that a module keeps; sizes for which the code takes different ways need one each.
PLANS = 32


class Lean(nn.Module):
    """A network that computes what it did in less memory, under the same names.

    It has the network's parameters, buffers and modules, and so its state dict. A call runs a
    *plan*, straight-line code made for it by `torch.export` and srprof's passes; a call for which
    none of the plans holds (another dtype, a size for which the code takes another way) makes one.
    What the network makes of sizes and weights and keeps for later calls, a plan makes each time.
    In training mode, where gradients are asked for, under autocast, and for calls that cannot be
    exported, it runs the network as it is, and warns once with the reason.

    Attributes:
        level: "exact", every bit as it was, or "equivalent", up to rounding.
        passes: the passes that the plans are made by, in order.
        form: what plans are given for a device; None without one.
        backend: what plans are run through.
        plans: those made so far; the text of each is its `source`.
    """

    def __init__(
        self,
        network: nn.Module,
        level: str = "exact",
        passes: tuple[str, ...] | None = None,
        form: Form | None = None,
        backend: Backend = "eager",
    ) -> None:
        """Take over the network's own containers; give a copy of what is to stay as it is."""
        super().__init__()
        check_level(level)
        share_contents(network, self)
        self.training = network.training
        self._network = (network,)  # in a tuple, as it is no submodule: it has the same names
        self.level = level
        self.passes = LEVELS[level] if passes is None else passes
        self.form = form
        self.backend: Backend = backend
        self.plans: list[Plan] = []
        self._warned: set[str] = set()
        self._refused: dict[Any, str] = {}

    @property
    def network(self) -> nn.Module:
        """The network as it is, with the same parameters."""
        return self._network[0]

    @property
    def __signature__(self) -> Signature:
        """The network's own, by which a mapping is told from keyword arguments."""
        return signature(self.network.forward)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return self._in_a_graph(*args, **kwargs)
        leaves, call = flatten(args, kwargs)
        plan = self._plan(leaves, call, args, kwargs)
        if isinstance(plan, Plan):
            return plan.run(self, leaves, self.backend)
        if plan not in self._warned:
            self._warned.add(plan)
            warnings.warn(f"not lean in this call: {plan}", stacklevel=2)
        self.plans = [made for made in self.plans if not made.fresh]
        return self.network(*args, **kwargs)

    def _in_a_graph(self, *args: Any, **kwargs: Any) -> Any:
        """The call for Dynamo: a plan that was made before, or the network."""
        leaves = pytree.tree_leaves((args, kwargs))
        if not self.training and not torch.is_grad_enabled():
            for plan in self.plans:
                if plan.fits(leaves):
                    return plan.run_in_a_graph(self, leaves)
        return self.network(*args, **kwargs)

    def prepare(self, *args: Any, **kwargs: Any) -> None:
        """Make the plan for a call, if there is none yet.

        Raises:
            RefusedError: the network cannot be lean in this call; says why.
        """
        leaves, call = flatten(args, kwargs)
        plan = self._plan(leaves, call, args, kwargs)
        if not isinstance(plan, Plan):
            raise RefusedError(plan)
        plan.keep(self, leaves)

    def keep(self, leaves: list[Any]) -> None:
        """Make what the first plan keeps for calls of these sizes, if it is not there."""
        self.plans[0].keep(self, leaves)

    def fused_in_eval(self) -> bool:
        """Whether plans have tensors that the network's own `eval()` may have made of weights."""
        constants = (tensor for plan in self.plans for tensor in plan.constants.values())
        return any(t.is_floating_point() and t.numel() > 1 for t in constants) and any(
            getattr(type(module), name) is not getattr(nn.Module, name)
            for _, module in named_modules(self.network)
            for name in ("train", "eval")
        )

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        result = super().load_state_dict(*args, **kwargs)
        self.plans = [plan.moved(lambda weight: weight) for plan in self.plans]
        if self.fused_in_eval():
            warnings.warn(
                "weights that the network's eval() made before stay as they were: load the state "
                "dict into the network, and make that lean",
                stacklevel=2,
            )
        return result

    def train(self, mode: bool = True) -> Lean:
        mark(self, mode)  # the network's own code has had its say, and may not do so twice
        mark(self.network, mode)
        return self

    def _obstacle(self, leaves: list[Any]) -> str | None:
        """Why the network must run as it is."""
        if self.training or _any_trains(self):
            return "it is in training mode; call .eval()"
        if torch.is_grad_enabled() and any(
            tensor.requires_grad
            for tensor in (*parameters(self), *leaves)
            if isinstance(tensor, torch.Tensor)
        ):
            return "gradients are asked for; call it in torch.no_grad() or torch.inference_mode()"
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            return "autocast chooses dtypes call by call; convert the network with .half() instead"
        return None

    def _plan(self, leaves: list[Any], call: str, args: Any, kwargs: Any) -> Plan | str:
        """The plan that holds for a call, or why the network must run as it is."""
        if obstacle := self._obstacle(leaves):
            return obstacle
        for plan in self.plans:
            if plan.holds(leaves, call):
                return plan
        key = (call, kinds(leaves), tuple(getattr(leaf, "shape", None) for leaf in leaves))
        if key in self._refused:
            return self._refused[key]
        try:
            name = type(self.network).__name__
            with for_plans(name), _disable_current_modes(), torch.inference_mode(False):
                args, kwargs = pytree.tree_map(stand_in, (args, kwargs))
                captured = capture_call(self.network, args, kwargs)
                plan = planner(self.network, captured, args, kwargs, self.form)(self.passes)
        except RefusedError as refusal:
            self._refused[key] = str(refusal)
            return str(refusal)
        self.plans = [*self.plans, plan][-PLANS:]
        return plan

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Lean:
        """Convert as any module; plans stay if only the device changes."""
        before = self._weights()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch does not type it
        if self._weights() != before:
            self.plans, self._refused = [], {}
        # constants keep their dtypes
        self.plans = [plan.moved(lambda value: value.to(fn(value).device)) for plan in self.plans]
        return self

    def _weights(self) -> list[tuple[torch.dtype, tuple[int, ...]]]:
        return [(tensor.dtype, tensor.stride()) for tensor in weights(self)]

    def __deepcopy__(self, memo: dict[int, Any]) -> Lean:
        network = copy.deepcopy(self.network, memo)
        copied = Lean(network, self.level, self.passes, self.form, self.backend)
        # its weights may be on another device, and constants go with them
        device = next((weight.device for weight in weights(copied)), None)
        copied.plans = [plan.moved(lambda value: value.to(device)) for plan in self.plans]
        return copied

    def __reduce__(self) -> Any:
        made = self.network, self.level, self.passes, self.form, self.backend
        return Lean, made, {"plans": self.plans}

    def extra_repr(self) -> str:
        return f"lean, {self.level}: {', '.join(self.passes)}"


@contextmanager
def for_plans(name: str) -> Iterator[None]:
    """Run a network's code to make plans of it, which is no part of what anybody computes.

    The caller's settings and random states are put back, with a warning for each setting.
    """
    notes: list[str] = []
    with aside(), reserved(), kept(notes), sizes_forgotten(), collector_resting():
        yield
    for note in notes:
        warnings.warn(f"{name}: {note}", stacklevel=4)


def share_contents(network: nn.Module, other: nn.Module) -> None:
    """Give another module the network's own parameters, buffers and modules, under their names."""
    for name in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
        setattr(other, name, getattr(network, name))


def _any_trains(network: nn.Module) -> bool:
    """Whether any module is in training mode, and that may mean something.

    Layers that only rearrange come out of a copy in training mode, whatever they were. It is asked
    in each call, and `modules()` would take four times as long.
    """
    left: list[Any] = [network]
    seen: set[nn.Module | None] = {None}
    while left:
        module = left.pop()
        if module in seen:
            continue
        learns = module.training and any(named_parameters(module))
        if learns or (module.training and isinstance(module, _DropoutNd)):
            return True
        seen.add(module)
        left.extend(module._modules.values())
    return False
