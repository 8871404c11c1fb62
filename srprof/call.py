"""What is run, as a value: a model, its inputs, and the format of its tensors. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from srprof.errors import InputError

#: Attributes of a call that say what a program does around it.
PROGRAM = ("autocast", "images_channels_last", "previous_result", "copied_result", "warm")

TraceOn = Literal["auto", "meta", "cpu", "cuda-fake"]

#: Where a call is traced: `auto` is meta, and the CPU where meta cannot.
TRACE_ON: tuple[TraceOn, ...] = get_args(TraceOn)


@dataclass(frozen=True)
class Call:
    """One call of one model.

    Attributes:
        spec: a SPEC string, or from Python an `nn.Module`, a `GraphModule` or an exported program.
        inputs: as for `srprof.trace`: shapes, sizes, tensors, containers of them, or mappings of
            keyword arguments.
        weights: a checkpoint to load into the model that a SPEC names.
        dtype: of parameters and inputs; None leaves the model its own.
        channels_last: 4-d tensors are in that memory format.
        trace_on: where it is run on the way to its record.
        autocast: it is made in a region of torch.autocast for CUDA, in `dtype` (None is float16);
            parameters and inputs keep the dtype of their own.
        images_channels_last: 4-d inputs alone are in that memory format.
        previous_result: the caller still holds the result of a call like this one.
        warm: libraries have what they keep from calls before it, of this network or of others.
        copied_result: the caller copies the result on the device before he lets it go.
    """

    spec: Any
    inputs: tuple[Any, ...] = ()
    weights: str | None = None
    dtype: str | None = None
    channels_last: bool = False
    trace_on: str = "auto"
    autocast: bool = False
    images_channels_last: bool = False
    previous_result: bool = False
    copied_result: bool = False
    warm: bool = False

    @property
    def form(self) -> dict[str, bool]:
        """What a program does around it, as far as it does anything."""
        return {name: True for name in PROGRAM if getattr(self, name)}


def call_of(
    model: Any,
    inputs: Sequence[Any],
    weights: str | None = None,
    dtype: str | None = None,
    channels_last: bool = False,
    trace_on: str = "auto",
) -> Call:
    """The call that a function's arguments say; a `Call` in the model's place is that already.

    An InputError if what a `Call` says itself is given beside it.
    """
    call = Call(model, tuple(inputs), weights, dtype, channels_last, trace_on)
    if not isinstance(model, Call):
        return call
    if call != Call(model):
        raise InputError("a Call has its inputs, weights and format: leave those arguments out")
    return model
