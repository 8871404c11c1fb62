"""spandrel's descriptors of models: what they take, as an estimate.

spandrel itself is not imported here: who has a descriptor has it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from srprof import presets
from srprof.call import Call
from srprof.errors import InputError, SrprofError
from srprof.estimating.record import Estimate, Kind
from srprof.estimating.run import estimate as estimate_call

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor, MaskedImageModelDescriptor

    Descriptor: TypeAlias = ImageModelDescriptor[Any] | MaskedImageModelDescriptor[Any]

#: Side of the first image, before it is brought to what the model takes.
_SIDE = 64
#: Estimates by descriptor, for `estimate_peak_memory`.
_known: WeakKeyDictionary[Any, Estimate | None] = WeakKeyDictionary()


class Described(nn.Module):
    """A descriptor's call, at the sizes that its model takes without padding."""

    def __init__(self, descriptor: Descriptor) -> None:
        super().__init__()
        self.network = descriptor.model
        self.descriptor = descriptor

    def forward(self, *tensors: Tensor) -> Tensor:
        """What the descriptor gives: the model's result, held to its range in place."""
        height, width = tensors[0].shape[-2:]
        if not self.descriptor.size_requirements.check(width, height):
            raise ValueError(f"the model takes no {width}x{height} without padding")
        call = type(self.descriptor).__call__
        # inference mode off: on meta, parameters take no data made in it; it saves no memory here
        result: Tensor = getattr(call, "__wrapped__", call)(self.descriptor, *tensors)
        return result


def estimate(
    descriptor: Descriptor,
    run_as: str = "spandrel",
    workspace: str | None = None,
    profile: str | None = None,
) -> Estimate:
    """The peaks of a model as functions of height, width, batch and dtype.

    They are of the descriptor's call at the sizes that the model takes; at others the descriptor
    pads the image to the next of these. Its dtypes are those that the model supports.

    Args:
        descriptor: what `ModelLoader().load_from_file(...)` gives; it is left as it is.
        run_as: the program that runs it, a name in `srprof.presets`.
        workspace, profile: as for `srprof.estimate`.

    Raises:
        InputError: an argument is wrong, or the model makes other calls at each size.
        ModelError: the model raises at every size that was tried.
    """
    if not hasattr(descriptor, "size_requirements") or not hasattr(descriptor, "model"):
        raise InputError(
            f"{type(descriptor).__name__} is no descriptor of spandrel's: srprof.estimate takes "
            "networks by themselves"
        )
    wide, high = descriptor.size_requirements.get_padding(_SIDE, _SIDE)
    sides = (_SIDE + high, _SIDE + wide)
    inputs = [(1, descriptor.input_channels, *sides)]
    if descriptor.purpose == "Inpainting":
        inputs.append((1, 1, *sides))
    found = estimate_call(
        Call(Described(descriptor), tuple(inputs)),
        dtypes=_supported(descriptor, presets.find(run_as)),
        run_as=run_as,
        workspace=workspace,
        profile=profile,
    )
    name = descriptor.architecture.name
    return replace(found, name=name, spec=name, scale=descriptor.scale)


def _supported(descriptor: Descriptor, preset: presets.Preset) -> tuple[str, ...]:
    """The program's dtypes that the model supports: a region of autocast asks for no support."""
    if preset.form.get("autocast"):
        return preset.dtypes
    supported = {
        "float32": True,
        "float16": descriptor.supports_half,
        "bfloat16": descriptor.supports_bfloat16,
    }
    return tuple(dtype for dtype in preset.dtypes if supported[dtype])


def estimate_peak_memory(
    descriptor: Descriptor, size: tuple[int, int], kind: Kind = "allocated"
) -> int | None:
    """Bytes at the peak of a call with one image, in the dtype that the model has now.

    As spandrel's issue 280 asks for it. The first call for a descriptor makes its estimate, which
    is kept as long as the descriptor.

    Args:
        size: width and height of the image, which the descriptor pads where it must.

    Returns:
        None if there is no estimate for the model, or none at that size.
    """
    if descriptor not in _known:
        try:
            _known[descriptor] = estimate(descriptor)
        except SrprofError:
            _known[descriptor] = None
    found = _known[descriptor]
    width, height = size
    wide, high = descriptor.size_requirements.get_padding(width, height)
    dtype = str(descriptor.dtype).removeprefix("torch.")
    try:
        if found is None:
            return None
        return found.peak_bytes(height + high, width + wide, 1, dtype, kind)
    except ValueError:
        return None
