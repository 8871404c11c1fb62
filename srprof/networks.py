"""A network's parts and its mode, whatever its own code makes of `train`, `to` or `parameters`.

These are methods that people override: with another signature, to fuse branches on the way into
evaluation mode, or to refuse. What is only to be looked at is read where torch keeps it; what
changes the network is done by its own code first, as its users do it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from srprof.errors import user_raised


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Each module once, with its path, in the order of `nn.Module.named_modules`."""
    seen: set[int] = set()
    ahead = [("", model)]
    while ahead:
        path, module = ahead.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        yield path, module
        prefix = f"{path}." if path else ""
        ahead += [(f"{prefix}{name}", child) for name, child in reversed(_children(module))]


def _children(module: nn.Module) -> list[tuple[Any, nn.Module]]:
    """The modules that a module has registered: torch takes anything for a name, and for one."""
    registered = module._modules
    named = list(registered.items()) if registered else []
    return [(name, child) for name, child in named if isinstance(child, nn.Module)]


def named_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Each parameter once, with its first path."""
    yield from _named(model, "_parameters")


def named_buffers(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Each buffer once, with its first path."""
    yield from _named(model, "_buffers")


def _named(model: nn.Module, where: str) -> Iterator[tuple[str, Any]]:
    seen: set[int] = set()
    for path, module in named_modules(model):
        for name, tensor in getattr(module, where).items():
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                yield f"{path}.{name}" if path else name, tensor


def paths(
    model: nn.Module, prefix: str = "", inside: frozenset[int] = frozenset()
) -> Iterator[str]:
    """Every path of every parameter and buffer; one that is shared has several.

    `inside` are the modules around it, by identity, of which one may contain itself.
    """
    inside |= {id(model)}
    for named in (model._parameters, model._buffers):
        yield from (f"{prefix}{name}" for name, tensor in named.items() if tensor is not None)
    for name, child in _children(model):
        if id(child) not in inside:
            yield from paths(child, f"{prefix}{name}.", inside)


def parameters(model: nn.Module) -> list[nn.Parameter]:
    """Its parameters, each once."""
    return [parameter for _, parameter in named_parameters(model)]


def weights(model: nn.Module) -> list[torch.Tensor]:
    """Its parameters and buffers, each once."""
    return [*parameters(model), *(buffer for _, buffer in named_buffers(model))]


def frozen(model: nn.Module) -> nn.Module:
    """The model, no parameter of which asks for a gradient any more."""
    for parameter in parameters(model):
        parameter.requires_grad_(False)
    return model


def switch(model: nn.Module, training: bool) -> None:
    """Put it in its mode as its users do, by `eval()` or `train()`; what these raise is raised.

    Where it is in evaluation mode already, nothing is called: its code may fuse anew each time.
    """
    if training:
        model.train()
    elif any(module.training for _, module in named_modules(model)):
        model.eval()


def put_in_mode(model: nn.Module, training: bool) -> None:
    """Put it in its mode by its own code, or without that where it raises."""
    try:
        switch(model, training)
    except user_raised():
        mark(model, training)


def mark(model: nn.Module, training: bool) -> None:
    """Note the mode in each module, as `nn.Module.train` does, without the network's own code."""
    for _, module in named_modules(model):
        module.training = training


def converted(model: nn.Module, *to: Any, **how: Any) -> nn.Module:
    """The model after `model.to(...)`, or torch's where the network's own does not take that.

    Parameters and buffers that modules share stay shared: on a device without data torch makes
    one for each.
    """
    shared = _shared(model)
    own = type(model).to is not nn.Module.to
    try:
        result = model.to(*to, **how)
    except user_raised():
        if not own or isinstance(model, torch.jit.ScriptModule):
            raise
        result = nn.Module.to(model, *to, **how)
    for (holder, name), *others in shared:
        for other, its_name in others:
            other[its_name] = holder[name]
    return result if isinstance(result, nn.Module) else model


def _shared(model: nn.Module) -> list[list[tuple[dict[str, Any], str]]]:
    """Where each parameter or buffer stands that stands in several places."""
    places: dict[int, list[tuple[dict[str, Any], str]]] = defaultdict(list)
    eager = (m for _, m in named_modules(model) if not isinstance(m, torch.jit.ScriptModule))
    for module in eager:
        for holder in (module._parameters, module._buffers):
            for name, tensor in holder.items():
                if tensor is not None:
                    places[id(tensor)].append((holder, name))
    return [standing for standing in places.values() if len(standing) > 1]
