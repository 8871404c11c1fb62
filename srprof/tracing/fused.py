"""Attention on meta tensors: fused kernels and fast paths in the place of torch's calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from srprof.records import Trace
from srprof.tracing import attention, fast_path

#: The op that only torch's unfused path makes.
_UNFUSED = "_safe_softmax"
#: How the names of the fused ones begin.
_FUSED = "_scaled_dot_product_"

_MODULES = [cls.__name__ for cls in fast_path.MODULES]

_Function = Callable[..., Any]
_aten = torch.ops.aten


def _by_all_names(stand_in: _Function, function: _Function, op: Any) -> dict[_Function, _Function]:
    """A stand-in for a function of torch's and for the op behind it."""
    return dict.fromkeys((function, op, op.default), stand_in)


_FAST_PATHS = {
    **_by_all_names(
        fast_path.multi_head_attention,
        torch._native_multi_head_attention,
        _aten._native_multi_head_attention,
    ),
    **_by_all_names(
        fast_path.encoder_layer,
        torch._transformer_encoder_layer_fwd,
        _aten._transformer_encoder_layer_fwd,
    ),
}
_STAND_INS = _FAST_PATHS | _by_all_names(
    attention.attention, attention.ORIGINAL, _aten.scaled_dot_product_attention
)


class FusedAttention(TorchFunctionMode):
    """Puts the stand-ins in the place of torch's functions, wherever these were kept."""

    def __init__(self) -> None:
        super().__init__()
        self._fast = False

    def __torch_function__(
        self, func: _Function, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in _FAST_PATHS:
            if args[0].device.type != "meta":
                return func(*args, **(kwargs or {}))
            self._fast = True
        return _STAND_INS.get(func, func)(*args, **(kwargs or {}))

    def notes(self, trace: Trace) -> Iterator[str]:
        """What a reader of the figures of a run in this mode must know."""
        if _is_fused(trace):
            yield attention.NOTE
        if self._fast:
            yield fast_path.NOTE


def attends(trace: Trace) -> bool:
    """Whether it has attention that a GPU would run in another way."""
    if trace.device != "meta":
        return False
    ops, modules = {node.op for node in trace.nodes}, {call.kind for call in trace.calls}
    return not ops.isdisjoint((_UNFUSED, *fast_path.OPS)) or not modules.isdisjoint(_MODULES)


def attended(trace: Trace) -> bool:
    """Whether it has attention, in the way of a GPU or in another."""
    return attends(trace) or _is_fused(trace)


def _is_fused(trace: Trace) -> bool:
    return any(node.op.startswith(_FUSED) for node in trace.nodes)


@contextmanager
def fused_attention() -> Iterator[FusedAttention]:
    """Run attention as CUDA does, while a network is traced on meta tensors without gradients."""
    with fast_path.fast_paths(), FusedAttention() as mode:
        yield mode
