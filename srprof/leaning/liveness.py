"""A graph's steps and storages, as evidence shows them: it is run once on meta tensors.

Which values share a storage is what torch did in that run. For what may be overwritten and in which
order, an operator's schema counts too, so that a `reshape` that copied here is the view that it
may be at another size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import torch
from torch.fx import Graph
from torch.fx import Node as FxNode
from torch.fx.node import map_aggregate, map_arg
from torch.utils._python_dispatch import TorchDispatchMode

from srprof.blame import first_line
from srprof.leaning.alike import expression
from srprof.leaning.capture import RefusedError, stand_in
from srprof.leaning.program import Program, Step
from srprof.memory.model import rounded
from srprof.meta_kernels import shortcut
from srprof.ops import row
from srprof.tracing.recorder import tensors_in

#: Composite operators that may hand their input through, though their schemas say nothing of it.
_MAY_BE_INPUT = frozenset(
    f"aten.{name}"
    for name in "dropout feature_dropout alpha_dropout feature_alpha_dropout type_as pad "
    "pixel_shuffle pixel_unshuffle channel_shuffle einsum matmul linear".split()
)


class GraphCall(NamedTuple):
    """A call as a node has it, or one that writes its result into the first argument."""

    target: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True)
class Liveness:
    """A graph as a program, and the nodes that its steps are.

    Attributes:
        nodes: of each step.
        in_place: for each step, by the storage that it could write into, how.
    """

    graph: Graph
    program: Program
    nodes: tuple[FxNode, ...]
    in_place: tuple[dict[int, GraphCall], ...]


def liveness(graph: Graph, attribute: Callable[[str], torch.Tensor], call: list[Any]) -> Liveness:
    """What each step makes, reads and could overwrite, for this call.

    Args:
        attribute: parameters, buffers and constants by name.
        call: an argument for each placeholder; of tensors only sizes, strides and types count.
    """
    return _Reader(graph, attribute, call).read()


def results(
    graph: Graph, attribute: Callable[[str], torch.Tensor], call: list[Any]
) -> list[torch.Tensor]:
    """What a graph gives for this call, as meta tensors; arguments as of `liveness`."""
    reader = _Reader(graph, attribute, call)
    reader.read()
    output: Any = graph.output_node().args[0]
    return [reader.values[node] for node in output]


class _Reader:
    def __init__(
        self, graph: Graph, attribute: Callable[[str], torch.Tensor], call: list[Any]
    ) -> None:
        self.graph = graph
        self.attribute = attribute
        self.call = iter(call)
        self.values: dict[FxNode, Any] = {}
        self.storages: dict[FxNode, frozenset[int]] = {}  # in which a node's value may lie
        self.actual: dict[FxNode, frozenset[int]] = {}  # in which it lies in this call
        self.numbers: dict[int, int] = {}  # of a storage, by its address
        self.sizes: list[int] = []
        self.extents: list[Any] = []  # elements of a storage as an expression of the call's sizes
        self.steps: list[Step] = []
        self.step_of: dict[FxNode, int] = {}
        self.in_place: list[dict[int, GraphCall]] = []
        self.readers: dict[int, list[int]] = {}
        self.writer: dict[int, int] = {}
        self.chain: set[int] = set()  # the last step that draws random numbers

    def read(self) -> Liveness:
        with _Shortcuts():  # type: ignore[no-untyped-call]  # torch's own has no types
            return self._read()

    def _read(self) -> Liveness:
        given: frozenset[int] = frozenset()
        pinned: frozenset[int] = frozenset()
        kept: frozenset[int] = frozenset()  # results may lie there
        nodes = []
        for node in self.graph.nodes:
            if node.op == "placeholder":
                self._put(node, stand_in(next(self.call), "meta"))
                given |= self.storages[node]
            elif node.op == "get_attr":
                weight = stand_in(self.attribute(str(node.target)), "meta")
                for storage in self._put(node, weight):
                    self.sizes[storage] = 0  # it is there already and takes nothing of the call's
                given |= self.storages[node]
            elif node.op == "call_function":
                self._step(node)
                nodes.append(node)
            else:
                for result in node.all_input_nodes:
                    pinned |= self.actual[result]
                    kept |= self.storages[result]
        steps = tuple(
            replace(step, overwrites=tuple(s for s in step.overwrites if s not in kept))
            for step in self.steps
        )
        program = Program(steps, tuple(self.sizes), given, given | pinned)
        return Liveness(self.graph, program, tuple(nodes), tuple(self.in_place))

    def _put(self, node: FxNode, value: Any) -> tuple[int, ...]:
        """Remember a value; gives the storages that are new with it."""
        self.values[node] = value
        lies_in, new = set(), []
        for tensor in tensors_in(value):
            address = tensor.untyped_storage()._cdata
            if address not in self.numbers:
                self.numbers[address] = len(self.sizes)
                new.append(len(self.sizes))
                self.sizes.append(rounded(tensor.untyped_storage().nbytes()))
                made = tensors_in(node.meta.get("val"))
                self.extents.append(tuple(expression(one.numel()) for one in made))
            lies_in.add(self.numbers[address])
        self.storages[node] = self.actual[node] = frozenset(lies_in)
        return tuple(new)

    def _step(self, node: FxNode) -> None:
        number = len(self.steps)
        arguments = node.all_input_nodes
        args, kwargs = map_aggregate((node.args, node.kwargs), self._value)
        target: Any = node.target
        try:
            result = target(*args, **kwargs)
        except Exception as error:
            reason = f"{target} does not run on meta tensors ({first_line(error)})"
            raise RefusedError(reason) from error
        created = self._put(node, result)
        for argument in arguments:
            if may_share(node, argument):
                self.storages[node] |= self.storages[argument]
        read = frozenset().union(*(self.storages[argument] for argument in arguments))
        changed = (a for nodes, info in _by_schema(node) if info.is_write for a in nodes)
        written = frozenset().union(*(self.storages[argument] for argument in changed))
        needs = {self.step_of[argument] for argument in arguments if argument in self.step_of}
        needs |= {self.writer[storage] for storage in read if storage in self.writer}
        for storage in written:
            needs.update(self.readers.get(storage, ()))
            self.readers[storage] = []
            self.writer[storage] = number
        for storage in read | self.storages[node]:
            self.readers.setdefault(storage, []).append(number)
        if is_random(node):
            needs |= self.chain
            self.chain = {number}
        in_place = dict(self._overwritable(node, created))
        touches = self.actual[node].union(*(self.actual[argument] for argument in arguments))
        may_touch = (read | self.storages[node]) - touches
        step = Step(tuple(sorted(needs)), touches, created, tuple(in_place), may_touch)
        self.steps.append(step)
        self.in_place.append(in_place)
        self.step_of[node] = number

    def _value(self, argument: Any) -> Any:
        """What an argument is in the run on meta tensors."""
        if isinstance(argument, FxNode):
            return self.values[argument]
        return torch.device("meta") if isinstance(argument, torch.device) else argument

    def _overwritable(
        self, node: FxNode, created: tuple[int, ...]
    ) -> Iterator[tuple[int, GraphCall]]:
        """Storages of arguments that the node's result could be written into, bit for bit."""
        if len(created) != 1 or self.storages[node] != frozenset(created):
            return
        for argument, call in in_place_calls(node):
            storages = self.storages[argument]
            others = (other for other in node.all_input_nodes if other is not argument)
            if len(storages) != 1 or any(storages & self.storages[other] for other in others):
                continue  # of the latter, it would be read after it was written
            (storage,) = storages
            if self._alike(argument, node, storage, created[0]):
                yield storage, call

    def _alike(self, argument: FxNode, node: FxNode, old: int, new: int) -> bool:
        """Whether the argument fills its storage just as the result does, at every size."""
        before, after = self.values[argument], self.values[node]
        one, other = (
            (value.dtype, value.shape, value.stride(), value.untyped_storage().nbytes())
            for value in (before, after)
        )
        same = one == other and _shape(argument) == _shape(node)
        return same and before.storage_offset() == 0 and self.extents[old] == self.extents[new]


class _Shortcuts(TorchDispatchMode):
    """Answers plain calls on meta tensors at once, as the tracer does."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = shortcut(func, args, kwargs or {})
        return func(*args, **(kwargs or {})) if result is NotImplemented else result


def _shape(node: FxNode) -> list[Any]:
    return [expression(size) for size in node.meta["val"].shape]


def may_share(node: FxNode, argument: FxNode) -> bool:
    """Whether the node's value may be, or lie in, the argument's."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return True  # an element of a list
    if _may_be_input(node.target):
        return True
    return any(argument in nodes and not info.is_write for nodes, info in _by_schema(node))


@cache
def _may_be_input(target: torch._ops.OpOverload) -> bool:
    return str(target).rpartition(".")[0] in _MAY_BE_INPUT


@cache
def _of_memory(target: Any) -> tuple[tuple[int, str, Any], ...]:
    """Arguments of whose memory an operator's schema says something: place, name, and that."""
    if not isinstance(target, torch._ops.OpOverload):
        return ()
    arguments = enumerate(target._schema.arguments)
    return tuple((at, a.name, a.alias_info) for at, a in arguments if a.alias_info is not None)


def _by_schema(node: FxNode) -> Iterator[tuple[list[FxNode], Any]]:
    """The nodes of these arguments, with what the schema says."""
    for position, name, info in _of_memory(node.target):
        nodes: list[FxNode] = []
        by_position = position < len(node.args)
        map_arg(node.args[position] if by_position else node.kwargs.get(name), nodes.append)
        yield nodes, info


def is_view(node: FxNode) -> bool:
    """Whether the operator's schema says that its result lies in an argument that it reads."""
    return any(nodes and not info.is_write for nodes, info in _by_schema(node))


def is_random(node: FxNode) -> bool:
    """Whether a call draws random numbers, or gives nothing that tells what it did."""
    return isinstance(node.target, torch._ops.OpOverload) and _is_random(node.target)


@cache
def _is_random(target: torch._ops.OpOverload) -> bool:
    return torch.Tag.nondeterministic_seeded in target.tags or not target._schema.returns


def in_place_calls(node: FxNode) -> Iterator[tuple[FxNode, GraphCall]]:
    """The calls that compute the node's value in one of its arguments, by that argument."""
    target: Any = node.target
    changed = _in_place_target(target)
    if changed is None or not node.args:
        return
    args, kwargs = node.args, node.kwargs
    if isinstance(args[0], FxNode):
        yield args[0], GraphCall(changed, args, kwargs)
    either = target._overloadname == "Tensor" and row(target._opname).commutative
    if either and target.namespace == "aten" and not kwargs and isinstance(args[1], FxNode):
        yield args[1], GraphCall(changed, (args[1], args[0]), kwargs)


@cache
def _in_place_target(target: Any) -> Any:
    """`aten.relu_.default` for `aten.relu.default`, where there is one that writes its first.

    None for what is not element by element.
    """
    if not isinstance(target, torch._ops.OpOverload) or torch.Tag.pointwise not in target.tags:
        return None
    namespace, _, name = target._schema.name.partition("::")
    packet = getattr(getattr(torch.ops, namespace), f"{name}_", None)
    changed = getattr(packet, target._overloadname, None) if packet is not None else None
    if changed is None:
        return None
    first = changed._schema.arguments[0]
    same = len(changed._schema.arguments) == len(target._schema.arguments)
    return changed if same and first.alias_info and first.alias_info.is_write else None
