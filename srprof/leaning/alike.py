"""Fake values of an export, worked out once for all calls whose arguments look alike.

A deep network makes the same call on tensors of the same look a hundred times. With open sizes each
result costs torch a dozen comparisons of expressions, and each record of it as many again; here
they are made of the first one. Alike results share a storage, which no fake tensor has data in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch._dispatch.python import no_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager
from torch.fx.experimental import proxy_tensor

#: By this name a fake value knows the one that it is like.
_LIKE = "_srprof_like"

_dispatch = FakeTensorMode._cached_dispatch_impl
_track_tensor = proxy_tensor.track_tensor
_set_proxy_slot: Any = proxy_tensor.set_proxy_slot
_snapshot_fake = proxy_tensor.snapshot_fake

#: Arguments that are alike if they are equal and of one type.
_PLAIN = (
    *(int, float, complex, str, type(None)),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format),
)


class UnknownLookError(Exception):
    """An argument of which it is not known what it looks like."""


def look(value: Any) -> Any:
    """What is equal for fake tensors, numbers, and lists of these that calls treat alike.

    Raises:
        UnknownLookError: it is anything else, or has values.
    """
    if isinstance(value, FakeTensor):
        if value.constant is not None or value.layout is not torch.strided:
            raise UnknownLookError
        numbers = *value.shape, *value.stride(), value.storage_offset()
        bits = value.is_conj(), value.is_neg()
        return value.dtype, value.device, tuple(map(expression, numbers)), bits
    if isinstance(value, (list, tuple)):
        return tuple(map(look, value))
    if isinstance(value, dict):
        return tuple((name, look(one)) for name, one in sorted(value.items()))
    if isinstance(value, torch.SymInt):
        return expression(value)
    if isinstance(value, _PLAIN):
        return type(value), value
    raise UnknownLookError


def expression(size: Any) -> Any:
    """A size as a number, or an expression of the call's sizes."""
    return size if isinstance(size, int) else size.node.expr


class _Like:
    """A fake value of which there are to be others."""

    def __init__(self, value: FakeTensor) -> None:
        self.device = value.device
        mode = value.fake_mode
        with no_python_dispatcher(), in_kernel_invocation_manager(mode):
            self._inside = torch.ops.aten.detach.default(value)
        self.tracked: Any = None  # the last tracer that has proxies of its sizes
        self.snapshot = _snapshot_fake(value)

    def another(self, mode: FakeTensorMode) -> FakeTensor:
        made = FakeTensor(mode, self._inside, self.device)
        setattr(made, _LIKE, self)
        return made


def patches() -> list[tuple[Any, str, Any]]:
    """What stands in the place of torch's functions while a network is exported."""
    known: dict[Any, _Like | None] = {}

    def dispatch(
        mode: FakeTensorMode, func: Any, types: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        if isinstance(func, torch._ops.OpOverload) and torch.Tag.inplace_view in func.tags:
            vars(args[0]).pop(_LIKE, None)  # it is given other sizes
        key = _key(mode, func, args, kwargs)
        like = known.get(key)
        if like is not None:
            return like.another(mode)
        value: Any = _dispatch(mode, func, types, args, kwargs)
        if key is not None and key not in known:
            known[key] = _Like(value) if _is_new(value, (args, kwargs)) else None
        return value

    def track_tensor(tensor: Any, proxy: Any, *, constant: Any, tracer: Any) -> None:
        """Sizes that have proxies keep them."""
        like: _Like | None = getattr(tensor, _LIKE, None)
        if like is None or like.tracked is not tracer:
            _track_tensor(tensor, proxy, constant=constant, tracer=tracer)
            if like is not None:
                like.tracked = tracer
        else:
            _set_proxy_slot(tensor, tracer, proxy_tensor._ProxyTensor(proxy, constant))

    def snapshot_fake(value: Any, include_real: bool = False) -> Any:
        like: _Like | None = getattr(value, _LIKE, None)
        return _snapshot_fake(value, include_real) if like is None else like.snapshot

    return [
        (FakeTensorMode, "_cached_dispatch_impl", dispatch),
        (proxy_tensor, "track_tensor", track_tensor),
        (proxy_tensor, "snapshot_fake", snapshot_fake),
    ]


def _key(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    """What is equal for calls with like results; None if nothing is known of others."""
    if not _makes_one(func):
        return None
    try:
        looks = look((args, kwargs))
    except UnknownLookError:
        return None
    settings = (
        torch.get_default_dtype(),
        torch._C._get_default_device(),
        torch.is_inference_mode_enabled(),
        proxy_tensor.get_proxy_mode() is None,
    )
    return mode, mode.epoch, func, looks, settings


@cache
def _makes_one(func: Any) -> bool:
    """Whether an operator's one result is a new tensor, whose sizes those of its arguments tell."""
    if not isinstance(func, torch._ops.OpOverload) or func.namespace != "aten":
        return False
    schema, tags = func._schema, func.tags
    values = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & {*tags}
    one = len(schema.returns) == 1 and str(schema.returns[0].type) == "Tensor"
    return one and not values and not schema.is_mutable and "lift" not in func.name()


def _is_new(value: Any, arguments: Any) -> bool:
    """Whether a result lies in a storage of its own, and is known by its look alone."""
    if type(value) is not FakeTensor or value.constant is not None or value.requires_grad:
        return False
    given = [a for a in torch.utils._pytree.tree_leaves(arguments) if isinstance(a, torch.Tensor)]
    storages = {tensor.untyped_storage()._cdata for tensor in given}
    whole = value.layout is torch.strided and not value.is_conj() and not value.is_neg()
    return whole and value.untyped_storage()._cdata not in storages
