"""How far a result pixel looks: a NaN in one row spreads to what depends on that row.

0 x NaN is NaN, so that real runs on the CPU give the distance whatever the network is made of.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from srprof.errors import SrprofError
from srprof.ops import CONVOLUTIONS, argument, row, window, windows
from srprof.tiling.subject import Subject
from srprof.tracing.recorder import Recorder, recording

if TYPE_CHECKING:
    from srprof.records import Node, Trace

#: Width of a strip, in LR pixels, where the network takes so little.
STRIP = 8
#: The NaN stands at most so far from a strip's end.
FARTHEST = 256


def reach(subject: Subject, begin: int) -> int | str:
    """How far a result pixel looks, in LR pixels; or in words what makes it look everywhere.

    Args:
        begin: about the distance to expect; a strip's length follows from it.
    """
    distance = begin + 8
    while True:
        rows, columns = (_spread(subject, axis, distance) for axis in (-2, -1))
        if rows is not None and columns is not None:
            return max(rows, columns)
        culprit = _culprit(subject, distance)
        if culprit.pooled or distance >= FARTHEST:
            break
        distance = min(FARTHEST, 4 * distance)
    if culprit.op:
        return f"{culprit.op} depends on the whole image"
    return f"a result pixel depends on pixels more than {distance} away"


def _poisoned(subject: Subject, axis: int, distance: int) -> tuple[Tensor, int]:
    """A strip along an axis with one row (or column) of NaN in its middle, and its index."""
    step = subject.rule.step or 1
    unit = step if step % 8 == 0 else 8 * step
    middle = -(-distance // unit) * unit
    length, across = subject.rule.at_least(2 * middle), subject.rule.at_least(STRIP)
    image = subject.image(length, across) if axis == -2 else subject.image(across, length)
    image.select(axis, middle).fill_(torch.nan)
    return image, middle


def _spread(subject: Subject, axis: int, distance: int) -> int | None:
    """How far from its row a NaN gets, in LR pixels; None if it gets to an end of the strip."""
    image, middle = _poisoned(subject, axis, distance)
    length = image.shape[axis]
    result = subject.model(image)
    scale: int = result.shape[axis] // length
    spoiled = result.isnan().movedim(axis, 0).flatten(1).any(dim=1).nonzero().flatten()
    if spoiled.numel() == 0:
        return 0
    first, last = int(spoiled[0]), int(spoiled[-1])
    if first == 0 or last == scale * length - 1:
        return None
    return max(middle - first // scale, last // scale - middle)


def kernels_reach(subject: Subject) -> int:
    """How far convolutions and pooling on the longest path look, in LR pixels; it is no bound."""
    side = subject.rule.at_least(64)
    try:
        return ceil(_longest_path(subject.trace(side), side))
    except SrprofError:
        return 16


def _longest_path(record: Trace, side: int) -> float:
    lengths: dict[int, float] = {}
    for node in record.nodes:
        length = max((lengths.get(info.storage, 0.0) for info in node.inputs), default=0.0)
        if node.inputs and len(node.inputs[0].shape) == 4:
            length += _kernel_reach(node) * side / node.inputs[0].shape[-2]
        for info in node.outputs:
            lengths[info.storage] = max(lengths.get(info.storage, 0.0), length)
    return max(lengths.values(), default=0.0)


def _kernel_reach(node: Node) -> float:
    """Pixels of its input that a convolution or pooling looks to one side."""
    op = row(node.op)
    if op.family_of(node) in CONVOLUTIONS:
        dilation = max(argument(node, 5, (1,)))
        return float((max(node.inputs[1].shape[2:]) - 1) * dilation) / 2
    return max(window(node)) / 2 if op.gathers is windows else 0.0


def _culprit(subject: Subject, distance: int) -> _Spreading:
    """The first call that spreads a NaN over all of its result."""
    for axis in (-2, -1):
        image, _ = _poisoned(subject, axis, distance)
        with recording(spreading := _Spreading(subject.model)):
            subject.model(image)
        if spreading.op:
            break
    return spreading


class _Spreading(Recorder):
    """Finds the call that gives nothing but NaN though none of its inputs was so.

    Attributes:
        op: the call and its module, "" if there is none; pooled: it gave one pixel.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, "cpu")
        self.op = ""
        self.pooled = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        first = result[0] if isinstance(result, tuple) and result else result
        if not self.op and isinstance(first, Tensor) and _all_nan(first):
            read = [a for a in args if isinstance(a, Tensor) and a.is_floating_point()]
            if any(t.isnan().any() for t in read) and not any(map(_all_nan, read)):
                name, module = func.overloadpacket.__name__, self.module_stack[-1]
                self.op = f"{name} in {module}" if module else name
                self.pooled = max(first.shape[2:], default=1) == 1
        return result


def _all_nan(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.numel() > 0 and bool(tensor.isnan().all())
