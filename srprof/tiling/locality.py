"""Whether a network is local, and how far it looks: found with NaN, then proved.

A NaN shows what a result pixel depends on (`reach.py`). Comparisons hide a NaN, and strides and
windows make the result depend on where a tile begins; so the halo is then proved: on random
images, tiles and whole must agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import inf, isfinite

import torch
from torch import Tensor, nn

from srprof.blame import blame
from srprof.cost.complexity import complexity
from srprof.dtypes import name_of
from srprof.errors import SrprofError, user_raised
from srprof.networks import converted, named_parameters, put_in_mode
from srprof.placing import copy_model
from srprof.tiling.reach import STRIP, kernels_reach, reach
from srprof.tiling.subject import Subject, find_subject
from srprof.tiling.tiled import Tiled
from srprof.tracing.isolation import isolated
from srprof.words import shape_text

#: Tiles may have to start at multiples of what the network's sizes are multiples of, times these.
_ALIGNMENTS = (1, 2, 4, 8, 16)
#: Largest difference between tiled and whole, of the result's largest value, in float64 (rounding
#: only: 2e-16 a call) and, for what does not run in float64, in float32.
_TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5}
#: MACs up to which the proof's image is cut both ways; else two strips, each cut one way.
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
            largest value; dtype: in which that was computed.
        bit_equal: in float32 there was no difference at all. It holds for the proof's sizes: a
            library may add in another order at others.
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


def locality(
    module: nn.Module, channels: int | None = None, multiple: int | None = None
) -> Locality:
    """Find a network's halo and prove it; the network itself is left as it is.

    A copy is run on the CPU in evaluation mode, in float32 and float64, on strips of a few
    pixels' width: a second for an efficient network, five for EDSR's 43 million parameters.

    Args:
        module: a network of one image to one image.
        channels: of its input; None tries 3, 1, and what its first convolution takes.
        multiple: tiles start at multiples of this; None finds the smallest that will do.

    Raises:
        InputError: it takes no image of any size that was tried, or cannot be copied.
    """
    with isolated([]), torch.no_grad():
        copy = converted(copy_model(module, "cpu"), torch.float32)
        put_in_mode(copy, training=False)
        _give_data(copy, module)
        subject = find_subject(copy, channels)
        if not subject.rule.aligned:
            only = "" if subject.rule.step is None else " only"
            return Locality(False, reason=f"it takes {subject.rule}{only}")
        try:
            return _found(subject, multiple)
        except SrprofError:
            raise
        except user_raised() as error:  # squares it took
            refused = f"it refuses images of other proportions: {blame(error).describe(error)}"
            return Locality(False, reason=refused)


def _found(subject: Subject, multiple: int | None) -> Locality:
    if resized := _resized_to_the_image(subject):
        return Locality(False, reason=resized)
    expected = kernels_reach(subject)
    distance = reach(subject, expected)
    if isinstance(distance, str):
        return Locality(False, reason=distance)
    # a comparison may have hidden the NaN from the distance, but not what the kernels reach
    return _proved(subject, tuple(sorted({distance, max(distance, expected)})), multiple)


def _give_data(copy: nn.Module, module: nn.Module) -> None:
    """Random weights, in the copy, for those that the network has on the meta device."""
    named = dict(named_parameters(module))
    generator = torch.Generator().manual_seed(0)
    for name, weight in named_parameters(copy):
        if named[name].is_meta:
            weight.normal_(std=0.1, generator=generator)


def _proved(subject: Subject, halos: tuple[int, ...], multiple: int | None) -> Locality:
    """The first halo and smallest multiple with which tiles give the whole image's result."""
    step = subject.rule.step or 1
    multiples = [step * a for a in _ALIGNMENTS] if multiple is None else [multiple]
    closest = inf
    for halo, candidate in product(halos, multiples):
        comparison = _compare(subject, halo, candidate)
        if comparison.local:
            return comparison
        closest = min(closest, comparison.difference)
    reason = "the result depends on where a tile begins; tiles with a halo of "
    reason += f"{halos[-1]} differ by {closest:.1e} of the largest value"
    return Locality(False, reason=reason, difference=closest)


def _compare(subject: Subject, halo: int, multiple: int) -> Locality:
    """Tiled and whole on random images: cut both ways if that is cheap, else one after the other.

    Two tiles along an axis; the second starts at an odd number of multiples.
    """
    tile = -(-2 * halo // multiple) * multiple + 3 * multiple
    tile += max(0, -(-(subject.rule.least - tile) // multiple) * multiple)
    length, across = tile + 3 * multiple, subject.rule.at_least(STRIP)
    cost = _macs(subject, across) / across**2 * length**2
    sizes = [(length, length)] if cost <= _CHEAP else [(length, across), (across, length)]
    comparisons = [_compare_on(subject, size, tile, halo, multiple) for size in sizes]
    return max(comparisons, key=lambda one: (not one.local, one.difference, not one.bit_equal))


def _macs(subject: Subject, side: int) -> float:
    try:
        return float(complexity(subject.trace(side)).macs)
    except SrprofError:
        return inf


def _compare_on(
    subject: Subject, size: tuple[int, int], tile: int, halo: int, multiple: int
) -> Locality:
    """One comparison: in float32, and where that rounds differently in float64."""
    computed, difference, equal = torch.float32, inf, False
    for dtype in (torch.float32, torch.float64):
        try:
            model, image = converted(subject.model, dtype), subject.image(*size, dtype)
            whole: Tensor = model(image.clone())
            tiled: Tensor = Tiled(model, tile, halo, multiple)(image)
        except SrprofError:
            raise
        except user_raised():  # in float64 it mixes in tensors of its own
            break
        finally:
            converted(subject.model, torch.float32)
        computed, difference = dtype, _difference(whole, tiled)
        equal = dtype is torch.float32 and torch.equal(whole, tiled)
        if equal:
            break
    return Locality(
        local=difference <= _TOLERANCE[computed],
        halo=halo,
        multiple=multiple,
        difference=difference,
        bit_equal=equal,
        dtype=name_of(computed),
        image=size,
        tile=(min(tile, size[0]), min(tile, size[1])),
    )


def _difference(whole: Tensor, tiled: Tensor) -> float:
    """The largest difference, as a share of the largest value; infinite if one is no number."""
    largest = float(whole.abs().max())
    difference = float((whole - tiled).abs().max())
    return difference / (largest or 1.0) if isfinite(largest + difference) else inf


def _resized_to_the_image(subject: Subject) -> str:
    """The first call that enlarges an image of another size by another number; "" if none does."""
    # in multiples of all alignments there are no rests, which would make another number of one
    unit = _ALIGNMENTS[-1] * (subject.rule.step or 1)
    first = -(-subject.rule.at_least(64) // unit)
    sides = [unit * count for count in (first, first + 1, first + 3)]
    for resizes in zip(*(_resizes(subject, side) for side in sides), strict=False):
        where, before, after = resizes[0]
        ratios = {(b[0] / a[0], b[1] / a[1]) for _, a, b in resizes}
        if len(ratios) > 1:
            return (
                f"{where} resizes to the image's size ({shape_text(before)} to "
                f"{shape_text(after)} in an image of {sides[0]}x{sides[0]})"
            )
    return ""


def _resizes(subject: Subject, side: int) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """Calls that resize, in an image of this side: where, height and width before and after."""
    for node in subject.trace(side).nodes:
        if node.op.startswith("upsample") and node.inputs and len(node.shape) == 4:
            where = f"{node.op} in {node.module}" if node.module else node.op
            yield where, node.inputs[0].shape[-2:], node.shape[-2:]
