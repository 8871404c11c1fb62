"""A plan: the text of one lean forward pass, and the calls that it holds for."""

from __future__ import annotations

import linecache
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from keyword import iskeyword
from types import CodeType
from typing import Any, cast

import torch
from torch import nn
from torch.utils import _pytree as pytree

from srprof.files import quoted
from srprof.leaning.capture import Captured, Kwargs, RefusedError, capture
from srprof.leaning.liveness import liveness
from srprof.leaning.passes import Rewrites, arrange
from srprof.leaning.source import body, name_of
from srprof.leaning.state import look_at_calls
from srprof.words import one_line

_numbers = count()

#: What conditions on sizes may name beside the inputs.
_FUNCTIONS = {one.__name__: one for one in (max, min, math, abs, int, round, torch)}


@dataclass
class Plan:
    """One forward pass as text, compiled when it is first run.

    Attributes:
        inputs: names of the call's tensors.
        lines: the function's body; parameters are attributes of `self`.
        constants: tensors that the code made of numbers.
        conditions: what must hold for a call, as `Captured.conditions`.
        kinds: dtype and memory layout of each input.
        call: how tensors lie in the call's arguments, in words.
        fresh: as `Captured.fresh`.
        least: bytes of inputs and values below which no order of its calls has its peak, for the
            call that it was made for; None if its order is not meant to be the best.
    """

    name: str
    inputs: tuple[str, ...]
    lines: tuple[str, ...]
    constants: dict[str, torch.Tensor]
    conditions: tuple[str, ...]
    kinds: tuple[Any, ...]
    call: str
    fresh: bool = False
    least: int | None = None
    _code: list[CodeType] = field(default_factory=list, repr=False)  # its copies' too
    _forward: Callable[..., Any] | None = field(default=None, init=False, repr=False)

    def holds(self, leaves: Sequence[Any], call: str) -> bool:
        """Whether the plan computes what the network would for this call."""
        if call != self.call or kinds(leaves) != self.kinds:
            return False
        names = dict(zip(self.inputs, leaves, strict=True), **_FUNCTIONS)
        try:
            return bool(eval(self._compiled()[1], {"__builtins__": {}}, names))
        except (NameError, TypeError, ZeroDivisionError):
            return False

    def run(self, network: nn.Module, leaves: Sequence[Any]) -> Any:
        """The network's result."""
        if self._forward is None:
            names: dict[str, Any] = {"aten": torch.ops.aten, "constants": self.constants}
            names |= {"torch": torch, "operator": operator, "math": math}
            exec(self._compiled()[0], names)
            self._forward = cast(Callable[..., Any], names["forward"])
        return self._forward(network, *leaves)

    @property
    def source(self) -> str:
        """The function as text."""
        head = f"def forward({', '.join(('self', *self.inputs))}):"
        return "\n".join([head, *(f"    {line}" for line in self.lines), ""])

    def _compiled(self) -> list[CodeType]:
        """What defines the function, and the conditions."""
        if not self._code:
            file = f"<lean {one_line(self.name)} {next(_numbers)}>"
            source = self.source
            linecache.cache[file] = (len(source), None, source.splitlines(True), file)
            condition = " and ".join(f"({text})" for text in self.conditions) or "True"
            self._code += compile(source, file, "exec"), compile(condition, file, "eval")
        return self._code

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_code": [], "_forward": None}


def flatten(args: Sequence[Any], kwargs: Kwargs) -> tuple[list[Any], str]:
    """A call's tensors and other values in a row, and how they lie in its arguments."""
    leaves, call = pytree.tree_flatten((tuple(args), dict(kwargs)))
    return leaves, str(call)


def kinds(leaves: Sequence[Any]) -> tuple[Any, ...]:
    """What a plan depends on beside sizes: dtypes, layouts, arguments that are no tensors."""
    return tuple(
        (leaf.dtype, _layout(leaf)) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves
    )


def _layout(tensor: torch.Tensor) -> tuple[int, ...]:
    """Dimensions from the outermost in memory to the innermost."""
    strides = tensor.stride()
    return tuple(sorted(range(tensor.dim()), key=lambda axis: -strides[axis]))


def capture_call(network: nn.Module, args: Sequence[Any], kwargs: Kwargs) -> Captured:
    """A graph that holds for this call, and for as many others as the code lets it.

    Raises:
        RefusedError: the network's behaviour cannot be kept; says why.
    """
    leaves, call = flatten(args, kwargs)
    alike, modules, made = look_at_calls(network, args, kwargs)
    for any_size in (True, False):
        try:
            captured = capture(network, args, kwargs, any_size=any_size, made=made, modules=modules)
        except RefusedError as refusal:
            reason = refusal
            continue
        if _plan(captured, ["pass"], leaves, call).holds(leaves, call):
            return replace(captured, fresh=not alike)
        reason = RefusedError("torch.export's graph does not hold for the call it was made for")
    raise reason


def planner(
    network: nn.Module, captured: Captured, args: Sequence[Any], kwargs: Kwargs
) -> Callable[[tuple[str, ...]], Plan]:
    """What makes a plan by given passes, for the lowest peak in this call."""
    leaves, call = flatten(args, kwargs)
    constants = captured.constants

    def value(name: str) -> torch.Tensor:
        own: torch.Tensor | None = constants.get(name)
        return operator.attrgetter(name)(network) if own is None else own

    def text(name: str) -> str:
        return f"constants[{quoted(name)}]" if name in constants else path(name)

    rewrites = Rewrites(captured.graph, lambda graph: liveness(graph, value, leaves))

    def plan(passes: tuple[str, ...]) -> Plan:
        arranged = arrange(rewrites, passes)
        lines = body(arranged.graph, [*arranged.order], text, captured.result)
        made = _plan(captured, lines, leaves, call, type(network).__name__)
        return replace(made, least=arranged.least)

    return plan


def _plan(
    captured: Captured, lines: Sequence[str], leaves: list[Any], call: str, name: str = ""
) -> Plan:
    return Plan(
        name=name,
        inputs=tuple(name_of(node) for node in captured.graph.find_nodes(op="placeholder")),
        lines=tuple(lines),
        constants=dict(captured.constants),
        conditions=captured.conditions,
        kinds=kinds(leaves),
        call=call,
        fresh=captured.fresh,
    )


def path(name: str) -> str:
    """The text for an attribute of `self`; modules in lists have numbers for names."""
    text = "self"
    for part in name.split("."):
        plain = part.isidentifier() and not iskeyword(part)
        text = f"{text}.{part}" if plain else f"getattr({text}, {quoted(part)})"
    return text
