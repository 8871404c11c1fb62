"""A network as a graph of ATen calls, by `torch.export`, and for which calls the graph holds."""

from __future__ import annotations

import copy
import inspect
import logging
import operator
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from time import thread_time
from traceback import FrameSummary, StackSummary
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, GraphModule
from torch.fx import Node as FxNode
from torch.fx.graph import _PyTreeCodeGen
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils import _pytree as pytree

from srprof import networks
from srprof.blame import blame, is_user_file
from srprof.errors import InputError
from srprof.paths import place
from srprof.tracing.fast_path import fast_paths
from srprof.tracing.isolation import replaced
from srprof.tracing.recorder import tensors_in

Kwargs = dict[str, object]

#: For so long a graph for all sizes is tried; expressions of windowed networks grow without end.
#: After that the graph is of the one size, and each further size takes one of its own.
SYMBOLIC_SECONDS = 15.0

#: Nodes that check what `Captured.conditions` checks already.
_CHECKS = ("aten._assert_scalar", "aten.sym_constrain_range", "aten._assert_tensor_metadata")


class RefusedError(InputError):
    """A network, or a call of it, whose behaviour a lean one cannot keep; says why."""


@dataclass(frozen=True)
class Captured:
    """A graph with what is needed to run it.

    Attributes:
        graph: placeholders are the tensors of the call, in their order; `get_attr` nodes name the
            network's parameters and buffers by their paths, or one of `constants`.
        constants: tensors that the code made of numbers, by the name that the graph has for them.
        conditions: Python expressions in the placeholders' names; the graph holds for a call for
            which all are true.
        result: how the tensors lie in the result's containers.
    """

    graph: Graph
    constants: dict[str, torch.Tensor]
    conditions: tuple[str, ...]
    result: pytree.TreeSpec


def stand_in(value: Any, device: str | None = None) -> Any:
    """A tensor as another lies in memory, without its values; what is no tensor as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    on = device or value.device
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=on)


class _UserFrames:
    """In the place of torch's traceback of a node: it would look up the text of every line."""

    @staticmethod
    def extract() -> type[_UserFrames]:
        return _UserFrames

    @staticmethod
    def summary() -> StackSummary:
        """The frames that are the user's, or run a module of torch's, the outermost first."""
        frames: list[FrameSummary] = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            if code.co_name == "forward" or is_user_file(code.co_filename):
                where = code.co_filename, frame.f_lineno, code.co_name
                frames.append(FrameSummary(*where, lookup_line=False, line=""))
            frame = frame.f_back
        return StackSummary.from_list(frames[::-1])


#: What compiles a graph to Python.
_recompile = GraphModule.recompile


def _compile_when_called(module: GraphModule) -> None:
    """In the place of `GraphModule.recompile`: hardly any module of an export is ever called."""
    if isinstance(module._graph._codegen, _PyTreeCodeGen):
        found = module._graph._codegen.pytree_info
        module._in_spec, module._out_spec = found.in_spec, found.out_spec

    def forward(self: GraphModule, *args: Any, **kwargs: Any) -> Any:
        _recompile(self)
        return self(*args, **kwargs)

    type(module).forward = forward  # each has a class of its own


@contextmanager
def _quickly() -> Iterator[None]:
    """What makes an export of a large network quicker, and no different."""
    unneeded = [
        (torch.fx.proxy, "CapturedTraceback", _UserFrames),
        (GraphModule, "recompile", _compile_when_called),
    ]
    with replaced(unneeded):
        yield


@_quickly()
def capture(
    network: nn.Module, args: Sequence[Any], kwargs: Kwargs, *, any_size: bool = True
) -> Captured:
    """A graph of this call of the network, which must be in evaluation mode.

    Args:
        any_size: let each size of each tensor vary where the code lets it; sizes of 1 never do.

    Raises:
        RefusedError: the call cannot be exported, or not be kept as a graph; with the reason.
    """
    # an export that fails leaves its marks on the tensors that it had
    call: tuple[tuple[Any, ...], Kwargs] = (tuple(args), dict(kwargs))
    call = pytree.tree_map_only(torch.Tensor, torch.Tensor.detach, call)
    try:
        # its copy has the same tensors; what its code keeps on itself is lost
        weights = {id(weight): weight for weight in networks.weights(network)}
        exported = _export(copy.deepcopy(network, weights), *call, any_size)
        module = exported.module(check_guards=False)
    except RefusedError:
        raise
    except Exception as error:
        raise RefusedError(f"{_reason(error)}; srprof advise works without export") from error
    conditions = _conditions(exported, module)
    devices = {tensor.device.type for tensor in tensors_in(call)}
    for node in list(module.graph.nodes):
        if node.target == "_guards_fn" or str(node.target).startswith(_CHECKS):
            module.graph.erase_node(node)
        else:
            _check_kept(node, devices)
    return Captured(module.graph, _constants(network, module), conditions, module._out_spec)


def _export(network: nn.Module, args: tuple[Any, ...], kwargs: Kwargs, any_size: bool) -> Any:
    shapes = None
    if any_size:
        by_name = inspect.signature(network.forward).bind(*args, **kwargs).arguments
        shapes = {name: pytree.tree_map(open_sizes, value) for name, value in by_name.items()}
    limit = _deadline(SYMBOLIC_SECONDS) if any_size else nullcontext()
    quiet = warnings.catch_warnings(record=True)
    with quiet as caught, torch.no_grad(), quiet_torch(), limit, fast_paths():
        warnings.simplefilter("always")
        exported = torch.export.export(network, args, kwargs, dynamic_shapes=shapes, strict=False)
    for warning in caught:
        if kept := re.match(r"The tensor attributes? (.*) w\w+ assigned", str(warning.message)):
            raise RefusedError(f"its code keeps tensors in attributes ({kept[1]})")
    return exported


def open_sizes(value: Any) -> dict[int, Any] | None:
    """The axes of a tensor that `torch.export` may let vary: those of more than one element."""
    if not isinstance(value, torch.Tensor):
        return None
    return {axis: torch.export.Dim.AUTO for axis, size in enumerate(value.shape) if size > 1}


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise in the first module that is called when the time is over."""
    end = thread_time() + seconds

    def check(_module: nn.Module, _args: Any) -> None:
        if thread_time() > end:
            raise TimeoutError("its sizes take too long to follow as expressions")

    hook = register_module_forward_pre_hook(check)
    try:
        yield
    finally:
        hook.remove()


def _reason(error: Exception) -> str:
    where = blame(error)
    if type(error).__name__ == "GuardOnDataDependentSymNode":
        at = f" at {place(where.file, where.line)}" if where.file else ""
        return f"the way its code takes depends on values of a tensor{at}"
    return f"torch.export fails: {where.describe(error)}"


@contextmanager
def quiet_torch() -> Iterator[None]:
    """Without what torch logs and prints of a call that it cannot export; the error says it."""
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _conditions(exported: Any, module: GraphModule) -> tuple[str, ...]:
    """What the sizes of a call must be: fixed ones, ranges, equal ones, and the code's own ifs."""
    ranges = exported.range_constraints
    conditions: list[str] = []
    first: dict[Any, str] = {}
    for node in module.graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor):
            continue
        conditions.append(f"{node.target}.dim() == {value.dim()}")
        sizes: list[Any] = list(value.shape)  # numbers, and symbols where they may vary
        for axis, size in enumerate(sizes):
            here = f"{node.target}.size({axis})"
            if isinstance(size, int):
                conditions.append(f"{here} == {size}")
                continue
            symbol = size.node.expr
            if symbol in first:
                conditions.append(f"{here} == {first[symbol]}")
                continue
            first[symbol] = here
            allowed = ranges.get(symbol)
            conditions.append(f"{here} >= {max(2, int(allowed.lower)) if allowed else 2}")
            if allowed is not None and allowed.upper.is_Integer:
                conditions.append(f"{here} <= {allowed.upper}")
    guards = getattr(exported, "_guards_code", None)
    if guards is None and first:
        raise RefusedError("this torch does not tell for which sizes an exported graph holds")
    for guard in guards or ():  # `L['x'].size()[2]` is `x.size(2)` in a plan
        named = re.sub(r"L\['(\w+)'\]", r"\1", guard)
        conditions.append(re.sub(r"\.size\(\)\[(\d+)\]", r".size(\1)", named))
    return tuple(conditions)


def _check_kept(node: FxNode, devices: set[str]) -> None:
    """Refuse what cannot be told by looking at its arguments and results, and other devices.

    A plan's devices are its inputs'.
    """
    for value in (*node.args, *node.kwargs.values()):
        if isinstance(value, torch.device) and devices != {value.type}:
            raise RefusedError(f"its code moves tensors to {value.type} ({node.target})")
    if node.op in ("placeholder", "get_attr", "output"):
        return
    if node.op != "call_function":
        raise RefusedError(f"the graph calls {node.target}")
    if isinstance(node.target, torch._ops.OpOverload):
        name = str(node.target)
        if torch.Tag.data_dependent_output in node.target.tags or name.startswith("aten.item"):
            raise RefusedError(f"its code reads a value of a tensor ({name})")
        if torch.Tag.dynamic_output_shape in node.target.tags and not _indexes_by_number(node):
            raise RefusedError(f"the size of a result depends on values ({name})")
        trains = node.target is torch.ops.aten.batch_norm.default and node.args[5]
        if trains and node.args[3] is not None:
            raise RefusedError(f"it trains: {name} changes running statistics")
    elif getattr(node.target, "__module__", "") not in ("_operator", "math", "torch"):
        raise RefusedError(f"the graph calls {node.target}")


def _indexes_by_number(node: FxNode) -> bool:
    """Whether it is `x[indices]`, whose size is that of the indices unless they are a mask."""
    if node.target is not torch.ops.aten.index.Tensor:
        return False
    indices = [index for index in node.args[1] if isinstance(index, FxNode)]  # type: ignore[union-attr]  # a list, by the schema of index
    return all(index.meta["val"].dtype not in (torch.bool, torch.uint8) for index in indices)


def _constants(network: nn.Module, module: GraphModule) -> dict[str, torch.Tensor]:
    """Tensors that the graph names and that are no parameters or buffers of the network."""
    own = set(networks.paths(network))
    return {
        node.target: operator.attrgetter(node.target)(module).detach()
        for node in module.graph.find_nodes(op="get_attr")
        if node.target not in own
    }
