"""A network as a graph of ATen calls, by `torch.export`, and for which calls the graph holds."""

from __future__ import annotations

import inspect
import logging
import re
import sys
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from time import thread_time
from traceback import FrameSummary, StackSummary
from types import FrameType, MethodType
from typing import Any
from weakref import WeakSet

import sympy  # type: ignore[import-untyped]  # it has no types
import torch
from torch import nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Graph, GraphModule
from torch.fx import Node as FxNode
from torch.fx.experimental import proxy_tensor, symbolic_shapes
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.fx.graph import _PyTreeCodeGen
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from srprof import networks
from srprof.blame import blame, is_user_file, message
from srprof.copying import copied_model, untouched
from srprof.errors import InputError, user_raised
from srprof.leaning import alike
from srprof.paths import place
from srprof.redirect import elsewhere
from srprof.running import replaced
from srprof.tracing.fast_path import fast_paths
from srprof.tracing.recorder import tensors_in

Kwargs = dict[str, object]

#: For so long a graph for all sizes is tried; expressions of windowed networks grow without end.
#: After that the graph is of the one size, and each further size takes one of its own.
SYMBOLIC_SECONDS = 15.0
#: After so long it is given up too where at its pace it would take twice that time.
_PACE_SECONDS = 3.0

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
        fresh: it holds only until the network itself is called, which changes it.
        known: fake values of calls that passes add.
    """

    graph: Graph
    constants: dict[str, torch.Tensor]
    conditions: tuple[str, ...]
    result: pytree.TreeSpec
    fresh: bool = False
    known: dict[Any, Any] = field(default_factory=dict)


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


#: What the functions below stand in the place of.
_memory_format: Any = fake_tensor.suggest_memory_format  # type: ignore[attr-defined]  # it is there
_is_number = sympy.Expr.is_number
_from_tensor = FakeTensorMode.from_tensor
_unbacked = symbolic_shapes._free_unbacked_symbols_with_path


def _memory_format_of_numbers(tensor: torch.Tensor) -> torch.memory_format:
    """In the place of what compares symbols for an answer that is dropped where sizes are open."""
    open_sizes = tensor._has_symbolic_sizes_strides
    return torch.contiguous_format if open_sizes else _memory_format(tensor)


def _from_plain_tensor(mode: FakeTensorMode, tensor: torch.Tensor, **how: Any) -> FakeTensor:
    """In the place of what asks every mode for each of the eighty things it reads of a weight."""
    plain = type(tensor) in (torch.Tensor, nn.Parameter)
    with torch._C.DisableTorchFunction() if plain else nullcontext():
        return _from_tensor(mode, tensor, **how)


def _unbacked_where_any(value: Any, path: Any, *args: Any, **how: Any) -> Any:
    """In the place of what looks through each value for which of no symbols it has."""
    return _unbacked(value, path, *args, **how) if args or how.get("pending") else {}


def _whether_numbers() -> property:
    """In the place of what asks each part of an expression whether it is a number, every time."""
    known: dict[int, tuple[sympy.Expr, bool]] = {}  # by identity, for which it must be kept

    def is_number(expression: sympy.Expr) -> bool:
        found = known.get(id(expression))
        if found is None:
            found = known[id(expression)] = expression, _is_number.__get__(expression)
        return found[1]

    return property(is_number)


@contextmanager
def _quickly() -> Iterator[None]:
    """What makes an export of a large network quicker, and no different.

    Of its conditions some fall away: those of comparisons whose outcome nothing depends on.
    """
    unneeded = [
        (fake_tensor, "suggest_memory_format", _memory_format_of_numbers),
        (FakeTensorMode, "from_tensor", _from_plain_tensor),
        (symbolic_shapes, "_free_unbacked_symbols_with_path", _unbacked_where_any),
        (sympy.Expr, "is_number", _whether_numbers()),
        (torch.fx.proxy, "CapturedTraceback", _UserFrames),
        (GraphModule, "recompile", _compile_when_called),
        # shapes and strides once more, by comparisons of symbols, beside those of `meta["val"]`
        (proxy_tensor, "_extract_tensor_metadata", lambda _: None),
        *alike.patches(),
    ]
    with replaced(unneeded):
        yield


@contextmanager
def _without_disabled_regions() -> Iterator[None]:
    """Regions that only switch autocast off, which it is already where a plan runs, do nothing."""
    region: Any = torch.amp.autocast_mode.autocast
    make, enter, leave = region.__init__, region.__enter__, region.__exit__
    disabled: WeakSet[Any] = WeakSet()

    def made(self: Any, device_type: str, dtype: Any = None, enabled: bool = True,
             cache_enabled: bool | None = None) -> None:  # fmt: skip
        make(self, device_type, dtype, enabled, cache_enabled)
        if not enabled:
            disabled.add(self)

    def entered(self: Any) -> Any:
        return self if self in disabled else enter(self)

    def left(self: Any, *error: Any) -> Any:
        return False if self in disabled else leave(self, *error)

    patches = {"__init__": made, "__enter__": entered, "__exit__": left}
    with replaced([(region, name, patch) for name, patch in patches.items()]):
        yield


@_quickly()
@_without_disabled_regions()
def capture(
    network: nn.Module,
    args: Sequence[Any],
    kwargs: Kwargs,
    *,
    any_size: bool = True,
    made: Collection[str] = (),
    modules: int = 0,
) -> Captured:
    """A graph of this call of the network, which must be in evaluation mode.

    Args:
        any_size: let each size of each tensor vary where the code lets it; sizes of 1 never do.
        made: buffers that the call makes; `torch.export` would have it write into those before.
        modules: how many modules it calls, 0 if that is not known.

    Raises:
        RefusedError: the call cannot be exported, or not be kept as a graph; with the reason.
    """
    # an export that fails leaves its marks on the tensors that it had
    call: tuple[tuple[Any, ...], Kwargs] = (tuple(args), dict(kwargs))
    call = pytree.tree_map_only(torch.Tensor, torch.Tensor.detach, call)
    # fake tensors can be on a GPU that is not there
    no_gpu = nullcontext() if torch.cuda.is_available() else elsewhere("cpu")
    try:
        # its copy has the same tensors; what its code keeps on itself is lost
        weights = {id(weight): weight for weight in networks.weights(network)}
        with untouched(network), no_gpu:
            limit = _deadline(SYMBOLIC_SECONDS, modules) if any_size else nullcontext()
            with limit:
                exported = _export(_plain(copied_model(network, weights), made), *call, any_size)
    except RefusedError:
        raise
    except user_raised() as error:
        raise RefusedError(f"{_reason(error)}; srprof advise works without export") from error
    graph = _with_weights(exported)
    conditions = _conditions(exported, graph)
    devices = {tensor.device.type for tensor in tensors_in(call)}
    for node in list(graph.nodes):
        if str(node.target).startswith(_CHECKS):
            graph.erase_node(node)
        else:
            _check_kept(node, devices)
    return Captured(graph, _constants(network, exported), conditions, exported.call_spec.out_spec)


#: What `torch.export` asks a network for.
_ASKED = (
    *("named_modules", "named_children", "named_parameters", "named_buffers"),
    *("modules", "children", "parameters", "buffers"),
)


def _plain(network: nn.Module, made: Collection[str]) -> nn.Module:
    """The network, which is ours to change, as `torch.export` takes it.

    With torch's own methods where it has others, and buffers that it makes as plain attributes.
    """
    modules = dict(networks.named_modules(network))
    for module in modules.values():
        for name in _ASKED:
            own = getattr(nn.Module, name)
            if getattr(type(module), name) is not own:
                vars(module)[name] = MethodType(own, module)
    for parent, _, name in (path.rpartition(".") for path in made):
        if parent in modules:  # else the call makes the module too
            _as_attribute(modules[parent], name)
    return network


def _as_attribute(module: nn.Module, buffer: str) -> None:
    attributes = vars(module)
    if buffer in module._buffers:
        attributes[buffer] = module._buffers.pop(buffer)

    def register_buffer(name: str, tensor: torch.Tensor | None, persistent: bool = True) -> None:
        attributes[name] = tensor

    attributes["register_buffer"] = register_buffer


@contextmanager
def sizes_forgotten() -> Iterator[None]:
    """Free at the end what torch keeps of exports with open sizes, for which nobody looks again.

    A fake tensor's storage has a symbolic size, and that the environment which has the tensor: a
    cycle through C++, which Python's collector does not see.
    """
    made: list[ShapeEnv] = []
    init = ShapeEnv.__init__

    def noted(environment: ShapeEnv, *args: Any, **kwargs: Any) -> None:
        made.append(environment)
        init(environment, *args, **kwargs)

    try:
        with replaced([(ShapeEnv, "__init__", noted)]):
            yield
    finally:
        for environment in made:
            vars(environment).clear()
        for method in vars(ShapeEnv).values():
            getattr(method, "cache_clear", lambda: None)()


def _export(network: nn.Module, args: tuple[Any, ...], kwargs: Kwargs, any_size: bool) -> Any:
    shapes = None
    if any_size:
        by_name = inspect.signature(network.forward).bind(*args, **kwargs).arguments
        shapes = {name: pytree.tree_map(open_sizes, value) for name, value in by_name.items()}
    quiet = warnings.catch_warnings()
    # torch says less of tensors that it does not know than the graph that it makes with them
    unknown = torch._export.config.patch(error_on_lifted_constant_tensors=False)
    with quiet, torch.no_grad(), quiet_torch(), fast_paths(), unknown, _DataByCalls(network):
        warnings.simplefilter("ignore")
        exported = torch.export.export(network, args, kwargs, dynamic_shapes=shapes, strict=False)
    unseen = [name for name, value in exported.constants.items() if isinstance(value, FakeTensor)]
    if unseen:
        raise RefusedError(f"its code uses{_place_of_use(exported, unseen)} a tensor {_UNSEEN}")
    return exported


#: How torch.export loses sight of a tensor.
_UNSEEN = "that it makes out of torch.export's sight, as in another thread"


def _place_of_use(exported: Any, constants: Sequence[str]) -> str:
    """The network's line that first uses one of the constants of a graph."""
    names = exported.graph_signature.inputs_to_lifted_tensor_constants
    nodes = (
        node
        for node in exported.graph.nodes
        if any(names.get(used.name) in constants for used in node.all_input_nodes)
    )
    return next(map(_at, nodes), "")


def _at(node: FxNode) -> str:
    """The network's line that a node of a graph is made for, or else the first that uses it."""
    for one in (node, *node.users):
        stack = re.findall(r'File "(.+)", line (\d+)', one.meta.get("stack_trace") or "")
        places = [place(file, int(line)) for file, line in stack if is_user_file(file)]
        if places:
            return f" at {places[-1]}"
    return ""


class _DataByCalls(TorchFunctionMode):
    """`tensor.data`, which no graph has, as calls that it has.

    What is bound to a buffer's is copied into it; elsewhere it stands in the tensor's place.
    """

    _get, _set = torch.Tensor.data.__get__, torch.Tensor.data.__set__  # type: ignore[attr-defined]

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = network
        self._bound: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        target: Any = args[0] if args else None
        if self._bound:
            args, kwargs = pytree.tree_map_only(torch.Tensor, self._now, (args, kwargs))
        if func == self._get:
            return args[0].detach()
        if func != self._set:
            return func(*args, **(kwargs or {}))
        value = args[1]
        buffers = (buffer for _, buffer in networks.named_buffers(self._network))
        fits = (target.shape, target.dtype) == (value.shape, value.dtype)
        if fits and any(target is buffer for buffer in buffers):
            target.copy_(value)
        else:
            self._bound[id(target)] = target, value
        return None

    def _now(self, tensor: torch.Tensor) -> torch.Tensor:
        return self._bound.get(id(tensor), (tensor, tensor))[1]


def open_sizes(value: Any) -> dict[int, Any] | None:
    """The axes of a tensor that `torch.export` may let vary: those of more than one element."""
    if not isinstance(value, torch.Tensor):
        return None
    return {axis: torch.export.Dim.AUTO for axis, size in enumerate(value.shape) if size > 1}


@contextmanager
def _deadline(seconds: float, modules: int) -> Iterator[None]:
    """Raise in a module that is called when the time is over, or will be before it is done."""
    called: list[float] = []

    def check(_module: nn.Module, _args: Any) -> None:
        called.append(thread_time())
        spent = called[-1] - called[0]  # not what is imported and made before the first
        ahead = spent * modules / len(called)
        if spent > seconds or (spent > _PACE_SECONDS and ahead > 2 * seconds):
            raise TimeoutError("its sizes take too long to follow as expressions")

    hook = register_module_forward_pre_hook(check)
    try:
        yield
    finally:
        hook.remove()


#: What code does that torch speaks of otherwise.
_SAID = {
    r"Cannot access data pointer|its data is not allocated": "reads a tensor's memory{at}, as "
    "copy.deepcopy, torch.tensor(tensors) and kernels of its own do",
    r"not compiled with CUDA|No CUDA GPUs|NVIDIA driver": "asks for a GPU{at}, and there is none",
    r"numpy\(\) is not supported": "makes a NumPy array of a tensor{at}",
    r"parameter (\S+) is not an instance of torch.nn.Parameter": "is in part TorchScript ({0}), "
    "which torch.export does not take",
    r"_wrapped_call_impl\(\) got multiple values for argument '(\w+)'": "calls a module{at} with "
    "an argument named {0}, which is torch.export's own: rename it",
}


def _reason(error: BaseException) -> str:
    where = blame(error)
    at = f" at {place(where.file, where.line)}" if where.file else ""
    if type(error).__name__ == "GuardOnDataDependentSymNode":
        return f"the way its code takes depends on values of a tensor{at}"
    for said, does in _SAID.items():
        if found := re.search(said, message(error)):
            return f"its code {does.format(*found.groups(), at=at)}"
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


def _with_weights(exported: Any) -> Graph:
    """The graph with the network's tensors by their paths, and what it leaves in them written.

    As of `ExportedProgram.module()`, but without copies and without what runs it.
    """
    graph: Graph = exported.graph
    inputs, outputs = exported.graph_signature.input_specs, exported.graph_signature.output_specs
    placed: dict[str, FxNode] = {}
    for node, spec in zip(graph.find_nodes(op="placeholder"), inputs, strict=True):
        if spec.kind is InputKind.USER_INPUT:
            placed[node.name] = node
            continue
        with graph.inserting_after(node):
            weight = placed[spec.target] = graph.create_node("get_attr", spec.target)
        weight.meta = node.meta
        node.replace_all_uses_with(weight)
        graph.erase_node(node)
    output = graph.output_node()
    results: list[Any] = []
    written: dict[Any, FxNode] = {}
    for value, spec in zip(pytree.tree_leaves(output.args), outputs, strict=True):
        if spec.kind is OutputKind.USER_OUTPUT:
            results.append(value)
            continue
        with graph.inserting_before(output):
            copy = torch.ops.aten.copy_.default, (placed[spec.target], value)
            written[value] = graph.call_function(*copy)
    output.args = (tuple(written.get(value, value) for value in results),)
    return graph


def _conditions(exported: Any, graph: Graph) -> tuple[str, ...]:
    """What the sizes of a call must be: fixed ones, ranges, equal ones, and the code's own ifs."""
    ranges = exported.range_constraints
    conditions: list[str] = []
    first: dict[Any, str] = {}
    for node in graph.find_nodes(op="placeholder"):
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
            raise RefusedError(f"its code moves tensors to {value.type}{_at(node)}")
    if node.op in ("placeholder", "get_attr", "output"):
        return
    if node.op != "call_function":
        raise RefusedError(f"the graph calls {node.target}")
    if isinstance(node.target, torch._ops.OpOverload):
        name = str(node.target)
        if torch.Tag.data_dependent_output in node.target.tags or name.startswith("aten.item"):
            raise RefusedError(f"its code reads a value of a tensor{_at(node)} ({name})")
        if torch.Tag.dynamic_output_shape in node.target.tags and not _indexes_by_number(node):
            raise RefusedError(f"the size of a result depends on values{_at(node)} ({name})")
        trains = node.target is torch.ops.aten.batch_norm.default and node.args[5]
        if trains and node.args[3] is not None:
            raise RefusedError(f"it trains: {name} changes running statistics{_at(node)}")
    elif str(node.target) == "wrap_with_autocast":
        raise RefusedError(
            f"a region of autocast{_at(node)} chooses dtypes call by call; convert the "
            "network with .half() instead"
        )
    elif getattr(node.target, "__module__", "") not in ("_operator", "math", "torch"):
        raise RefusedError(f"its code calls {node.target}{_at(node)}, which no plan has")


def _indexes_by_number(node: FxNode) -> bool:
    """Whether it is `x[indices]`, whose size is that of the indices unless they are a mask."""
    if node.target is not torch.ops.aten.index.Tensor:
        return False
    indices = [index for index in node.args[1] if isinstance(index, FxNode)]  # type: ignore[union-attr]  # a list, by the schema of index
    return all(index.meta["val"].dtype not in (torch.bool, torch.uint8) for index in indices)


def _constants(network: nn.Module, exported: Any) -> dict[str, torch.Tensor]:
    """Tensors that the graph names and that are no parameters or buffers of the network."""
    own = set(networks.paths(network))
    known = {**exported.state_dict, **exported.constants}
    return {
        node.target: known[node.target].detach()
        for node in exported.graph.find_nodes(op="get_attr")
        if node.target not in own
    }
