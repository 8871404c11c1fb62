"""Whether a network is local: how far a result pixel looks, found with NaN and then proved.

A NaN in one row of the image spreads to what depends on that row, because 0 x NaN is NaN: real
runs on the CPU, on thin strips, give the halo whatever the network is made of. What global
pooling poisons is poisoned everywhere. Comparisons hide a NaN, and strides and windows make the
result depend on where a tile begins; so the halo is then proved: random images in tiles and
whole, which must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, inf
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode

from srprof.errors import InputError, SrprofError
from srprof.tiling.sizes import SizeRule, size_rule
from srprof.tracing.source import first_line

if TYPE_CHECKING:
    from srprof.tracing.records import Trace

#: Width of a strip, in LR pixels, where the network takes so little.
_STRIP = 8
#: The NaN stands at most so far from a strip's end.
_FARTHEST = 256
#: Tiles may have to start at multiples of what the network's sizes are multiples of, times these.
_ALIGNMENTS = (1, 2, 4, 8, 16)
#: Largest difference between tiled and whole, of the result's largest value, in float64 (rounding
#: only: 2e-16 a call) and, for what does not run in float64, in float32.
_TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5}
#: Multiplications and additions up to which the proof takes an image cut both ways, not strips.
_CHEAP = 4e9


@dataclass(frozen=True, slots=True)
class Locality:
    """What is known of a network's locality.

    Attributes:
        local: tiles with this halo give the whole image's result.
        halo: LR pixels around a tile's kept part that it depends on; 0 if it is not local.
        multiple: tiles must start at, and be, multiples of it.
        reason: why it is not local, one line.
        difference: the largest between tiled and whole in the proof, as a share of the result's
            largest value; bit_equal: there was none at all in float32. dtype: what it was
            computed in.
        image, tile: LR height and width of the proof's image and tiles.
    """

    local: bool
    halo: int = 0
    multiple: int = 1
    reason: str = ""
    difference: float = 0.0
    bit_equal: bool = False
    dtype: str = ""
    image: tuple[int, int] = (0, 0)
    tile: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class _Subject:
    """The network under test: a copy on the CPU in float32, and the sizes that it takes."""

    model: nn.Module
    channels: int
    rule: SizeRule

    def image(self, height: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """The same random image each time, by size."""
        generator = torch.Generator().manual_seed(0)
        shape = (1, self.channels, height, width)
        return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)


def locality(
    module: nn.Module, channels: int | None = None, multiple: int | None = None
) -> Locality:
    """Find a network's halo and prove it; the network itself is left as it is.

    It is run on the CPU in evaluation mode, on strips of a few pixels' width.

    Args:
        module: a network of one image to one image.
        channels: of its input; None tries 3, 1, and what its first convolution takes.
        multiple: tiles may start at multiples of this only; None finds the smallest.

    Raises:
        InputError: it takes no image of any size that was tried, or cannot be copied.
    """
    from srprof.tracing.isolation import isolated
    from srprof.workload import copy_model

    model = copy_model(module, "cpu").float().eval()
    with isolated([]), torch.no_grad():
        subject = _subject(model, channels)
        if not subject.rule.aligned:
            return Locality(False, reason=_sizes_reason(subject.rule))
        reach = _reach(subject)
        if isinstance(reach, str):
            return Locality(False, reason=reach)
        return _proved(subject, reach, multiple)


def _subject(model: nn.Module, channels: int | None) -> _Subject:
    """The network with what it takes, found on the meta device where that can run it."""
    first = next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), 3)
    tried = [channels] if channels is not None else list(dict.fromkeys((3, 1, first)))
    error: Exception | None = None
    for run in (_on_meta(model), model):
        for count in tried:
            takes = _Takes(run, count)
            rule = size_rule(takes)
            if rule is not None:
                return _Subject(model, count, rule)
            error = error or takes.error
    raise InputError(
        f"{type(model).__name__} takes no image of {' or '.join(map(str, tried))} channels "
        f"({first_line(error) if error else 'it gives none'}), so where its result depends on "
        "what cannot be found out; give a halo"
    )


def _on_meta(model: nn.Module) -> nn.Module:
    from srprof.workload import copy_model

    return copy_model(model, "meta")


class _Takes:
    """Whether a network takes a square image, and gives one that is larger by whole numbers."""

    def __init__(self, model: nn.Module, channels: int) -> None:
        self._model = model
        self._channels = channels
        self._device = next((p.device.type for p in model.parameters()), "cpu")
        self.error: Exception | None = None

    def __call__(self, side: int) -> bool:
        try:
            result = self._model(torch.zeros(1, self._channels, side, side, device=self._device))
        except Exception as error:
            self.error = self.error or error
            return False
        if not isinstance(result, Tensor) or result.dim() != 4:
            return False
        height, width = result.shape[-2:]
        return height == width and height >= side and height % side == 0


def _sizes_reason(rule: SizeRule) -> str:
    if rule.step is None:
        return f"it takes images of {rule.least}x{rule.least} only"
    return f"it takes sides of {rule.side(0)}, {rule.side(1)}, {rule.side(2)}, ... pixels only"


# -- the reach, by NaN -----------------------------------------------------------------------


def _reach(subject: _Subject) -> int | str:
    """How far a result pixel looks, in LR pixels; or what makes it look everywhere."""
    distance = _convolutions_reach(subject) + 8
    while True:
        found = [_spread(subject, axis, distance) for axis in (-2, -1)]
        reached = [one for one in found if isinstance(one, int)]
        if len(reached) == 2:
            return max(reached)
        if distance >= _FARTHEST:
            return _culprit(subject, distance)
        poisoned = _culprit(subject, distance)
        if poisoned.endswith(_WHOLE):
            return poisoned
        distance = min(_FARTHEST, 4 * distance)


def _strip(subject: _Subject, axis: int, distance: int) -> tuple[tuple[int, int], int]:
    """Size of a strip along an axis, and where the NaN stands in its middle."""
    step = subject.rule.step or 1
    unit = step if step % 8 == 0 else 8 * step
    middle = -(-distance // unit) * unit
    length, across = subject.rule.at_least(2 * middle), subject.rule.at_least(_STRIP)
    return ((length, across) if axis == -2 else (across, length)), middle


def _poisoned(subject: _Subject, axis: int, distance: int) -> tuple[Tensor, int]:
    """A strip with one row (or column) of NaN, and its index."""
    size, middle = _strip(subject, axis, distance)
    image = subject.image(*size)
    image.select(axis, middle).fill_(torch.nan)
    return image, middle


def _spread(subject: _Subject, axis: int, distance: int) -> int | None:
    """How far from its row a NaN gets, in LR pixels; None if it gets to an end of the strip."""
    image, middle = _poisoned(subject, axis, distance)
    length = image.shape[axis]
    result = subject.model(image)
    scale = result.shape[axis] // length
    others = tuple(i for i in range(4) if i != 4 + axis)
    spoiled = result.isnan().any(dim=others[0], keepdim=True)
    for dim in others[1:]:
        spoiled = spoiled.any(dim=dim, keepdim=True)
    where = spoiled.flatten().nonzero().flatten()
    if where.numel() == 0:
        return 0
    first, last = int(where[0]), int(where[-1])
    if first == 0 or last == scale * length - 1:
        return None
    return max(middle - first // scale, last // scale - middle)


def _convolutions_reach(subject: _Subject) -> int:
    """How far the convolutions and pooling on the longest path look: where to begin.

    It is no bound, since other calls look around too.
    """
    from srprof.analysis import trace

    side = subject.rule.at_least(64)
    try:
        record = trace(subject.model, (1, subject.channels, side, side))
    except SrprofError:
        return 16
    return ceil(_longest_path(record, side))


def _longest_path(record: Trace, side: int) -> float:
    reach: dict[int, float] = {}
    for node in record.nodes:
        longest = max((reach.get(info.storage, 0.0) for info in node.inputs), default=0.0)
        if node.inputs and len(node.inputs[0].shape) == 4:
            longest += _kernel_reach(node.op, node.arguments[0], node.inputs) * (
                side / node.inputs[0].shape[-2]
            )
        for info in node.outputs:
            reach[info.storage] = max(reach.get(info.storage, 0.0), longest)
    return max(reach.values(), default=0.0)


def _kernel_reach(op: str, arguments: tuple[Any, ...], inputs: tuple[Any, ...]) -> float:
    """Pixels of its input that a convolution or pooling looks to one side."""
    if op == "convolution" and len(inputs[1].shape) == 4:
        return (max(inputs[1].shape[-2:]) - 1) * max(arguments[5]) / 2
    if "pool2d" in op and "adaptive" not in op:
        return float(max(arguments[1])) / 2
    return 0.0


# -- who is to blame -------------------------------------------------------------------------

_WHOLE = "depends on the whole image"


def _culprit(subject: _Subject, distance: int) -> str:
    """The first call that spreads a NaN over all of its result."""
    for axis in (-2, -1):
        image, _ = _poisoned(subject, axis, distance)
        with _modules(subject.model) as stack, _Spreading(stack) as spreading:
            subject.model(image)
        if spreading.found:
            return spreading.found
    return f"a result pixel depends on pixels more than {distance} away"


class _Spreading(TorchDispatchMode):
    """Finds the call that gives nothing but NaN though none of its inputs was so."""

    def __init__(self, stack: list[str]) -> None:
        super().__init__()
        self._stack = stack
        self.found = ""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self.found and isinstance(result, Tensor) and _all_nan(result):
            images = [a for a in args if isinstance(a, Tensor) and a.is_floating_point()]
            if any(map(_some_nan, images)) and not any(map(_all_nan, images)):
                self.found = self._describe(func.overloadpacket.__name__, result, images[0])
        return result

    def _describe(self, op: str, result: Tensor, image: Tensor) -> str:
        where = f"{op} in {self._stack[-1]}" if self._stack and self._stack[-1] else op
        pooled = result.numel() < image.numel() and max(result.shape[2:], default=1) == 1
        return f"{where} {_WHOLE if pooled else 'looks as far as the image is large'}"


def _some_nan(tensor: Tensor) -> bool:
    return tensor.numel() > 0 and bool(tensor.isnan().any())


def _all_nan(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.numel() > 0 and bool(tensor.isnan().all())


@contextmanager
def _modules(model: nn.Module) -> Iterator[list[str]]:
    """The paths of the modules whose `forward` is running, the innermost last."""
    paths = {module: path for path, module in model.named_modules()}
    stack: list[str] = []
    before = register_module_forward_pre_hook(lambda m, _: stack.append(paths.get(m, "")))
    after = register_module_forward_hook(lambda *_: stack.pop() and None)
    try:
        yield stack
    finally:
        before.remove()
        after.remove()


# -- the proof -------------------------------------------------------------------------------


def _proved(subject: _Subject, halo: int, multiple: int | None) -> Locality:
    """The smallest multiple with which tiles of this halo give the whole image's result."""
    step = subject.rule.step or 1
    tried = (multiple,) if multiple is not None else tuple(step * a for a in _ALIGNMENTS)
    closest = Locality(False, difference=inf)
    for candidate in tried:
        found = _compare(subject, halo, candidate)
        if found.local:
            return found
        closest = min(closest, found, key=lambda one: one.difference)
    resized = _resizes(subject)
    return Locality(
        False,
        reason=f"{resized or 'the result depends on where a tile begins'}: tiled and whole differ "
        f"by {closest.difference:.1e} of the largest value, with a halo of {halo}",
        difference=closest.difference,
    )


def _compare(subject: _Subject, halo: int, multiple: int) -> Locality:
    """Tiled and whole on random images: cut both ways if that is cheap, else one after the other.

    Two tiles along an axis; the second starts at an odd number of multiples.
    """
    tile = -(-2 * halo // multiple) * multiple + 3 * multiple
    tile += max(0, -(-(subject.rule.least - tile) // multiple) * multiple)
    length, across = tile + 3 * multiple, subject.rule.at_least(_STRIP)
    cost = _macs(subject, across) / across**2 * length**2
    sizes = [(length, length)] if cost <= _CHEAP else [(length, across), (across, length)]
    found = [_compare_on(subject, size, tile, halo, multiple) for size in sizes]
    return max(found, key=lambda one: (not one.local, one.difference, not one.bit_equal))


def _macs(subject: _Subject, side: int) -> float:
    from srprof.analysis import analyze

    try:
        return float(analyze(subject.model, (1, subject.channels, side, side)).complexity.macs)
    except SrprofError:
        return inf


def _compare_on(
    subject: _Subject, size: tuple[int, int], tile: int, halo: int, multiple: int
) -> Locality:
    box = (min(tile, size[0]), min(tile, size[1]))
    difference, dtype = inf, torch.float32
    exact = False
    for dtype in (torch.float32, torch.float64):
        try:
            whole, tiled = _both(subject, size, (tile, tile), halo, multiple, dtype)
        except SrprofError:
            raise
        except Exception:
            if dtype is torch.float32:
                return Locality(False, difference=inf)
            dtype = torch.float32  # it makes float32 tensors by itself
            break
        difference = _difference(whole, tiled)
        exact = dtype is torch.float32 and torch.equal(whole, tiled)
        if exact:
            break
    local = difference <= _TOLERANCE[dtype]
    name = str(dtype).removeprefix("torch.")
    return Locality(local, halo, multiple, "", difference, exact, name, size, box)


def _both(
    subject: _Subject,
    size: tuple[int, int],
    tile: tuple[int, int],
    halo: int,
    multiple: int,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """The whole image's result and that of its tiles."""
    from srprof.tiling.tiled import Tiled

    model = subject.model.to(dtype)
    try:
        image = subject.image(*size, dtype)
        whole = model(image.clone())
        return whole, Tiled(model, tile, halo, multiple)(image)
    finally:
        subject.model.to(torch.float32)


def _difference(whole: Tensor, tiled: Tensor) -> float:
    """The largest difference, as a share of the largest value; infinite if one is no number."""
    largest = float(whole.abs().max())
    difference = float((whole - tiled).abs().max())
    if difference != difference or largest != largest:
        return inf
    return difference / (largest or 1.0)


def _resizes(subject: _Subject) -> str:
    """The first call that enlarges by something else than a whole number, in words."""
    from srprof.analysis import trace

    side = subject.rule.at_least(64)
    for node in trace(subject.model, (1, subject.channels, side, side)).nodes:
        if not node.op.startswith("upsample") or not node.inputs or len(node.shape) != 4:
            continue
        small, large = node.inputs[0].shape[-2:], node.shape[-2:]
        if any(b % a for a, b in zip(small, large, strict=True)):
            where = f"{node.op} in {node.module}" if node.module else node.op
            return (
                f"{where} resizes to the image's size, from {small[0]}x{small[1]} to "
                f"{large[0]}x{large[1]}"
            )
    return ""
