"""A plan: the text of one lean forward pass, and the calls that it holds for."""

from __future__ import annotations

import linecache
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, repeat
from keyword import iskeyword
from types import CodeType
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.fx import Graph
from torch.utils import _pytree as pytree

from srprof.files import quoted
from srprof.leaning.backends import THROUGH
from srprof.leaning.capture import Captured, Kwargs, RefusedError, capture
from srprof.leaning.forming import Form, formed
from srprof.leaning.hoisting import KEPT, Hoisted, hoisted
from srprof.leaning.levels import Backend
from srprof.leaning.liveness import liveness, results
from srprof.leaning.passes import Rewrites, arrange, with_folded
from srprof.leaning.source import body, name_of
from srprof.leaning.state import look_at_calls
from srprof.leaning.steps import codes, learn, step
from srprof.words import one_line

_numbers = count()

#: What conditions on sizes may name beside the inputs.
_FUNCTIONS = {one.__name__: one for one in (max, min, math, abs, int, round, torch)}


class _Made(NamedTuple):
    """A plan's functions: through each backend, what comes first, and whether it holds."""

    through: dict[str, Callable[..., Any]]
    first: Any
    condition: Callable[..., Any]


def _state(of: Callable[[nn.Module], Any], network: nn.Module) -> tuple[int, int]:
    """What changes when somebody writes into a tensor of the network's, or puts another there."""
    tensor = of(network)
    version = 0 if tensor.is_inference() else tensor._version
    return tensor.untyped_storage()._cdata, version


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
        first: the body of what prepares the values that calls of a size have in common; the
            function's body has them as `kept`.
        weights: paths of the network's tensors that these values are made of.
        sized: they depend on sizes; those of one size are kept at a time.
        steps: the codes of its steps.
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
    first: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    sized: bool = False
    steps: tuple[str, ...] = ()
    least: int | None = None
    _code: list[CodeType] = field(default_factory=list, repr=False)  # its copies' too
    _made: _Made | None = field(default=None, init=False, repr=False)
    _kept: tuple[object, Any] | None = field(default=None, init=False, repr=False)

    def holds(self, leaves: Sequence[Any], call: str) -> bool:
        """Whether the plan computes what the network would for this call."""
        if call != self.call or kinds(leaves) != self.kinds:
            return False
        try:
            return bool(self._compile().condition(*leaves))
        except (NameError, TypeError, ZeroDivisionError):
            return False

    def fits(self, leaves: Sequence[torch.Tensor]) -> bool:
        """Whether it holds for tensors that lie as these do; as Dynamo can follow it."""
        if len(leaves) != len(self.inputs):
            return False
        dtypes = [kind[0] if isinstance(kind, tuple) else None for kind in self.kinds]
        alike = [leaf.dtype for leaf in leaves] == dtypes
        return alike and bool(self._compile().condition(*leaves))

    def run(self, network: nn.Module, leaves: Sequence[Any], backend: Backend = "eager") -> Any:
        """The network's result."""
        kept = self.keep(network, leaves)
        through = self._compile().through
        if backend not in through:
            through[backend] = THROUGH[backend](through["eager"])
        return through[backend](network, *leaves, *kept)

    def run_in_a_graph(self, network: nn.Module, leaves: Sequence[Any], kept: Any = ()) -> Any:
        """The same for Dynamo, which cannot follow how it is found out what is still kept."""
        made = self._compile()
        if not self.first:
            return made.through["eager"](network, *leaves)
        if not kept:
            kept = made.first(network, *leaves) if self._kept is None else self._kept[1]
        return made.through["eager"](network, *leaves, kept)

    def keep(self, network: nn.Module, leaves: Sequence[Any]) -> tuple[Any, ...]:
        """What calls like this have in common, made if it is not there, as an argument more."""
        if not self.first:
            return ()
        of = map(_state, map(operator.attrgetter, self.weights), repeat(network))
        sizes = [tuple(leaf.shape) for leaf in leaves if isinstance(leaf, torch.Tensor)]
        key = tuple(of), self.sized and sizes, [getattr(leaf, "device", None) for leaf in leaves]
        if self._kept is None or self._kept[0] != key:
            self._kept = None  # so that never two sizes' are there
            with torch.no_grad():
                self._kept = key, self._compile().first(network, *leaves)
        return (self._kept[1],)

    def moved(self, convert: Callable[[torch.Tensor], torch.Tensor]) -> Plan:
        """The plan with its constants elsewhere."""
        return replace(self, constants={n: convert(v) for n, v in self.constants.items()})

    @property
    def source(self) -> str:
        """The function as text, after what prepares what it keeps."""
        inputs = ("self", *self.inputs)
        functions = [("forward", (*inputs, "kept") if self.first else inputs, self.lines)]
        if self.first:
            functions.insert(0, ("prepare", inputs, self.first))
        return "\n".join(
            "\n".join([f"def {name}({', '.join(taken)}):", *(f"    {line}" for line in lines), ""])
            for name, taken, lines in functions
        )

    def _compile(self) -> _Made:
        """The functions; their code is compiled once for all copies."""
        if self._made is None:
            if not self._code:
                file = f"<lean {one_line(self.name)} {next(_numbers)}>"
                source = self.source
                linecache.cache[file] = (len(source), None, source.splitlines(True), file)
                condition = " and ".join(f"({text})" for text in self.conditions) or "True"
                holds = f"def holds({', '.join(self.inputs)}):\n    return {condition}"
                self._code += compile(source, file, "exec"), compile(holds, file, "exec")
            names: dict[str, Any] = {"aten": torch.ops.aten, "constants": self.constants}
            names |= {"torch": torch, "operator": operator, "math": math, "step": step}
            for code in self.steps:
                learn(code)
            asked: dict[str, Any] = {"__builtins__": {}, **_FUNCTIONS}
            for code_of, where in zip(self._code, (names, asked), strict=True):
                exec(code_of, where)
            forward = {"eager": names["forward"]}
            self._made = _Made(forward, names.get("prepare"), asked["holds"])
        return self._made

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_code": [], "_made": None, "_kept": None}


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
    network: nn.Module,
    captured: Captured,
    args: Sequence[Any],
    kwargs: Kwargs,
    form: Form | None = None,
) -> Callable[[tuple[str, ...]], Plan]:
    """What makes a plan by given passes, for the lowest peak in this call.

    In a form for a device, batch norms are folded before it.
    """
    leaves, call = flatten(args, kwargs)
    if form is not None:
        if form.constants:  # what is folded is not folded in each call
            captured = replace(captured, graph=with_folded(captured.graph))
        made = formed(captured.graph, form, captured.known)
        constants = {**captured.constants, **made.constants}
        captured = replace(captured, graph=made.graph, constants=constants)
    apart = hoisted(captured.graph) if form and form.constants else Hoisted(captured.graph)
    constants = captured.constants

    def value(name: str) -> torch.Tensor:
        if name.startswith(KEPT):
            return kept[int(name.removeprefix(KEPT))]
        own: torch.Tensor | None = constants.get(name)
        return operator.attrgetter(name)(network) if own is None else own

    def text(name: str) -> str:
        if name.startswith(KEPT):
            return f"kept[{name.removeprefix(KEPT)}]"
        return f"constants[{quoted(name)}]" if name in constants else path(name)

    kept = [] if apart.first is None else results(apart.first, value, leaves)
    first = () if apart.first is None else _prepares(apart.first, text)
    rewrites = Rewrites(apart.graph, lambda graph: liveness(graph, value, leaves))

    def plan(passes: tuple[str, ...]) -> Plan:
        arranged = arrange(rewrites, passes)
        lines = body(arranged.graph, [*arranged.order], text, captured.result)
        made = _plan(captured, lines, leaves, call, type(network).__name__)
        return replace(
            made,
            first=first,
            weights=_weights(apart, constants),
            sized=apart.sized,
            steps=codes(arranged.graph),
            least=arranged.least,
        )

    return plan


def _prepares(graph: Graph, text: Callable[[str], str]) -> tuple[str, ...]:
    """The lines that make what is kept, each value released after its last use."""
    order = [(node, None) for node in graph.nodes if node.op == "call_function"]
    count = len(graph.output_node().args[0])  # type: ignore[arg-type]  # a list, as hoisting made it
    _, spec = pytree.tree_flatten(tuple(range(count)))
    return tuple(body(graph, order, text, spec))


def _weights(apart: Hoisted, constants: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """The network's tensors that what is kept is made of."""
    if apart.first is None:
        return ()
    names = (str(node.target) for node in apart.first.find_nodes(op="get_attr"))
    return tuple(name for name in names if name not in constants)


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
