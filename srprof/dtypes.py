"""The dtypes and the layout that a network has by itself, and the image that goes with them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from srprof.blame import message
from srprof.errors import user_raised
from srprof.networks import weights

#: What an image is made as, where nobody says another dtype.
USUAL = "float32"

#: Calls whose floating-point operands must have one dtype; meta kernels of torch let some differ.
_OF_ONE_DTYPE = frozenset(("convolution", "addmm", "mm", "bmm", "baddbmm", "addmv", "linear"))
#: Calls that take float32 weights with an image of lower precision, and no others that differ.
_NORMS = frozenset(("native_batch_norm", "native_layer_norm", "native_group_norm"))
#: How torch says that dtypes differ.
_DIFFER = re.compile(r"dtype|scalar type|should be the same|[Pp]romot")


def name_of(dtype: torch.dtype) -> str:
    """`float16` of `torch.float16`."""
    return str(dtype).removeprefix("torch.")


def floating(model: nn.Module) -> Counter[str]:
    """Bytes of the network's floating-point weights by dtype."""
    found: Counter[str] = Counter()
    for tensor in weights(model):
        if tensor.is_floating_point() and not is_lazy(tensor):
            found[name_of(tensor.dtype)] += tensor.numel() * tensor.element_size()
    return found


def check_operands(op: str, args: Iterable[Any]) -> None:
    """Raise, as torch does on a real device, if a call cannot take its operands' dtypes."""
    if op not in _OF_ONE_DTYPE and op not in _NORMS:
        return
    tensors = [t for t in args if isinstance(t, torch.Tensor) and t.is_floating_point()]
    first, others = tensors[0].dtype, {t.dtype for t in tensors[1:]}
    if op in _NORMS and first.itemsize < 4:
        others.discard(torch.float32)
    if others - {first}:
        named = " and ".join(sorted({name_of(dtype) for dtype in (first, *others)}))
        raise RuntimeError(f"{op} takes operands of the same dtype, and these are {named}")


class _Checked(TorchDispatchMode):
    """Checks the operands of each call."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports torch._dynamo, which takes a second

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        check_operands(func._schema.name.removeprefix("aten::"), args)
        return func(*args, **(kwargs or {}))


def image_dtype(own: Counter[str], run: Callable[[str], object]) -> str:
    """The dtype of an image for a network with these weights: float32 if it takes that.

    Else, and where nobody can tell, that of most of its weights. `run` calls a network of its own
    on meta tensors with an image of a dtype.
    """
    if own.keys() <= {USUAL}:
        return USUAL
    try:
        checked = _Checked()  # type: ignore[no-untyped-call]  # torch does not type it
        with torch.no_grad(), checked, torch.random.fork_rng(devices=[]):
            run(USUAL)
    except user_raised() as error:
        most = own.most_common(1)[0][0]
        return most if len(own) == 1 or _DIFFER.search(message(error)) else USUAL
    return USUAL


def own_form(model: nn.Module) -> Iterator[str]:
    """What a reader must know of a network that runs in its own dtypes and layout."""
    own = floating(model)
    if not own.keys() <= {USUAL}:
        of = ", ".join(f"{dtype} ({nbytes} bytes)" for dtype, nbytes in own.most_common())
        yield f"the network runs in its own dtypes, its weights in {of}; --dtype changes them"
    maps = [w for w in weights(model) if w.dim() == 4 and w.layout is torch.strided]
    if any(map(_is_channels_last, maps)):
        yield "the network's own 4-d weights are channels-last; --channels-last is for inputs too"


def _is_channels_last(weight: torch.Tensor) -> bool:
    return not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last)
