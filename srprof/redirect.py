"""Calls of torch that name a GPU, made on another device instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch.overrides import TorchFunctionMode

from srprof.blame import message
from srprof.errors import user_raised
from srprof.running import replaced

#: What a tensor on the GPU says that its device is, while another device stands in for it.
GPU = torch.device("cuda", 0)
#: What torch says when it cannot give a GPU.
NO_GPU = re.compile(r"cuda|accelerator device|dummy base class", re.IGNORECASE)

_CUDA = re.compile(r"cuda(:\d+)?")

_T = TypeVar("_T")

#: Told of what a constructor fails with where there is no GPU.
_listeners: list[Callable[[BaseException], None]] = []


@contextmanager
def listening(tell: Callable[[BaseException], None]) -> Iterator[None]:
    """Have `tell` called with each error of `refused`."""
    _listeners.append(tell)
    try:
        yield
    finally:
        _listeners.remove(tell)


def refused(error: BaseException) -> None:
    """A constructor failed for want of a GPU, or of its data, and is run again without."""
    for tell in _listeners:
        tell(error)


class Redirected(TorchFunctionMode):
    """Each call of torch, with another device wherever it names a GPU.

    Args:
        device: the type of the device that stands in. told: is called when code names a GPU, and
            does not only hand on what one of its tensors said.
    """

    def __init__(self, device: str, told: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._device = torch.device(device)
        self._told = told

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.device:  # it is no tensor yet, and may be compared
            return func(*args, **kwargs)
        if func is torch.Tensor.cuda:
            self._told()
            return self._moved(*args, **kwargs)
        if func is torch.Tensor.to and len(args) > 1 and _is_index(args[1]):
            args = (args[0], torch.device("cuda"), *args[2:])
        if kwargs and _is_index(kwargs.get("device")):
            kwargs = {**kwargs, "device": torch.device("cuda")}
        for value in (*args, *kwargs.values()):  # there are many calls, and hardly any has one
            if isinstance(value, (torch.device, str)):
                kwargs = {name: self._there(value) for name, value in kwargs.items()}
                return func(*map(self._there, args), **kwargs)
        return func(*args, **kwargs)

    def _there(self, value: Any) -> Any:
        device = isinstance(value, torch.device) and value.type == "cuda"
        if device or (isinstance(value, str) and _CUDA.fullmatch(value)):
            if value is not GPU:
                self._told()
            return self._device
        return value

    def _moved(
        self,
        tensor: torch.Tensor,
        device: Any = None,
        non_blocking: bool = False,
        memory_format: torch.memory_format = torch.preserve_format,
    ) -> torch.Tensor:
        """`Tensor.cuda`, to the other device."""
        return tensor.to(self._device, non_blocking=non_blocking, memory_format=memory_format)


class Event:
    """What stands for a `torch.cuda.Event`: no time passes."""

    def record(self, stream: Any = None) -> None:
        """Nothing happens."""

    wait = record

    def synchronize(self) -> None:
        """Nothing is to be waited for."""

    def query(self) -> bool:
        """It is over."""
        return True

    def elapsed_time(self, end: Any) -> float:
        """Milliseconds."""
        return 0.0


@contextmanager
def elsewhere(device: str) -> Iterator[None]:
    """Calls that name a GPU are made on another device, and nothing is waited for or timed."""
    cuda, event = torch.cuda, Event()
    waiting = [(cuda, "synchronize", lambda *_: None), (cuda, "Event", lambda *_, **__: event)]
    with replaced(waiting), Redirected(device):
        yield


def without_gpu(
    function: Callable[[], _T], failing: re.Pattern[str] = NO_GPU, device: str = "cpu"
) -> _T:
    """What a function gives, which may put tensors on a GPU: on `device` where there is none.

    `failing`: of the message with which it fails then.
    """
    try:
        return function()
    except user_raised() as error:
        if torch.cuda.is_available() or not failing.search(message(error)):
            raise
        refused(error)
        with elsewhere(device):
            return function()


def _is_index(value: Any) -> bool:
    """Whether it is a GPU's number, as torch takes it for a device."""
    return isinstance(value, int) and not isinstance(value, bool)
