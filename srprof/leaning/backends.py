"""What runs a plan: PyTorch call by call, what Inductor makes of it, or a CUDA graph of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from srprof.errors import InputError
from srprof.leaning.levels import BACKENDS, check_one

#: Runs of a plan before it is captured, so that libraries have taken what they keep.
_WARM_UP = 2


def check_backend(backend: str) -> None:
    """Raise `InputError` for what is none, or is not to be had here."""
    check_one("backend", backend, BACKENDS)
    if backend == "cudagraph" and not torch.cuda.is_available():
        raise InputError("backend cudagraph needs a GPU, and there is none: take eager or inductor")
    if backend == "inductor" and not torch.cuda.is_available() and not _compiler():
        raise InputError("backend inductor needs a C++ compiler (g++), and there is none")


def _compiler() -> str | None:
    return shutil.which("g++") or shutil.which("clang++") or shutil.which("cl")


def compiled(forward: Callable[..., Any]) -> Callable[..., Any]:
    """The plan's function compiled by Inductor, as one graph.

    Raises:
        torch._dynamo.exc.Unsupported: in its first call, if it is not one.
    """
    return torch.compile(forward, fullgraph=True)


class Captured:
    """CUDA graphs of a plan's function, one for the inputs' last sizes, with a pool of their own.

    Inputs are copied into tensors that the graph reads; what it gives is written again by the next
    call, so a copy of it is returned. The pool holds the peak of the run as long as the graph is
    there: `torch.cuda.memory_allocated` has the inputs and results, `memory_reserved` the pool too.
    """

    def __init__(self, forward: Callable[..., Any]) -> None:
        self._forward = forward
        self._key: object = None
        self._graph: Any = None
        self._inputs: list[Any] = []
        self._result: Any = None

    def __call__(self, network: Any, *arguments: Any) -> Any:
        # what is kept for calls is a tuple, another after each change of the weights
        key = id(network), *map(_like, arguments)
        if key != self._key:
            self._capture(network, arguments)
            self._key = key
        for kept, given in zip(self._inputs, arguments, strict=True):
            if isinstance(given, torch.Tensor):
                kept.copy_(given)
        self._graph.replay()
        return pytree.tree_map_only(torch.Tensor, torch.Tensor.clone, self._result)

    def _capture(self, network: Any, arguments: Sequence[Any]) -> None:
        self._graph = self._result = None
        self._inputs = [a.clone() if isinstance(a, torch.Tensor) else a for a in arguments]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._forward(network, *self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._result = self._forward(network, *self._inputs)


def _like(argument: Any) -> object:
    if isinstance(argument, torch.Tensor):
        return argument.shape, argument.dtype, argument.device
    return id(argument)


#: What a plan's function is run through, by backend.
THROUGH: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "eager": lambda forward: forward,
    "inductor": compiled,
    "cudagraph": Captured,
}
