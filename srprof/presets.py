"""How programs run networks: a row a program, of what decides the memory of a call. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from srprof.call import Call
from srprof.errors import InputError
from srprof.words import hint


@dataclass(frozen=True, slots=True)
class Preset:
    """A program, as it calls networks.

    Attributes:
        about: in one line. dtypes: that it runs networks in, the usual one first.
        form: attributes of the `Call`.
        beside: what its user must know that is not in a call's memory, one line each.
        sources: where each of that is read.
    """

    name: str
    about: str
    dtypes: tuple[str, ...]
    form: Mapping[str, bool] = field(default_factory=dict)
    beside: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


_ALL = ("float32", "float16", "bfloat16")
_CHAINNER = (
    "https://github.com/chaiNNer-org/chaiNNer/blob/874b8783a28b4ba52c2a567d5490e211029ffdd9/"
    "backend/src/nodes/impl/"
)
_COMFYUI = (
    "https://github.com/Comfy-Org/ComfyUI/blob/30a74432c780b220aead6c33ab2ebc265678e5e3/"
    "comfy_extras/nodes_upscale_model.py"
)
_SPANDREL = (
    "https://github.com/chaiNNer-org/spandrel/blob/b0c3eb2d044112a5302200757e84f839b971393b/"
)
_TRAINNER = (
    "https://github.com/the-database/traiNNer-redux/blob/"
    "3ebe5d2312dc9ce6c8481a7887087bf85e43a08b/scripts/benchmarking/benchmark_archs.py"
)

PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("plain", "one call of a fresh program, weights and image in one dtype", _ALL),
        Preset(
            "chainner",
            "weights and tiles in float16; each tile's result, its channels turned round on the "
            "GPU, goes to main memory before the next",
            ("float16", "float32"),
            {"copied_result": True},
            sources=(
                f"{_CHAINNER}pytorch/auto_split.py#L108-L151",
                f"{_CHAINNER}upscale/auto_split_tiles.py#L14-L26",
            ),
        ),
        Preset(
            "comfyui",
            "weights in float32; tiles of 512 with their channels innermost, whose results go to "
            "main memory one by one",
            ("float32",),
            {"images_channels_last": True},
            beside=(
                "ComfyUI has the whole image on the GPU beside each tile: 12 bytes for each of its "
                "pixels, which are not in the estimate",
            ),
            sources=(f"{_COMFYUI}#L79-L101",),
        ),
        Preset(
            "spandrel",
            "as its README has it: weights and image in one dtype, without gradients; the result "
            "stays on the GPU",
            _ALL,
            sources=(
                f"{_SPANDREL}README.md?plain=1#L41-L48",
                f"{_SPANDREL}libs/spandrel/spandrel/__helpers/model_descriptor.py#L446-L484",
            ),
        ),
        Preset(
            "trainner",
            "its benchmark: weights in float32 in a region of autocast, one network after another "
            "in a process, the previous result still there, cuDNN's benchmark on",
            ("float16", "bfloat16"),
            {"autocast": True, "previous_result": True, "warm": True},
            beside=(
                "with cuDNN's benchmark on, the estimate is of calls of a size after its first, in "
                "which cuDNN tries algorithms; which it takes then is not known",
            ),
            sources=(f"{_TRAINNER}#L152-L205", f"{_TRAINNER}#L217-L252", f"{_TRAINNER}#L278"),
        ),
    )
}


def find(name: str) -> Preset:
    """A preset by its name; an InputError names those that there are."""
    if name not in PRESETS:
        raise InputError(f"no program {name!r} is known: {hint(name, PRESETS)}")
    return PRESETS[name]


def applied(call: Call, preset: Preset | None) -> Call:
    """The call as the program makes it."""
    form: dict[str, Any] = {} if preset is None else {**preset.form}
    return replace(call, **form)
