"""A convolution's bias and the element-wise calls after it as one call (pass `steps`).

The call writes into the convolution's result. On a GPU `torch.compile` makes one kernel of it;
where that is not to be had, each part of it is a call in place, with the same numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from itertools import takewhile
from typing import Any

import torch
from torch.fx import Graph
from torch.fx import Node as FxNode
from torch.fx.node import map_aggregate

from srprof.blame import first_line
from srprof.leaning.graphs import Copying, Known, argument_of
from srprof.leaning.liveness import GraphCall, in_place_calls
from srprof.leaning.source import Text

aten = torch.ops.aten

_LIBRARY = torch.library.Library("srprof", "FRAGMENT")
_LIBRARY.define("step_(Tensor(a!) x, Tensor[]? others, str code) -> Tensor(a!)")


#: The functions of steps, by their code.
_FUNCTIONS: dict[str, Callable[..., torch.Tensor]] = {}
_COMPILED: dict[str, Callable[..., torch.Tensor]] = {}


def learn(code: str) -> None:
    """Make the function of a step: its calls, of the result so far as `x` and of `others`."""
    if code not in _FUNCTIONS:
        names: dict[str, Any] = {"aten": torch.ops.aten, "inf": float("inf")}
        lines = "".join(f"    {line}\n" for line in [*code.split("; "), "return x"])
        exec(f"def step(x, others):\n{lines}", names)
        _FUNCTIONS[code] = names["step"]


def step(x: torch.Tensor, others: list[torch.Tensor] | None, code: str) -> torch.Tensor:
    """A step, written into `x`; for `torch.compile` its calls, which it makes one of itself."""
    if torch.compiler.is_compiling():
        return _FUNCTIONS[code](x, others)
    made: torch.Tensor = torch.ops.srprof.step_.default(x, others, code)
    return made


@cache
def _compiles() -> bool:
    """Whether there is what `torch.compile` needs for a GPU's kernels."""
    return torch.utils._triton.has_triton()


def _run(x: torch.Tensor, others: list[torch.Tensor] | None, code: str) -> torch.Tensor:
    learn(code)
    if not x.is_cuda or not _compiles():
        return _FUNCTIONS[code](x, others)
    if code not in _COMPILED:
        _COMPILED[code] = torch.compile(_FUNCTIONS[code], dynamic=True)
    try:
        return _COMPILED[code](x, others)
    except torch._dynamo.exc.TorchDynamoException as error:  # before anything ran
        why = f"{type(error).__name__}: {first_line(error)}"
        warnings.warn(f"steps run call by call: torch.compile fails ({why})", stacklevel=2)
        _COMPILED[code] = _FUNCTIONS[code]
    return _FUNCTIONS[code](x, others)


def _meta(x: torch.Tensor, others: list[torch.Tensor] | None, code: str) -> torch.Tensor:
    return x


_LIBRARY.impl("step_", _run, "CompositeExplicitAutograd")
_LIBRARY.impl("step_", _meta, "Meta")


def codes(graph: Graph) -> tuple[str, ...]:
    """Those of a graph's steps, each once."""
    target = torch.ops.srprof.step_.default
    nodes = graph.find_nodes(op="call_function", target=target)
    return tuple(dict.fromkeys(str(node.args[2]) for node in nodes))


def gathered(graph: Graph, known: Known) -> Graph:
    """The graph, without calls in place, with its steps."""
    return _Steps(graph, known).run()


class _Steps(Copying):
    def __init__(self, old: Graph, known: Known) -> None:
        super().__init__(old, known)
        self._chains: dict[FxNode, tuple[FxNode, list[FxNode]]] = {}  # by their last call
        self._inside: set[FxNode] = set()
        for node in old.nodes:
            # of two convolutions that are added, the first takes the sum
            chain = [*takewhile(lambda call: call not in self._inside, _chain(node))]
            biased = bool(chain) and argument_of(node, "bias") is not None
            if len(chain) + biased > 1:
                self._chains[chain[-1]] = node, chain
                self._inside |= {node, *chain}

    def call(self, node: FxNode) -> FxNode:
        if node in self._chains:
            return self._step(*self._chains[node])
        if node in self._inside:
            return None  # type: ignore[return-value]  # nothing but the chain reads it
        return super().call(node)

    def _step(self, convolution: FxNode, chain: list[FxNode]) -> FxNode:
        args: list[Any] = [self.made[a] for a in convolution.args[:2]]  # type: ignore[index]
        names = ("stride", "padding", "dilation", "groups")
        image = self.add(
            convolution.target, *args, None, *(argument_of(convolution, n) for n in names)
        )
        others: list[FxNode] = []
        lines = []
        bias = argument_of(convolution, "bias")
        if bias is not None:
            others.append(self.add(aten.view.default, self.made[bias], [-1, 1, 1]))
            lines.append("aten.add_.Tensor(x, others[0])")
        before = convolution
        for call in chain:
            lines.append(self._line(call, before, others))
            before = call
        target = torch.ops.srprof.step_.default
        return self.add(target, image, others or None, "; ".join(lines))

    def _line(self, call: FxNode, running: FxNode, others: list[FxNode]) -> str:
        """One call of a step, in place."""

        def name(value: Any) -> Any:
            if value is running:
                return Text("x")
            if isinstance(value, FxNode):
                made = self.made[value]
                if made not in others:
                    others.append(made)
                return Text(f"others[{others.index(made)}]")
            return value

        written = _written(call, running)
        assert written is not None  # or it would not be in the chain
        args = map_aggregate(written.args, name)
        kwargs = map_aggregate(dict(written.kwargs), name)
        texts = [*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())]
        return f"{written.target}({', '.join(texts)})"


def _chain(node: FxNode) -> list[FxNode]:
    """The element-wise calls after a convolution that can be written into its result."""
    chain: list[FxNode] = []
    if node.target not in (aten.conv2d.default, aten.conv2d.padding):
        return chain
    running = node
    while len(running.users) == 1:
        (call,) = running.users
        if not _joins(call, running):
            break
        chain.append(call)
        running = call
    return chain


def _joins(call: FxNode, running: FxNode) -> bool:
    """Whether a call changes the result so far, which it reads once, and makes no other shape."""
    if _written(call, running) is None or call.args.count(running) != 1:
        return False
    before, after = running.meta["val"], call.meta["val"]
    same = before.shape == after.shape and before.dtype == after.dtype
    return same and all(isinstance(a.meta["val"], torch.Tensor) for a in call.all_input_nodes)


def _written(call: FxNode, running: FxNode) -> GraphCall | None:
    """An element-wise call of aten's as one that writes into the result so far."""
    ways = dict(in_place_calls(call)) if getattr(call.target, "namespace", "") == "aten" else {}
    return ways.get(running)
