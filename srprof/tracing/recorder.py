"""The recorder: one call of a model, every ATen call of it written down.

A `TorchDispatchMode` sees each call after autograd and before the kernel. Two rules make its
lifetimes true:

- It holds no tensor and no storage past the call that it is handed: shapes and integers only.
- It never reads `frame.f_locals` while the run goes on, because up to Python 3.12 that leaves a
  copy of the locals on the frame, which keeps a tensor alive after its variable was bound to
  something else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import cache
from threading import RLock, get_ident
from types import CodeType, FrameType
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from srprof.blame import function_name, is_user_file
from srprof.dtypes import check_operands
from srprof.inputs import parts_of
from srprof.meta_kernels import OF_CUDNN, shortcut
from srprof.networks import named_buffers, named_modules, named_parameters
from srprof.operators import opaque
from srprof.operators.standing import ruled
from srprof.records import RULED, External, ModuleCall, Node, Role, TensorInfo, TensorRef, Where
from srprof.running import in_run, replaced, reserved
from srprof.tracing.autocast import emulation
from srprof.tracing.deferral import Deferral
from srprof.tracing.ledger import Ledger
from srprof.tracing.modules import kind_of, weight_shape
from srprof.tracing.threads import following, starter_of
from srprof.tracing.unseen import eager

#: A check that an exported program carries; it holds for the device it was exported on only.
_EXPORT_CHECK = "aten::_assert_tensor_metadata"
#: Not a computation: how a fake tensor is asked for its device.
_QUERY = "prim::device"

#: The function around one that `torch.compile` compiles.
_COMPILED = "compile_wrapper"

#: Which mode on torch's stack makes tensors fake.
_FAKE = torch._C._TorchDispatchModeKey.FAKE

_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd

#: Type of the device that the model's tensors are on, by where the trace runs.
DEVICE_TYPES = {"meta": "meta", "cpu": "cpu", "cuda-fake": "cuda"}


class _Schema(NamedTuple):
    """What the recorder needs of an operator's schema: arguments by position (and name)."""

    op: str
    overload: str
    written: tuple[tuple[int, str], ...]
    tensors: tuple[int, ...]

    def targets(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[torch.Tensor]:
        """The tensors that a call changes in place."""
        return tensors_in(
            [args[i] if i < len(args) else kwargs.get(name) for i, name in self.written]
        )


#: What most arguments are that are no tensors, and have none in them.
_PLAIN = frozenset({int, float, bool, str, type(None), torch.dtype, torch.device, torch.layout})

#: Bytes of the tensor that torch wraps a Python number in, where a call takes a tensor.
_WRAPPED_NUMBER = {bool: 1, int: 8, float: 8, complex: 16}


@cache
def _read_schema(func: Any) -> _Schema:
    namespace, _, op = func._schema.name.removeprefix(RULED).partition("::")
    arguments = list(enumerate(func._schema.arguments))
    return _Schema(
        op if namespace == "aten" else f"{namespace}.{op}",
        func._overloadname,
        tuple((i, a.name) for i, a in arguments if a.alias_info and a.alias_info.is_write),
        tuple(i for i, a in arguments if str(a.type) == "Tensor"),
    )


def tensors_in(value: Any, inside: frozenset[int] = frozenset()) -> Iterator[torch.Tensor]:
    """The tensors in nested lists, tuples, mappings and dataclass-like results, in order.

    `inside` are the containers around it, by identity, of which one may contain itself.
    """
    if isinstance(value, torch.Tensor):
        yield value
    elif type(value) not in _PLAIN and id(value) not in inside:
        inside |= {id(value)}
        for part in value if isinstance(value, set) else parts_of(value):
            yield from tensors_in(part, inside)


class Recorder(TorchDispatchMode):
    """Records every ATen call made while it is active; see `recording`.

    Args:
        model: the model that will run; its modules give the paths. It is not changed.
        device: type of the device that the model's tensors are on: "meta", "cpu" or "cuda" (fake).
        on_node: called with this recorder when a node has ended, before its result is handed
            back; what it raises ends the run.
        before: the ledger of what the same model did before, where the two belong together.
        defer: on meta, large work in main memory waits until a value is read (`Deferral`).
        around: gives a context that is entered for the kernel's own part of each node, and for
            nothing else: an instrument reads there what the kernel took.
    """

    def __init__(
        self,
        model: nn.Module,
        device: str,
        on_node: Callable[[Recorder], None] | None = None,
        around: Callable[[], AbstractContextManager[object]] = nullcontext,
        before: Ledger | None = None,
        defer: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self.device = device
        self._fake = device == "cuda" and torch._C._get_dispatch_mode(_FAKE) is not None
        self.nodes: list[Node] = []
        self.externals: list[External] = []
        self.calls: list[ModuleCall] = []
        self.ledger = Ledger(device, before)
        self.mixed_ops: set[str] = set()
        self.deferral = Deferral() if defer and device == "meta" else None
        self._lock = RLock()  # threads take turns, call by call
        self._module_stacks = {get_ident(): [""]}
        self.raised_in = ""
        self.failed_call: tuple[str, tuple[tuple[int, ...], ...]] | None = None
        self.unseen: set[str] = set()
        self.compiled: frozenset[str] = frozenset()
        self._codes: set[CodeType] = set()
        self._on_node = on_node
        self._around = around
        self._paths = {id(module): path for path, module in named_modules(model)}
        #: Paths of tensors that modules keep beside parameters and buffers; views of these too.
        self._kept = {
            id(value): f"{path}.{name}".lstrip(".")
            for path, module in named_modules(model)
            for name, value in vars(module).items()
            if isinstance(value, torch.Tensor)
        }
        self._source_by_id: dict[int, tuple[TensorRef, int]] = {}
        for name, parameter in named_parameters(model):
            self.add_external(parameter, name, "parameter")
        for name, buffer in named_buffers(model):
            self.add_external(buffer, name, "buffer")
        self.ledger.take_over()

    @property
    def module_stack(self) -> list[str]:
        """Paths of the modules whose `forward` is running in this thread, the innermost last."""
        ident = get_ident()
        stack = self._module_stacks.get(ident)
        if stack is None:
            starter = starter_of(ident) or 0
            stack = self._module_stacks[ident] = [self._module_stacks.get(starter, [""])[-1]]
        return stack

    def enter_thread(self, ident: int) -> None:
        """A thread of the network begins, or takes up another task."""
        if ident in self._module_stacks:
            del self._module_stacks[ident]

    def progress(self) -> tuple[int, bool]:
        """How many calls have ended, and whether another thread is in the middle of one."""
        free = self._lock.acquire(blocking=False)
        if free:
            self._lock.release()
        return len(self.nodes), not free

    def starts_process(self) -> None:
        """The network starts a process, whose calls nobody sees."""
        self.unseen.add("processes")

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # torch asks. Yes (the default) would import torch._dynamo at the first call, which takes
        # a second, and guards against compiling this mode, which nothing here does.
        return False

    def add_external(self, tensor: torch.Tensor, name: str, role: Role) -> TensorRef:
        """Register a tensor that the run did not make; gives the reference to it."""
        storage = self.ledger.register(tensor, role, -1, name)
        ref = TensorRef(-1, len(self.externals))
        self.externals.append(External(name, role, _info(tensor, storage)))
        self._source_by_id[id(tensor)] = (ref, storage)
        return ref

    def add_inputs(self, args: Iterable[object], kwargs: Mapping[str, object]) -> None:
        """Register the tensors of the call as its inputs."""
        named = [(f"input_{i}" if i else "input", value) for i, value in enumerate(args)]
        for name, value in (*named, *kwargs.items()):
            for part, tensor in enumerate(tensors_in(value)):
                self.add_external(tensor, f"{name}_{part}" if part else name, "input")

    def _read(self, tensor: torch.Tensor) -> tuple[TensorRef, TensorInfo]:
        """Where an argument comes from, and what it is."""
        known = self.ledger.index_of(tensor)
        storage = -1 if known is None else known
        source = self._source_by_id.get(id(tensor))
        if source is not None and source[1] == storage and storage >= 0:
            return source[0], _info(tensor, storage)
        name = self._kept.get(id(tensor))
        ref = None if storage < 0 or name else self._first_tensor_of(storage)
        if ref is not None:
            return ref, _info(tensor, storage)
        ref = self.add_external(tensor, name or f"constant_{len(self.externals)}", "constant")
        return ref, self.externals[ref.output].info

    def _first_tensor_of(self, storage: int) -> TensorRef | None:
        """What stands in for a tensor that was made without a call, such as `x.data`."""
        birth = self.ledger.lifetimes[storage].birth
        externals = (external.info for external in self.externals)
        infos = enumerate(externals if birth < 0 else self.nodes[birth].outputs)
        return next((TensorRef(birth, i) for i, info in infos if info.storage == storage), None)

    def place(self) -> tuple[str, str, int, str]:
        """Module, file, line and function that a call is made for, while it is made."""
        self._look_for_compilers()
        return self.module_stack[-1], *user_line()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        with self._lock:
            return self._record(func, args, kwargs or {})

    def _record(self, func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        if torch.is_inference_mode_enabled() and torch._C._dispatch_has_kernel_for_dispatch_key(
            func.name(), _COMPOSITE
        ):
            # It arrives whole here; take it apart as outside inference mode. `func.decompose`
            # would take torch's references where there are some.
            cast = emulation()
            with self, nullcontext() if cast is None else cast.resumed():
                return func._op_dk(_COMPOSITE, *args, **kwargs)
        schema = _read_schema(func)
        if func._schema.name == _EXPORT_CHECK:
            return None
        if func._schema.name == _QUERY or func.namespace == "profiler":
            return func(*args, **kwargs)
        index = len(self.nodes)
        inputs: list[TensorInfo] = []
        arguments = (self._encode(args, inputs), self._encode(kwargs, inputs))
        try:
            with self._around():
                result = self._call(func, schema, args, kwargs)
        except Exception:
            self.failed_call = schema.op, tuple(i.shape for i in inputs)
            raise

        first_new = len(self.ledger)
        written = self._written(schema, args, kwargs)
        outputs: list[TensorInfo] = []
        for position, tensor in enumerate(tensors_in(result)):
            storage = self.ledger.register(tensor, "activation", index)
            outputs.append(_info(tensor, storage))
            self._source_by_id[id(tensor)] = (TensorRef(index, position), storage)
        created = range(first_new, len(self.ledger))
        # what torch made tensors of (`x * 2`)
        numbers = [type(args[i]) for i in schema.tensors if i < len(args)]
        sizes = [_WRAPPED_NUMBER[kind] for kind in numbers if kind in _WRAPPED_NUMBER]
        wrapped = sum(map(self.ledger.add_number, sizes))
        for storage in {i.storage for i in inputs}.union(written):
            if 0 <= storage < first_new:
                self.ledger.lifetimes[storage].uses.append(index)
        self.nodes.append(
            Node(
                *(index, schema.op, schema.overload, *self.place()),
                inputs=tuple(inputs),
                outputs=tuple(outputs),
                created=tuple(created),
                written=tuple(i for i in written if i < first_new),
                arguments=arguments,
                live=self.ledger.live + wrapped,
                ruled=ruled(func, args, kwargs),
                opaque=opaque.is_inside(),
                on=self._where(schema.op, inputs, [*(i.storage for i in outputs), *written]),
            )
        )
        self.ledger.clock = len(self.nodes)
        if self._on_node is not None:
            self._on_node(self)
        return result

    def empty_cache(self) -> None:
        """Note that the code has the allocator give its cache back; this machine's keeps it."""
        if self.nodes:
            now = self.ledger.clock
            gone = tuple(i for i, life in enumerate(self.ledger.lifetimes) if life.death == now)
            self.nodes[-1] = replace(self.nodes[-1], emptied=gone)

    def _encode(self, value: Any, inputs: list[TensorInfo]) -> Any:
        """Arguments with each tensor replaced by a reference, and `inputs` filled in order."""
        if isinstance(value, torch.Tensor):
            ref, info = self._read(value)
            inputs.append(info)
            return ref
        if type(value) in _PLAIN:
            return value
        if isinstance(value, (list, tuple)):
            return tuple(self._encode(item, inputs) for item in value)
        if isinstance(value, dict):
            return {key: self._encode(item, inputs) for key, item in value.items()}
        return value

    def _written(self, schema: _Schema, args: tuple[Any, ...], kwargs: Any) -> list[int]:
        """Indices of the storages that the call changes in place."""
        birth, written = len(self.nodes), schema.targets(args, kwargs)
        storages = [self.ledger.register(tensor, "activation", birth) for tensor in written]
        return list(dict.fromkeys(storages))

    def _look_for_compilers(self) -> None:
        """See whether `torch.compile` was to compile the function that makes a call."""
        if "torch._dynamo" not in sys.modules:  # `torch.compile` has not been asked for anything
            return
        frames = (frame for frame in stack() if is_user_file(frame.f_code.co_filename))
        code = next((frame.f_code for frame in frames), None)
        if code is None or code in self._codes:
            return
        self._codes.add(code)
        inner: CodeType | None = None  # a module that is compiled is found by itself
        for frame in stack():
            code = frame.f_code
            if inner and code.co_name == _COMPILED and "_dynamo" in code.co_filename:
                self.compiled |= {function_name(inner)}
            inner = code if is_user_file(code.co_filename) else inner

    def _where(self, op: str, inputs: Iterable[TensorInfo], results: Iterable[int]) -> Where:
        """Where a call works, by the storages that it reads and those that it makes or changes."""
        lifetimes = self.ledger.lifetimes
        made = {lifetimes[storage].host for storage in results if storage >= 0}
        from_ = list(inputs)[1:] if op == "copy_" else inputs
        read = {lifetimes[info.storage].host for info in from_ if info.storage >= 0}
        if (made or read) == {True}:
            return "to-host" if False in read else "host"
        return "to-device" if read == {True} and made else "device"

    def _call(self, func: Any, schema: _Schema, args: tuple[Any, ...], kwargs: Any) -> Any:
        """Make the call, as a GPU would where a device without data stands for one."""
        if self.device == "meta":
            return self._call_on_meta(func, schema, args, kwargs)
        result = NotImplemented
        if self._fake and func in OF_CUDNN:
            result = shortcut(func, args, kwargs)
        return func(*args, **kwargs) if result is NotImplemented else result

    def _call_on_meta(self, func: Any, schema: _Schema, args: tuple[Any, ...], kwargs: Any) -> Any:
        """Make the call, with main-memory tensors (made without `device=`) brought to meta.

        The trace names the op.
        """
        op = schema.op
        check_operands(op, args)
        result = shortcut(func, args, kwargs)
        if result is not NotImplemented:
            return result
        operands = list(tensors_in((args, kwargs)))
        if self.deferral is not None:
            written = list(schema.targets(args, kwargs))
            result = self.deferral.call(func, op, args, kwargs, operands, written)
            if result is not NotImplemented:
                return result
        devices = {t.device.type for t in operands if t.dim() > 0}
        if self.deferral is not None:
            args, kwargs = self.deferral.bare((args, kwargs), operands, written)
        if len(devices) > 1 and op not in ("copy_", "_to_copy"):
            if not op.lstrip("_").startswith("index"):  # a GPU takes indices from main memory
                self.mixed_ops.add(op)
            args, kwargs = tree_map_only(
                torch.Tensor, lambda t: t.to("meta") if t.dim() else t, (args, kwargs)
            )
        return func(*args, **kwargs)

    def sees(self, module: nn.Module) -> bool:
        """Whether a module runs for the network, and not in a thread of the caller's program."""
        followed = in_run()
        if not followed and id(module) in self._paths:
            self.unseen.add("threads")
        return followed

    def enter_module(self, module: nn.Module, _args: Any) -> None:
        """Hook: a module's `forward` is about to run."""
        self.module_stack.append(self._paths.get(id(module), self.module_stack[-1]))

    def leave_module(self, module: nn.Module, args: Any, output: Any) -> None:
        """Hook: a module's `forward` has returned or raised."""
        if not self.raised_in and sys.exc_info()[1] is not None:
            self.raised_in = self.module_stack[-1]
        if len(self.module_stack) > 1:
            self.module_stack.pop()
        path = self._paths.get(id(module))
        if path is None:
            return  # not a child of the model: a global activation, say
        read, made = (next(tensors_in(value), None) for value in (args, output))
        shapes = (() if tensor is None else tuple(tensor.shape) for tensor in (made, read))
        output_shape, input_shape = shapes
        weight = weight_shape(module)
        self.calls.append(ModuleCall(path, kind_of(module), output_shape, weight, input_shape))

    def finish(self, result: Any) -> tuple[Node, ...]:
        """The nodes, when no more is asked of the ledger; `result` is what the model returned."""
        self.settle(result)
        self.ledger.forget()
        return tuple(self.nodes)

    def settle(self, result: Any) -> None:
        """Enter what only the end of the call tells; `result` is what the model returned."""
        for tensor in tensors_in(result):
            index = self.ledger.index_of(tensor)
            if index is not None:
                self.ledger.lifetimes[index].returned = True
        gone = [s for s in self.ledger.release_residents() if not s.host]
        for i in range(max((s.death for s in gone), default=0)):
            more = sum(s.nbytes for s in gone if i < s.death)
            self.nodes[i] = replace(self.nodes[i], live=self.nodes[i].live + more)

    def references_in(self, result: Any, inside: frozenset[int] = frozenset()) -> Any:
        """The model's result as tuples and dicts, each tensor replaced by a reference.

        `inside` as for `tensors_in`; what contains itself stands there as None.
        """
        if isinstance(result, torch.Tensor):
            return self._encode(result, [])
        if isinstance(result, (bool, int, float, str)):
            return result
        if id(result) in inside:
            return None
        inside |= {id(result)}
        if isinstance(result, (list, tuple, set)):
            return tuple(self.references_in(item, inside) for item in result)
        if isinstance(result, Mapping):
            return {str(key): self.references_in(item, inside) for key, item in result.items()}
        if hasattr(result, "__dataclass_fields__"):
            names = result.__dataclass_fields__
            return {name: self.references_in(getattr(result, name), inside) for name in names}
        return None


def _info(tensor: torch.Tensor, storage: int) -> TensorInfo:
    nbytes = tensor.numel() * tensor.element_size()
    strides = tuple(tensor.stride()) if tensor.layout is torch.strided else ()
    return TensorInfo(storage, tuple(tensor.shape), _name_of(tensor.dtype), nbytes, strides)


@cache
def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def user_line() -> tuple[str, int, str]:
    """File, line and function of the innermost frame that is the user's; ("", 0, "") if none."""
    for frame in stack():
        code = frame.f_code
        if is_user_file(code.co_filename):
            return code.co_filename, frame.f_lineno, function_name(code)
    return "", 0, ""


def stack() -> Iterator[FrameType]:
    """Frames from the innermost to the model's outermost."""
    frame: FrameType | None = sys._getframe(1)
    ident: int | None = get_ident()
    while frame is not None and frame.f_code is not BOUNDARY:
        yield frame
        frame = frame.f_back
        if frame is None and ident is not None:  # of a thread: the one that waits for it
            ident = starter_of(ident)
            frame = sys._current_frames().get(ident) if ident is not None else None


@contextmanager
def recording(recorder: Recorder, *, grad: bool = False) -> Iterator[Recorder]:
    """Activate the recorder and its module hooks, and take both away again.

    `grad`: autograd records too, as outside `torch.no_grad`.
    """

    def enter(module: nn.Module, args: Any) -> None:
        if recorder.sees(module):
            recorder.enter_module(module, args)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if recorder.sees(module):
            recorder.leave_module(module, args, output)

    with (
        reserved(),
        register_module_forward_pre_hook(enter),
        register_module_forward_hook(leave, always_call=True),
        torch.set_grad_enabled(grad),
        following(recorder),
        eager(),
        replaced([(torch.cuda, "empty_cache", recorder.empty_cache), *opaque.patches()]),
        recorder,
    ):
        yield recorder


def call_model(
    model: nn.Module,
    args: Iterable[object],
    kwargs: Mapping[str, object],
    region: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Any:
    """Call the model, in a region. Frames above this one are not the model's."""
    with region():
        return model(*args, **kwargs)


BOUNDARY = call_model.__code__
