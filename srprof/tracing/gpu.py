"""What the model's code asks of a GPU, answered while it is traced on the meta device.

Code that puts tensors on "cuda" by itself, asks whether there is a GPU, or opens a region of
autocast for CUDA would fail or go another way on a machine without one. The first run watches
whether it asks; if so the model is built and run again, with the meta device in the place of
"cuda", yes for an answer, and autocast emulated.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakSet

import torch

from srprof.blame import blame, is_user_file
from srprof.paths import place
from srprof.redirect import GPU, NO_GPU, Event, Redirected, listening
from srprof.running import asking_file, replaced
from srprof.tracing.autocast import NOTE, Emulation
from srprof.tracing.recorder import user_line
from srprof.tracing.threads import carried

_autocast = torch.amp.autocast_mode.autocast

#: Regions of autocast that were made while srprof watched; others know only of this machine.
_seen_made: WeakSet[Any] = WeakSet()


class StandIn:
    """The meta device in the place of a GPU.

    Attributes:
        wishes: what the code asked for, each with the place where it did so first.
        answering: the code gets what it asks for; without, it is only watched.
        standing: the meta device is in the GPU's place now.
        emulation: of autocast, while answering.
        put: how often the code named the GPU as a device, while answering.
        built: a constructor was among that code.
        read_back: where a constructor first asked for the data of what it had put there; "" if
            none did.
    """

    def __init__(self) -> None:
        self.wishes: dict[str, str] = {}
        self.answering = False
        self.standing = False
        self.emulation = Emulation("meta")
        self.put = 0
        self.built = False
        self.read_back = ""
        self._unseen_region = False
        self._in_region = False
        self._files: dict[str, bool] = {}
        if torch.cuda.is_initialized():
            self.wishes["a program that uses the GPU"] = ""  # it will not initialise it again
        if torch.is_autocast_enabled("cuda"):
            self.wishes[_REGION] = ""

    def asks(self, what: str) -> None:
        """Note that the code asks for something, at the line of its innermost frame."""
        file, line, _ = user_line()
        self.wishes.setdefault(what, place(file, line))

    def wants_region(self) -> None:
        """The call is made in a region of autocast, whatever the code itself asks for."""
        self.wishes.setdefault(_REGION, "")
        self.answering = self._in_region = True

    @property
    def asked(self) -> bool:
        """Whether the code itself asked for anything."""
        return bool(self.wishes.keys() - ({_REGION} if self._in_region else set()))

    def puts(self) -> None:
        """Note that the code puts a tensor on the GPU."""
        self.put += 1
        self.asks(_PUTS)

    def refused(self, error: BaseException) -> None:
        """Note it if code failed because there is no GPU, or because its stand-in has no data."""
        if NO_GPU.search(str(error)):
            self.wishes.setdefault(_NEEDS, "")
        elif self.standing:
            where = blame(error)
            self.read_back = self.read_back or place(where.file, where.line) or "an unknown line"

    @property
    def can_do_without(self) -> bool:
        """Whether the code asked if there is a GPU: then it knows another way, too."""
        return bool(self.wishes.keys() - {_REGION, _PUTS, _NEEDS})

    def notes(self, device: str) -> list[str]:
        """What a reader of the figures of a trace on the device must know."""
        notes = [_READ_BACK.format(self.read_back)] if self.read_back else []
        if device != "meta":
            return [*notes, _NOT_CAST] if _REGION in self.wishes else notes
        notes += [_UNSEEN_REGION] if self._unseen_region else []
        if not self.answering:
            return notes
        for what, text in _ANSWERED.items():
            if what in self.wishes:
                where = self.wishes[what]
                notes.append(text.format(f" (first at {where})" if where else ""))
        return [*notes, NOTE] if self.emulation.used else notes

    def patches(self) -> list[tuple[Any, str, Any]]:
        """Owner, attribute and stand-in of each function through which code asks."""
        cuda = torch.cuda
        return [
            (_autocast, "__init__", self._make_region(_autocast.__init__)),
            (_autocast, "__enter__", _telling(self._entered, _autocast.__enter__)),
            (cuda.amp.common, "amp_definitely_not_available", lambda: False),
            (cuda, "is_bf16_supported", lambda *_, **__: True),
            (cuda, "_lazy_init", _telling(lambda: self.asks(_NEEDS), cuda._lazy_init)),
            (cuda, "is_available", self._answer(_IS_AVAILABLE, cuda.is_available, True)),
            (cuda, "device_count", self._answer("torch.cuda.device_count()", cuda.device_count, 1)),
            (cuda, "current_device", self._answer("the device", cuda.current_device, 0)),
            (cuda, "set_device", self._answer("a device", cuda.set_device, None)),
            (cuda, "synchronize", self._answer("to synchronise", cuda.synchronize, None)),
            (cuda, "Event", self._answer("an event", cuda.Event, Event())),
            *(
                (cuda, name, self._answer(_COUNTERS, getattr(cuda, name), answer))
                for name, answer in _COUNTER_ANSWERS.items()
            ),
            (torch.Tensor, "is_cuda", self._property("is_cuda", True)),
            (torch.Tensor, "device", self._property("device", GPU)),
            (torch.Tensor, "get_device", self._get_device()),
        ]

    def _property(self, name: str, answer: Any) -> property:
        """An attribute of tensors on the meta device that answers the model's code as on a GPU."""
        own = getattr(torch.Tensor, name)

        def asked(tensor: torch.Tensor) -> Any:
            value = own.__get__(tensor)
            return answer if self._tells(tensor, name) else value

        return property(asked)

    def _get_device(self) -> Callable[[torch.Tensor], int]:
        own = torch.Tensor.get_device

        def get_device(tensor: torch.Tensor) -> int:
            return 0 if self._tells(tensor, "get_device") else own(tensor)

        return get_device

    def _tells(self, tensor: torch.Tensor, name: str) -> bool:
        """Whether a tensor says to the model's code, which asks for this, that it is on a GPU.

        Most code asks for a device to hand it on. What it asks counts only in a file that speaks
        of CUDA.
        """
        file = asking_file()
        if not is_user_file(file) or not tensor.is_meta:
            return False
        if name != "device" or self._speaks_of_cuda(file):
            self.asks(f"tensor.{name}")
        return self.answering

    def _speaks_of_cuda(self, file: str) -> bool:
        if file not in self._files:
            self._files[file] = any("cuda" in line for line in linecache.getlines(file))
        return self._files[file]

    def _make_region(self, make: Callable[..., None]) -> Callable[..., None]:
        def init(region: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
            if device_type in ("cuda", "meta"):  # meta: what `x.device.type` says here
                device_type = "cuda"
                self.asks(_REGION)
            make(region, device_type, *args, **kwargs)
            _seen_made.add(region)

        return init

    def _entered(self, region: Any) -> None:
        if region.device == "cuda" and region not in _seen_made and not region._enabled:
            self._unseen_region = True

    def _answer(self, what: str, ask: Callable[..., Any], answer: Any) -> Callable[..., Any]:
        """A function that answers torch's own code as ever, and the model's as on a GPU."""

        def answered(*args: Any, **kwargs: Any) -> Any:
            if not is_user_file(asking_file()):
                return ask(*args, **kwargs)
            self.asks(what)
            return answer if self.answering else ask(*args, **kwargs)

        return answered


def _telling(tell: Callable[..., None], function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which first tells that it is called."""

    def told(*args: Any) -> Any:
        tell(*args)
        return function(*args)

    return told


_COUNTERS = "the allocator's counters"
#: Functions that read or set back what the allocator counts, with what they are answered with.
_COUNTER_ANSWERS = {
    "reset_peak_memory_stats": None,
    "max_memory_allocated": 0,
    "max_memory_reserved": 0,
    "memory_allocated": 0,
    "memory_reserved": 0,
}
_REGION = "a region of autocast"
_NOT_CAST = (
    "regions of torch.autocast for CUDA cast nothing here: on a GPU tensors in them take half"
)
_NEEDS = "a GPU"
_PUTS = "to put tensors on the GPU"
_IS_AVAILABLE = "torch.cuda.is_available()"
_READ_BACK = (
    "the constructor takes data back from the GPU at {}, which its stand-in has not: what it does "
    "on the GPU from there on is not counted"
)
_UNSEEN_REGION = (
    "a region of torch.autocast was made before the trace, and torch without CUDA made it a "
    "disabled one; give a SPEC (file.py:Factory) so that it is made anew"
)
#: What a note says of what was asked for and given.
_ANSWERED = {
    _PUTS: "what the code itself puts on the GPU{} stands on the meta device",
    "tensor.is_cuda": "tensor.is_cuda{} was answered with yes, as on a GPU",
    "tensor.get_device": "tensor.get_device(){} was answered with 0, as on a GPU",
    _IS_AVAILABLE: "torch.cuda.is_available(){} was answered with yes, as on a GPU",
    _COUNTERS: "the allocator's counters{} were answered with 0, and are not set back",
}


#: The stand-in of the trace that is being made; None where the run is to be this machine's own.
_current: StandIn | None = None


@contextmanager
def watching() -> Iterator[StandIn]:
    """Watch what the code asks of a GPU, for the length of a trace."""
    global _current  # noqa: PLW0603  (torch's functions are patched once for a trace)
    stand_in = StandIn()
    outer, _current = _current, stand_in
    try:
        with replaced(stand_in.patches()), listening(stand_in.refused):
            yield stand_in
    finally:
        _current = outer


@contextmanager
def building() -> Iterator[None]:
    """Note whether a constructor, which runs meanwhile, puts tensors on the GPU."""
    before = 0 if _current is None else _current.put
    try:
        yield
    finally:
        if _current is not None and _current.put > before:
            _current.built = True


def built_there() -> bool:
    """Whether the model's constructor puts tensors on the GPU, where that is followed."""
    return _current is not None and _current.built


@contextmanager
def standing_in(device: str) -> Iterator[None]:
    """Give the code the meta device for a GPU, where it asked for one and runs on meta."""
    stand_in = _current
    if device != "meta" or stand_in is None or not stand_in.answering or stand_in.standing:
        yield
        return
    stand_in.standing = True
    try:
        on_meta = partial(Redirected, "meta", stand_in.puts)
        with stand_in.emulation.active(), on_meta(), carried(on_meta):
            yield
    finally:
        stand_in.standing = False
