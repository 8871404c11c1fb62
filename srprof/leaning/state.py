"""What a network keeps of one call for the next, and a graph of one call has not.

Networks keep masks and coordinates for a size, and weights that they fuse in their first call. A
graph makes them in each call, with the same results if they depend on sizes and weights alone. It
would be wrong where they depend on images, where the first call changes weights, and where it
gives other results than the later ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils import _pytree as pytree

from srprof.blame import blame
from srprof.copying import copied_model, untouched
from srprof.dtypes import USUAL
from srprof.errors import SrprofError
from srprof.leaning.capture import Kwargs, RefusedError
from srprof.leaning.comparison import compare
from srprof.networks import named_modules
from srprof.ops import row
from srprof.paths import place
from srprof.placing import copy_model
from srprof.records import Node, TensorRef, Trace
from srprof.redirect import without_gpu
from srprof.tracing.run import run_program
from srprof.workload import Own, Workload

_CALL_ONCE = "call it once before it is made lean"


class Calls(NamedTuple):
    """What is known of a network's calls.

    Attributes:
        alike: it makes the same each time, and not others the first time.
        modules: how many modules the first one calls.
        makes: buffers that its first call makes anew, and the others do not.
    """

    alike: bool
    modules: int
    makes: frozenset[str] = frozenset()


def look_at_calls(network: nn.Module, args: Sequence[Any], kwargs: Kwargs) -> Calls:
    """Whether a graph of a call of the network is right for the next calls too.

    Raises:
        RefusedError: a graph of a call would be wrong for the next; says what the network does, and
            at which line.
    """
    built: list[nn.Module] = []

    def build(device: str) -> nn.Module:
        built[:] = [copy_model(network, device)]
        return built[0]

    call = Workload(
        name=type(network).__name__,
        spec=type(network).__qualname__,
        build=build,
        environment=partial(untouched, network),
        args=tuple(args),
        kwargs=dict(kwargs),
        own=Own(image=USUAL),  # the arguments have their dtypes
    )
    try:
        first, second = run_program([call] * 2).calls
        alike = _steps(first) == _steps(second)
        third = second if alike else run_program([call] * 3).calls[2]
        reason = reason_of_state(first, second, third)
        if reason is None and alike and _plain_attributes(built[0]) != _plain_attributes(network):
            reason = _other_size(call, first)
        if reason is None and not alike and (wrong := _kept_wrongly(network, call)):
            made = _made(first, _kept(first) & _used_again(first, second))
            reason = f"its code keeps what it makes{made}, {wrong}"
    except Exception as error:
        known = isinstance(error, SrprofError)
        raise RefusedError(str(error) if known else blame(error).describe(error)) from error
    if reason is not None:
        raise RefusedError(reason)
    makes = () if alike else _buffers_of(first, second)
    return Calls(alike, len(first.calls), frozenset(makes))


def reason_of_state(first: Trace, second: Trace, third: Trace) -> str | None:
    """Why a graph of the first of three calls in a row would be wrong for the others.

    What a call keeps and none uses again is nobody's loss. What each call leaves in a buffer is
    part of the graph.
    """
    alike = _steps(first) == _steps(second)
    if _steps(second) != _steps(third):
        return f"each of its calls is another{_at(_first_other(second, third))}"
    for index, earlier in second.carried.items():
        if first.storages[earlier].role == "input" and (uses := second.storages[index].uses):
            return f"its code keeps an input, which the next call uses{_at(second.nodes[uses[0]])}"
    used = _kept(first) & _used_again(first, second)
    if alike:
        used -= set(_buffers_of(first, second).values())
    if of_images := used & _of_images(first):
        made = _made(first, of_images)
        return f"its code keeps for later calls what it makes of its input{made}"
    if alike and used:
        return f"a call uses what the one before it makes{_made(first, used)}"
    for trace in (first, second):
        if node := _changes(trace, {"constant"}):
            return f"its code changes{_at(node)} a tensor that is no parameter and no buffer"
        if not alike and (node := _changes(trace, {"parameter", "buffer"})):
            return f"its first call changes its weights{_at(node)}; {_CALL_ONCE}"
    return None


def _steps(trace: Trace) -> list[str]:
    """What the run's calls have in common with another's that does the same."""

    def named(value: Any) -> Any:
        if isinstance(value, TensorRef) and value.node < 0:
            external = trace.externals[value.output]
            return external.role, external.name if external.role != "constant" else ""
        if isinstance(value, tuple) and not isinstance(value, TensorRef):
            return tuple(map(named, value))
        return {k: named(v) for k, v in value.items()} if isinstance(value, dict) else value

    return [f"{n.op} {n.overload} {named(n.arguments)} {n.shape}" for n in trace.nodes]


def _first_other(one: Trace, other: Trace) -> Node:
    """The first node of a run that is not as in another run."""
    pairs = zip(_steps(one), _steps(other), strict=False)
    same = next(
        (i for i, (a, b) in enumerate(pairs) if a != b), min(len(one.nodes), len(other.nodes))
    )
    return (one if same < len(one.nodes) else other).nodes[same]


def _kept(trace: Trace) -> set[int]:
    """Storages that are there when the call has ended, though the caller has none of them."""
    return {index for index, storage in enumerate(trace.storages) if storage.cached}


def _used_again(first: Trace, second: Trace) -> set[int]:
    """Storages of a call that the next one reads."""
    return {old for new, old in second.carried.items() if second.storages[new].uses}


def _of_images(trace: Trace) -> set[int]:
    """Storages whose values depend on those of the inputs, and not on their shapes alone."""
    found = {i for i, storage in enumerate(trace.storages) if storage.role == "input"}
    for node in trace.nodes:
        if node.op.endswith("_like") or node.op.startswith("new_"):
            continue
        read = node.inputs[1:] if row(node.op).overwrites else node.inputs
        if any(info.storage in found for info in read):
            found.update(info.storage for info in node.outputs)
            found.update(node.written)
    return found


def _buffers_of(first: Trace, second: Trace) -> dict[str, int]:
    """Buffers of the second call that the first one made, and their storages in the first."""
    buffers = {e.info.storage: e.name for e in second.externals if e.role == "buffer"}
    kept = {new: old for new, old in second.carried.items() if first.storages[old].cached}
    return {buffers[new]: old for new, old in kept.items() if new in buffers}


def _changes(trace: Trace, roles: set[str]) -> Node | None:
    """The first node that changes a storage of the roles in place."""
    written = ((node, trace.storages[s]) for node in trace.nodes for s in node.written)
    return next((node for node, storage in written if storage.role in roles), None)


def _made(trace: Trace, storages: set[int]) -> str:
    births = [storage.birth for storage in map(trace.storages.__getitem__, storages)]
    return _at(trace.nodes[min(births)]) if births else ""


def _at(node: Node) -> str:
    return f" at {place(node.file, node.line)} in {node.function}" if node.file else ""


def _plain_attributes(network: nn.Module) -> dict[str, Any]:
    """Numbers, texts and tuples that modules have for attributes."""
    plain = (bool, int, float, str, tuple, type(None))
    return {
        f"{path}.{name}": repr(value)
        for path, module in named_modules(network)
        for name, value in vars(module).items()
        if isinstance(value, plain) and name != "training"
    }


def _other_size(call: Workload, alone: Trace) -> str | None:
    """Whether a call of twice the size before changes a call; None if it does not."""
    larger = replace(call, args=_random(call.args, 2), kwargs=_random(call.kwargs, 2))
    try:
        after = run_program([larger, call]).calls[1]
    except SrprofError:  # it does not take that size
        return None
    if _steps(after) == _steps(alone):
        return None
    other = _at(_first_other(after, alone))
    return f"its code keeps for later calls what it makes of the first size; they differ{other}"


def _kept_wrongly(network: nn.Module, call: Workload) -> str | None:
    """Which results what is kept changes, by real calls of copies of the network; None if none.

    A call of another size is half the size or twice, whichever the network takes.
    """

    def result(*factors: float) -> Any:
        """That of the last of some calls of a fresh copy, at these multiples of the size."""
        with untouched(network), torch.no_grad():
            model = copied_model(network, {})
            for factor in factors:
                torch.manual_seed(0)
                args, kwargs = _random((call.args, call.kwargs), factor)
                last = model(*args, **kwargs)
            return last

    def differs(before: float) -> bool:
        again = without_gpu(partial(result, before, 1))
        return not compare("", None, fresh, again).identical

    with torch.random.fork_rng(devices=[]):
        fresh = without_gpu(partial(result, 1))
        if differs(1):
            return f"with which the next call gives other results; {_CALL_ONCE}"
        for factor in (0.5, 2):
            with suppress(Exception):  # it does not take that size
                return "for one size, and uses it for others" if differs(factor) else None
    return None


def _random(arguments: Any, factor: float) -> Any:
    """Arguments with random numbers in their tensors; images' heights and widths are multiplied."""

    def replaced(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point():
            return tensor
        if tensor.dim() < 4 or factor == 1:
            return torch.rand_like(tensor)
        height, width = (max(1, int(side * factor)) for side in tensor.shape[-2:])
        return tensor.new_empty((*tensor.shape[:-2], height, width)).uniform_()

    return pytree.tree_map_only(torch.Tensor, replaced, arguments)
