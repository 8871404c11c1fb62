"""A network on a device: moved there, or a copy of it made there."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from srprof.blame import first_line
from srprof.copying import copied_model
from srprof.errors import user_raised
from srprof.networks import converted, named_modules, weights


class NotOnMetaError(Exception):
    """A model that cannot be put on the meta device; it must run on the CPU."""


def copy_model(model: nn.Module, device: str) -> nn.Module:
    """A deep copy on the device, made without touching the original or doubling its weights.

    On "meta" no data is copied, and tensors share storages as before. For any other device the
    copy is made in main memory and then moved, as a model that is built there would be.
    """
    first = "meta" if device == "meta" else "cpu"
    memo: dict[int, Any] = {}
    storages: dict[int, torch.UntypedStorage] = {}
    for _, module in named_modules(model):
        for holder in (module._parameters, module._buffers, vars(module)):
            for value in holder.values():
                if isinstance(value, torch.Tensor) and id(value) not in memo:
                    memo[id(value)] = _twin(value, first, storages)
                elif type(value) in (dict, OrderedDict) and not value:
                    memo[id(value)] = copy.copy(value)  # most of a module is hooks that it has not
    twin = copied_model(model, memo)
    return moved(twin, device)


def moved(model: nn.Module, device: str) -> nn.Module:
    """The model on the device.

    Raises:
        NotOnMetaError: it cannot be moved there; TorchScript keeps tensors that are no weights.
    """
    if device == "meta" and any(
        isinstance(m, torch.jit.ScriptModule) for _, m in named_modules(model)
    ):
        raise NotOnMetaError(f"{type(model).__name__} has TorchScript, which cannot be moved there")
    if all(tensor.device.type == device for tensor in weights(model)):
        return model
    try:
        return converted(model, device)
    except user_raised() as error:
        if device != "meta":
            raise
        raise NotOnMetaError(
            f"{type(model).__name__} cannot be moved there: {first_line(error)}"
        ) from error


def _twin(
    tensor: torch.Tensor, device: str, storages: dict[int, torch.UntypedStorage]
) -> torch.Tensor:
    """The tensor's copy on the device, with views of one storage still views of one storage.

    `storages` has the copies made so far by the original storage's address.
    """
    if is_lazy(tensor):  # it has no shape before the first call
        make: Callable[..., torch.Tensor] = type(tensor)
        return make(requires_grad=tensor.requires_grad, device=device, dtype=tensor.dtype)
    source = tensor.detach()
    if source.layout is not torch.strided:
        return tensor
    storage = source.untyped_storage()
    copied = storages.get(storage._cdata)
    has_data = device == "cpu" and source.device.type != "meta"
    if copied is None:
        whole = torch.empty(storage.nbytes(), dtype=torch.uint8, device=device)
        copied = storages[storage._cdata] = whole.untyped_storage()
        if has_data:
            copied.copy_(storage)
    twin = torch.empty(0, dtype=source.dtype, device=device)
    twin.set_(copied, source.storage_offset(), source.size(), source.stride())
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(twin, requires_grad=tensor.requires_grad)
    return twin
