"""Checkpoints: state dicts read from files without running what is in them, and written.

A `.pth` is read with `weights_only=True`. What people wrap a state dict in is taken off.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from srprof import spec
from srprof.errors import InputError
from srprof.files import check_file, opened
from srprof.output import replacing
from srprof.words import one_line

#: Keys under which training scripts store the state dict, the averaged weights first.
_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model")
#: What torch says of a pickle that names a class or function.
_CODE = re.compile(r"Unsupported (global|class)|Trying to instantiate", re.IGNORECASE)
#: Names listed of each kind when a checkpoint does not fit.
_LISTED = 5
#: What torch says of a tensor of another shape: its name, the file's shape, the network's.
_MISFIT = re.compile(r"size mismatch for (\S+):.*?Size\(\[(.*?)\]\).*?Size\(\[(.*?)\]\)")


#: What a reader of results must know where nobody gave weights.
AS_BUILT = "no --weights were given: the network has those that it was built with, random or not"


def as_built(model: Any, weights: str | None, parameters: int | None) -> bool:
    """Whether a SPEC's network has the weights of its constructor, if it has any."""
    if not isinstance(model, str) or weights or spec.parse(model).checkpoint:
        return False
    return parameters != 0


def read_state_dict(path: str) -> dict[str, Tensor]:
    """The tensors of a `.pth`, `.pt`, `.ckpt` or `.safetensors` file by name, on the CPU.

    An InputError if there is no such file, it is damaged, or holds no state dict.
    """
    check_file(path, "check the path of the checkpoint")
    state = _read(path)
    for key in _WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping):
        raise InputError(
            f"{path} holds a {type(state).__name__} and no state dict; save model.state_dict()"
        )
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"{path} holds no tensors by name; save model.state_dict()")
    if all(key.startswith("module.") for key in tensors):  # of nn.DataParallel
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    return tensors


def _read(path: str) -> Any:
    damaged = "it is damaged, cut off, or no checkpoint; copy or download it again"
    try:
        if path.endswith(".safetensors"):
            return _safetensors("load_file")(path)
        with opened(path) as file:
            return load_tensors(file)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        if _CODE.search(str(error)):
            raise InputError(
                f"{path} is refused: it holds more than tensors, and reading that would run code "
                "from the file; save model.state_dict() alone"
            ) from error
        raise InputError(f"{path} cannot be read: {damaged}") from error
    except Exception as error:
        raise InputError(f"{path} cannot be read ({type(error).__name__}): {damaged}") from error


def load_tensors(file: BinaryIO) -> Any:
    """What torch reads of a file without running anything; raises whatever torch does."""
    with warnings.catch_warnings():  # what torch says of an odd file is not for the user
        warnings.simplefilter("ignore")
        return torch.load(file, map_location="cpu", weights_only=True)


def _safetensors(function: str) -> Any:
    try:
        import safetensors.torch
    except ImportError:
        raise InputError(
            ".safetensors files need the package safetensors: pip install safetensors"
        ) from None
    return getattr(safetensors.torch, function)


def write_state_dict(state: Mapping[str, Tensor], path: str) -> None:
    """Write a state dict, as the file's ending says, whole or, with an InputError, not at all."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    safe = path.endswith(".safetensors")
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(_safetensors("save")(tensors) if safe else torch_bytes(tensors))


def torch_bytes(value: Any) -> memoryview:
    """What `torch.save` would write.

    Its own writer turns a full disk into errors that say nothing of a disk.
    """
    data = BytesIO()
    torch.save(value, data)
    return data.getbuffer()


def load_weights(model: nn.Module, path: str) -> nn.Module:
    """Load a checkpoint into a model, every key of it; gives the model.

    An InputError if it cannot be read or does not fit; missing and unexpected keys are listed.
    """
    state = read_state_dict(path)
    try:
        wrong, cause = loaded(model, state)
    except InputError as error:  # the network knows what is wrong: another form of itself
        raise InputError(f"{path}: {error}") from error
    if not wrong:
        return model
    raise InputError(
        f"{path} does not fit {type(model).__name__}: {wrong}; build the network with the "
        "hyper-parameters that it was trained with"
    ) from cause


def loaded(model: nn.Module, state: Mapping[str, Any]) -> tuple[str, RuntimeError | None]:
    """Load what fits, and say what does not: "" if all does; with torch's error, if it raised."""
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        shapes = [
            f"{name} is {_shape(theirs)} in the file and {_shape(ours)} in the network"
            for name, theirs, ours in _MISFIT.findall(str(error))
        ]
        return _some(shapes, "; ") or one_line(error), error
    if not missing and not unexpected:
        return "", None
    return f"{_listed('missing', missing)}; {_listed('unexpected', unexpected)}", None


def _shape(sizes: str) -> str:
    return sizes.replace(", ", "x") or "a scalar"


def _listed(what: str, names: list[str]) -> str:
    return f"{len(names)} {what}" + (f" ({_some(names)})" if names else "")


def _some(names: Iterable[str], separator: str = ", ") -> str:
    names = list(names)
    more = [f"and {len(names) - _LISTED} more"] if len(names) > _LISTED else []
    return separator.join([*names[:_LISTED], *more])
