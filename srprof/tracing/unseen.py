"""What a recorder does not see of a network, and which figures cannot be said for it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule
from torch.jit import ScriptModule

from srprof.networks import named_modules
from srprof.records import Unseen
from srprof.words import some
from srprof.workload import Instance

#: Counted by hooks of modules.
_BY_MODULES = ("flops", "activations", "convs")
_BY_CALLS = ("macs", "fvcore_flops", "planned", "eager", "allocated", "reserved", "latency_ms")
#: Kernels of TorchScript that are no calls of ATen: after `torch.jit.optimize_for_inference`.
_FUSED = re.compile(r"mkldnn|onednn|prim::\w*(FusionGroup|TensorExprGroup)|tensorrt", re.IGNORECASE)


def unseen_parts(model: nn.Module) -> list[Unseen]:
    """Parts of a network that run without hooks, or in kernels that torch's modes do not see."""
    modules = dict(named_modules(model))
    found = []
    scripted = _outermost(modules, ScriptModule)
    if scripted:
        frozen = [path for path in scripted if not any(True for _ in modules[path].parameters())]
        fused = [path for path in scripted if _FUSED.search(_graph(modules[path]))]
        what = "TorchScript runs its modules without hooks"
        figures: tuple[str, ...] = _BY_MODULES
        if any(path in fused or _has_constants(modules[path]) for path in frozen):
            what += " and its frozen weights are constants"
            figures = ("params", *figures)
        if fused:
            what += " and makes calls that are not ATen's"
            figures = (*figures, *_BY_CALLS)
        found.append(_unseen(f"{what} ({_names(scripted)})", figures))
    flat = [path for path in _outermost(modules, GraphModule) if _is_flat(modules[path])]
    if flat:
        what = f"a graph of ATen calls has no modules that run ({_names(flat)})"
        found.append(_unseen(what, _BY_MODULES))
    return found


def unseen_calls(reasons: Iterable[str]) -> list[Unseen]:
    """Calls outside the threads that a recorder follows, by what it found out ("threads", ...)."""
    texts = {
        "threads": "the network runs modules in threads that were there before, or that Python's "
        "threading did not start",
        "processes": "the network starts processes",
    }
    found = [_unseen(f"{texts[reason]}, whose calls are missing", _BY_CALLS) for reason in reasons]
    return sorted(found, key=lambda item: item.text)


def _unseen(what: str, figures: tuple[str, ...]) -> Unseen:
    titles = {"flops": "FLOPs", "convs": "convolutions", "macs": "MACs", "latency_ms": "latency"}
    titles |= {"params": "parameters", "planned": "memory", "fvcore_flops": "fvcore's FLOPs"}
    peaks = ("eager", "allocated", "reserved")
    names = [titles.get(name, name) for name in figures if name not in peaks]
    return Unseen(f"not seen whole: {what}; {', '.join(names)} cannot be said", figures)


def compiled_note(parts: Iterable[str]) -> Unseen:
    """That compiled parts are recorded as they are written; no figure is missing."""
    what = f"what torch.compile compiles ({_names(parts)}) is recorded as it runs without"
    return Unseen(f"not seen whole: {what}: the kernels that it fuses need other memory and time")


def eager() -> AbstractContextManager[Any]:
    """Where compiled code runs as it is written: a compiler would take the recorder for a part."""
    stance = getattr(torch.compiler, "set_stance", None)  # since torch 2.6
    return (
        nullcontext()
        if stance is None or "torch._dynamo" not in sys.modules
        else stance("force_eager")
    )


def warm_up(instance: Instance) -> None:
    """Let TorchScript optimise itself, which it does in its first two calls."""
    model, args, kwargs, _ = instance
    if any(isinstance(module, ScriptModule) for _, module in named_modules(model)):
        with torch.no_grad():
            for _ in range(2):
                model(*args, **kwargs)


def _outermost(modules: dict[str, nn.Module], kind: type) -> list[str]:
    paths: list[str] = []
    for path, module in modules.items():
        inside = any(not outer or path.startswith(f"{outer}.") for outer in paths)
        if isinstance(module, kind) and not inside:
            paths.append(path)
    return paths


def _names(paths: Iterable[str]) -> str:
    return some([path or "the model" for path in sorted(paths)], 3)


def _graph(module: nn.Module) -> str:
    try:
        return str(module.inlined_graph)
    except RuntimeError:  # it has no forward
        return ""


def _has_constants(module: nn.Module) -> bool:
    """Whether tensors stand in a scripted module's graph, as after `torch.jit.freeze`."""
    return (
        re.search(r"prim::Constant\[value=<Tensor>|Float\(.*prim::Constant", _graph(module))
        is not None
    )


def _is_flat(module: nn.Module) -> bool:
    """Whether a graph calls ATen itself, as exported programs do, and no modules."""
    nodes = module.graph.nodes if isinstance(module, GraphModule) else ()
    return any(isinstance(node.target, torch._ops.OpOverload) for node in nodes)
