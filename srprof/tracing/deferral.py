"""Work in main memory, put off until somebody reads a value of it.

A Swin transformer makes its masks on the CPU, in each block of each call, and then copies them. On
the meta device the copy has no values, so that making them is work for nothing, and at the size of
an image most of a trace's time. Here such calls are only noted: what they make says that it is on
the CPU and has shape, strides and a storage, without memory behind it. Where a value is read (by
Python, NumPy, or a call whose result's shape depends on it) all that was noted is done, in its
order, and the reader gets what he would have got.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.utils._python_dispatch import _disable_current_modes

from srprof import ops
from srprof.blame import message
from srprof.meta_kernels import shortcut

#: Elements from which on a tensor is worth it, and what an operand may have to be kept for later.
LARGE = 2**16
#: Elements of all operands below which no result is thought to be large.
_FEW = 2**10

_CPU, _META = torch.device("cpu"), torch.device("meta")
#: How torch asks such a tensor for its device.
_DEVICE = torch.ops.prim.device.default
#: Calls after which a tensor shows another storage, or another part of it.
_RESIZES = ("resize_", "resize_as_", "set_")
#: What only moves and computes values, and so can wait; calls with other tags cannot.
_CAN_WAIT = ("elementwise", "movement", "view")
_READS_VALUES = {
    torch.Tag.data_dependent_output,
    torch.Tag.dynamic_output_shape,
    torch.Tag.nondeterministic_seeded,
    torch.Tag.inplace_view,
}


#: What torch says where it gets at a tensor's memory and no call could be seen.
_NO_VALUES = re.compile("tensor subclass|data pointer|not allocated yet|for 'meta' device|Deferred")


class NotDeferrableError(BaseException):
    """A call that the stand-ins cannot follow; not an Exception, so that models let it pass."""


class _Block:
    """A storage in main memory; `data` when it has been made.

    Attributes:
        exposed: what srprof does not see may read and write it, as an array of NumPy's does.
    """

    __slots__ = ("data", "exposed")

    def __init__(self) -> None:
        self.data: torch.UntypedStorage | None = None
        self.exposed = False


@dataclass(frozen=True, slots=True)
class _Region:
    """The part of a block that a tensor shows."""

    block: _Block
    nbytes: int
    dtype: torch.dtype
    offset: int
    size: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, block: _Block, tensor: Tensor) -> _Region:
        nbytes = tensor.untyped_storage().nbytes()
        size, strides = tuple(tensor.shape), tuple(tensor.stride())
        return cls(block, nbytes, tensor.dtype, int(tensor.storage_offset()), size, strides)

    def on(self, storage: torch.UntypedStorage, device: torch.device = _CPU) -> Tensor:
        """The tensor that shows the part in a storage."""
        empty = torch.empty(0, dtype=self.dtype, device=device)
        return empty.set_(storage, self.offset, self.size, self.strides)

    def real(self) -> Tensor:
        """The tensor, with its data."""
        assert self.block.data is not None
        return self.on(self.block.data)

    def keep(self, made: Tensor) -> None:
        """Take what a call has made for the block's data."""
        if _Region.of(self.block, made) == self:
            self.block.data = made.untyped_storage()
            return
        self.block.data = torch.UntypedStorage(self.nbytes)  # meta has other strides
        self.real().copy_(made)


class _Call(NamedTuple):
    """A call that waits, with regions for the tensors that wait; `made` for its new ones."""

    func: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    made: tuple[_Region | None, ...]


class Deferred(Tensor):
    """A tensor in main memory whose values wait: a meta tensor that says it is on the CPU."""

    _block: _Block
    _deferral: Deferral

    #: As the subclass's own, they are read without a call of torch.
    device = property(lambda _: _CPU)
    is_cpu, is_meta = True, False

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def made_of(bare: Tensor, block: _Block, deferral: Deferral) -> Deferred:
        """One with the storage of a meta tensor."""
        made: Deferred = Tensor._make_subclass(
            Deferred, bare, False, dispatch_device=True, device_for_backend_keys=_CPU
        )
        torch._C._set_throw_on_mutable_data_ptr(made)  # no kernel gets at it
        made._block, made._deferral = block, deferral
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch types its own as no method
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """A call outside of the run that is recorded: with the values."""
        if func is _DEVICE:
            return _CPU
        try:
            return for_real(func, args, kwargs or {})
        except NotDeferrableError as error:
            what = f"a tensor that is left of a run that srprof has recorded ({error})"
            raise RuntimeError(f"{func} cannot change {what}: make it anew") from None

    @property
    def region(self) -> _Region:
        """What it shows."""
        return _Region.of(self._block, self)

    def bare(self) -> Tensor:
        """The meta tensor that it is."""
        return self.region.on(self.untyped_storage(), _META)

    def filled(self) -> Tensor:
        """The tensor with its values, when all that waits is done."""
        self._deferral.fill()
        with _disable_current_modes():
            return self.region.real()

    def _handed_out(self) -> Tensor:
        """The tensor with its values, for somebody who keeps its memory."""
        self._block.exposed = True
        return self.filled()

    # what torch answers without a call that could be seen

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        return self._handed_out().numpy(*args, **kwargs)

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        return self._handed_out().__dlpack__(*args, **kwargs)

    def data_ptr(self) -> int:
        return self._handed_out().data_ptr()

    def tolist(self) -> Any:
        return self.filled().tolist()

    def __repr__(self) -> str:  # type: ignore[override]  # torch's has an option of its own
        return repr(self.filled())

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        twin: Tensor = copy.deepcopy(self.filled(), memo)
        memo[id(self)] = twin
        return twin

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.filled().__reduce_ex__(protocol)


class Deferral:
    """The calls of a run that wait.

    Attributes:
        refused: a call could not be followed; the run is to be made again with all values.
    """

    def __init__(self) -> None:
        self.refused = False
        self._waiting: list[_Call] = []

    def call(
        self,
        func: Any,
        op: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        operands: Sequence[Tensor],
        written: Sequence[Tensor],
    ) -> Any:
        """The result of a call in main memory; `NotImplemented` where it is none, or small.

        Args:
            operands: all tensors among its arguments; written: those that it changes.

        Raises:
            NotDeferrableError: what it does to a tensor cannot be followed.
        """
        deferred = [t for t in operands if isinstance(t, Deferred)]
        if not _in_main_memory(operands, kwargs) or not (deferred or _may_be_large(operands, args)):
            return NotImplemented
        if torch.Tag.inplace_view in func.tags and deferred:
            if op in _RESIZES:
                self._refuse(op)
            with torch._C._DisableTorchDispatch():  # it changes the tensor, and no value
                return func(*args, **kwargs)
        earlier = any(t._deferral is not self for t in deferred)
        real_target = not all(isinstance(tensor, Deferred) for tensor in written)
        if earlier or real_target or not _can_wait(func, op) or not all(map(_kept, operands)):
            return self._for_real(func, args, kwargs) if deferred else NotImplemented
        return self._put_off(func, args, kwargs, bool(deferred), bool(written))

    def _put_off(
        self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], any_: bool, writes: bool
    ) -> Any:
        """Note a call, and answer with tensors that wait."""
        twins: dict[int, Tensor] = {}  # by what is on meta, what is in main memory
        owners: dict[int, Tensor] = {}

        def bare(tensor: Tensor) -> Tensor:
            twin = tensor.bare() if isinstance(tensor, Deferred) else _on_meta(tensor)
            twins[id(twin)] = owners[id(twin.untyped_storage())] = tensor
            return twin

        bare_args, bare_kwargs = _mapped(Tensor, bare, (args, dict(kwargs)))
        if "device" in kwargs:
            bare_kwargs["device"] = _META
        try:
            result = shortcut(func, bare_args, bare_kwargs)
            if result is NotImplemented:
                result = func(*bare_args, **bare_kwargs)
        except Exception:
            self.refused = True  # torch on meta may be to blame
            raise
        results = _tensors(result)
        if not writes:
            shown = [owners.get(id(t.untyped_storage())) for t in results]
            of_real = any(t is not None and not isinstance(t, Deferred) for t in shown)
            large = any_ or max((t.numel() for t in results), default=0) >= LARGE
            if of_real or not large or not all(map(_is_plain, results)):
                return self._for_real(func, args, kwargs) if any_ else NotImplemented
        made: list[_Region | None] = []

        def stand_in(tensor: Tensor) -> Tensor:
            if id(tensor) in twins:
                made.append(None)
                return twins[id(tensor)]
            owner = owners.get(id(tensor.untyped_storage()))
            block = owner._block if isinstance(owner, Deferred) else _Block()
            made.append(None if owner is not None else _Region.of(block, tensor))
            return Deferred.made_of(tensor, block, self)

        answer = _mapped(Tensor, stand_in, result)
        if writes or any(made):
            kept_args, kept_kwargs = _mapped(Tensor, _snapshot, (args, dict(kwargs)))
            self._waiting.append(_Call(func, kept_args, kept_kwargs, tuple(made)))
            if any(isinstance(t, Deferred) and t._block.exposed for t in owners.values()):
                self.fill()
        return answer

    def _for_real(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        try:
            return for_real(func, args, kwargs)
        except NotDeferrableError:
            self.refused = True
            raise

    def bare(self, arguments: Any, operands: Sequence[Tensor], written: Sequence[Tensor]) -> Any:
        """The arguments of a call on the device, with meta tensors for those that wait.

        Raises:
            NotDeferrableError: one that waits is written.
        """
        if not any(isinstance(tensor, Deferred) for tensor in operands):
            return arguments
        if any(isinstance(tensor, Deferred) for tensor in written):
            self._refuse("a copy from the device")
        return _mapped(Deferred, Deferred.bare, arguments)

    def fill(self) -> None:
        """Do all that waits."""
        waiting, self._waiting = self._waiting, []
        with _disable_current_modes(), torch.no_grad():
            for call in waiting:
                args, kwargs = _mapped(_Region, _Region.real, (call.args, call.kwargs))
                results = _tensors(call.func(*args, **kwargs))
                for region, tensor in zip(call.made, results, strict=True):
                    if region is not None:
                        region.keep(tensor)

    def at_fault(self, error: BaseException) -> bool:
        """Whether a run ended with an error because a call waited."""
        return self.refused or _NO_VALUES.search(message(error)) is not None

    def _refuse(self, what: str) -> None:
        self.refused = True
        raise NotDeferrableError(what)


def for_real(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The result of a call with the values of tensors that waited."""
    before: dict[int, tuple[Deferred, _Region, Tensor]] = {}

    def filled(tensor: Deferred) -> Tensor:
        real = tensor.filled()
        before[id(real)] = tensor, tensor.region, real
        return real

    result = func(*(real := _mapped(Deferred, filled, (args, dict(kwargs))))[0], **real[1])
    for tensor, region, now in before.values():
        data = tensor._block.data
        if data is None or _Region.of(tensor._block, now) != region or not _shares(now, data):
            raise NotDeferrableError(func.name())

    def stand_in(tensor: Tensor) -> Tensor:
        known = before.get(id(tensor))
        if known is not None:
            return known[0]
        for other, _, _ in before.values():
            if other._block.data is not None and _shares(tensor, other._block.data):
                other._block.exposed = True
        return tensor

    return _mapped(Tensor, stand_in, result)


def _shares(tensor: Tensor, storage: torch.UntypedStorage) -> bool:
    strided = tensor.layout is torch.strided
    return strided and tensor.untyped_storage()._cdata == storage._cdata


def _mapped(kind: type, change: Callable[[Any], Any], value: Any) -> Any:
    """Arguments or results with all of a kind changed."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, (list, tuple)):
        parts = [_mapped(kind, change, part) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    if isinstance(value, dict):
        return {name: _mapped(kind, change, part) for name, part in value.items()}
    return value


def _tensors(result: Any) -> list[Tensor]:
    """The tensors of a call's result."""
    parts = result if isinstance(result, (list, tuple)) else [result]
    return [part for part in parts if isinstance(part, Tensor)]


def _in_main_memory(operands: Iterable[Tensor], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call reads and makes tensors on the CPU only."""
    device = kwargs.get("device")
    there = device is None or torch.device(device).type == "cpu"
    return there and all(tensor.is_cpu for tensor in operands)


def _may_be_large(operands: Iterable[Tensor], args: tuple[Any, ...]) -> bool:
    """Whether a call of tensors that have their values may make a large one."""
    elements = [tensor.numel() for tensor in operands]
    if elements:
        return sum(elements) >= _FEW
    size = args[0] if args and isinstance(args[0], (list, tuple)) else ()
    return all(isinstance(side, int) for side in size) and prod(size) >= LARGE


@cache
def _can_wait(func: Any, op: str) -> bool:
    """Whether a call's result is told by shapes, and its values can be computed later."""
    schema = func._schema
    known = torch.Tag.pointwise in func.tags or ops.row(op).family in _CAN_WAIT
    returns = [str(value.type) for value in schema.returns]
    tensors = bool(returns) and all(kind in ("Tensor", "Tensor[]") for kind in returns)
    written = any(argument.is_out for argument in schema.arguments)
    plain = func.namespace == "aten" and known and tensors and not written
    return plain and _READS_VALUES.isdisjoint(func.tags)


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_complex()


def _kept(tensor: Tensor) -> bool:
    """Whether an operand waits itself, or is so small that its values can be kept for later."""
    if isinstance(tensor, Deferred):
        return True
    if not _is_plain(tensor) or tensor.is_neg() or type(tensor) not in (Tensor, Parameter):
        return False
    most = LARGE * tensor.element_size()
    return tensor.numel() <= LARGE or tensor.untyped_storage().nbytes() <= most


def _on_meta(tensor: Tensor) -> Tensor:
    """A meta tensor like one that has values."""
    size, strides = tuple(tensor.shape), tuple(tensor.stride())
    return torch.empty_strided(size, strides, dtype=tensor.dtype, device=_META)


def _snapshot(tensor: Tensor) -> _Region | Tensor:
    """What stands for an operand until a call is made: its values, or where they will be."""
    if isinstance(tensor, Deferred):
        return tensor.region
    if tensor.numel() <= LARGE:
        return tensor.detach().clone()
    storage = tensor.untyped_storage().clone()
    return _Region.of(_Block(), tensor).on(storage)
