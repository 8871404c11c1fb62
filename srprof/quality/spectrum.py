"""Spectra of feature maps before and after modules, as in Section 4.3 of FMEN (CVPRW 2022).

Of a feature map (C, H, W) the mean over the channels is taken, of that the power spectrum by the
discrete Fourier transform, with the zero frequency in the middle, and its power is summed over
concentric rings around there. Divided by the whole power that is a density: how the power is
shared out among frequencies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srprof.call import Call
from srprof.errors import InputError, ModelError
from srprof.measuring.metering import new_instance
from srprof.networks import named_modules
from srprof.quality.images import read_image
from srprof.quality.metrics import luma
from srprof.quality.pixel_range import Found, Range, find_range
from srprof.quality.upscaling import Upscaler, by_channels, probe
from srprof.shown import Shown
from srprof.tracing.isolation import isolated
from srprof.weights import AS_BUILT, as_built
from srprof.words import did_you_mean, some
from srprof.workload import Workload, resolve, user_errors

Array = NDArray[np.float64]

#: Modules that are looked at if none is named: those whose class is called so.
DEFAULT_CLASS = "HFAB"
#: Frequencies above half of the highest that rows and columns can have (0.5), in cycles per pixel.
HIGH = 0.25

_LISTED = 6


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The spectrum of a feature map: of the mean (H, W) over its channels."""

    channels: int
    mean: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the feature map: (C, H, W)."""
        return self.channels, *self.mean.shape

    @cached_property
    def power(self) -> Array:
        """The power spectrum (H, W), the zero frequency at [H // 2, W // 2]."""
        return np.abs(np.fft.fftshift(np.fft.fft2(self.mean))) ** 2

    @cached_property
    def radius(self) -> Array:
        """Radii of the rings' middle lines, in cycles per pixel."""
        radii: Array = np.arange(len(self.density)) / min(self.mean.shape)
        return radii

    @cached_property
    def density(self) -> Array:
        """Shares of the power in rings around zero frequency; they sum to 1.

        With n the shorter side, ring k has the frequencies whose distance from zero, in cycles per
        pixel, is nearest to k / n. Power in the corners, beyond 0.5, is in the outermost rings. A
        map of zeros gives zeros.
        """
        rows, columns = (np.fft.fftshift(np.fft.fftfreq(side)) for side in self.mean.shape)
        distance = np.hypot(rows[:, None], columns[None])
        ring = np.rint(distance * min(self.mean.shape)).astype(np.intp)
        sums = np.bincount(ring.ravel(), weights=self.power.ravel())
        shares: Array = sums / (float(sums.sum()) or 1.0)
        return shares

    @property
    def constant(self) -> float:
        """The share of the innermost ring: the zero frequency, the map's mean value."""
        return float(self.density[0])

    @cached_property
    def rest(self) -> Array:
        """The density without the constant: shares of the other rings, which sum to 1."""
        others = self.density[1:]
        shares: Array = others / (float(others.sum()) or 1.0)
        return shares

    def above(self, radius: float, *, constant: bool = False) -> float:
        """The share of frequencies above a radius in the power that is not constant, or in all."""
        shares, radii = (self.density, self.radius) if constant else (self.rest, self.radius[1:])
        return float(shares[radii > radius].sum())

    @property
    def high(self) -> float:
        """The share of frequencies above `HIGH` in the power that is not constant."""
        return self.above(HIGH)

    @property
    def high_of_all(self) -> float:
        """The share of frequencies above `HIGH` in all the power, the constant with it."""
        return self.above(HIGH, constant=True)


@dataclass(frozen=True)
class ModuleSpectra:
    """A module's call, 1 for its first: its first feature map, and what it made of it."""

    module: str
    kind: str
    call: int
    before: Spectrum
    after: Spectrum

    @property
    def moved(self) -> float | None:
        """The share of the power that is in another ring after than before; the constant is one.

        None where the rings are others, of maps of another size.
        """
        return _moved(self.before.density, self.after.density)

    @property
    def moved_of_rest(self) -> float | None:
        """The same of the power that is not constant, without its ring."""
        return _moved(self.before.rest, self.after.rest)


@dataclass(frozen=True, repr=False)
class Spectra(Shown):
    """The spectra of one run, by when the modules' calls ended; `shape` is its input's."""

    view = "spectrum"

    name: str
    spec: str
    weights: str
    image: str
    shape: tuple[int, ...]
    pixel_range: int
    modules: tuple[ModuleSpectra, ...]
    notes: tuple[str, ...] = ()


def spectra(
    model: Any,
    image: str,
    modules: Sequence[str] = (),
    *,
    weights: str | None = None,
    pixel_range: Range | None = None,
) -> Spectra:
    """Run a model on an image on the CPU and take the spectra of modules' feature maps.

    Args:
        model: a SPEC or an `nn.Module`; weights: checkpoint for a SPEC.
        image: file of the LR image.
        modules: names or patterns (`HFABs.*`) of modules; by default every HFAB.
        pixel_range: largest value of the network's input, 1 or 255; None finds it on the image, and
            says so in the notes.

    Raises:
        InputError: the SPEC, the weights or the image is wrong, or no module has such a name.
        ModelError: the model raised, or a feature map is not finite.
    """
    pixels = read_image(image).pixels
    built = as_built(model, weights, None)
    found = Found(pixel_range or 1)
    if pixel_range is None:
        found = _range(Call(model, (), weights), pixels, image, trained=not built)
    largest = found.pixel_range

    def run(channels: int) -> Spectra:
        planes = luma(pixels)[None] if channels == 1 else pixels.transpose(2, 0, 1)
        values = np.ascontiguousarray(planes[None] / (255 / largest), np.float32)
        workload = resolve(Call(model, (torch.from_numpy(values),), weights))
        notes = [found.note] if found.note else []
        maps = _maps(workload, modules, notes)
        if built:
            notes.append(AS_BUILT)
        facts = workload.name, workload.spec, weights or "", image, values.shape, largest
        return Spectra(*facts, tuple(maps), notes=(*notes, *_zeros(maps)))

    return by_channels(model, run)


def _range(call: Call, pixels: Array, image: str, *, trained: bool) -> Found:
    """The values that the network takes; 0 to 1 of one that gives no image."""
    try:
        probed = probe(call)
        upscaler = Upscaler(call, probed, probed.factor, 1, None, None, "cpu")
        with upscaler.running():
            return find_range(upscaler, pixels, image, trained)
    except (InputError, ModelError):
        return Found(1)


def _maps(workload: Workload, patterns: Sequence[str], notes: list[str]) -> list[ModuleSpectra]:
    with isolated(notes), workload.environment(), user_errors(workload.name, workload.own):
        network, args, kwargs, _ = new_instance(workload, "cpu", run=0)
        names = chosen_modules(network, patterns)
        with recording_maps(network, names) as maps, torch.no_grad():
            network(*args, **kwargs)
    if not maps:
        what = "nothing of it ran on this image, or it takes or gives no feature map (N, C, H, W)"
        raise InputError(f"{', '.join(names[:_LISTED])}: {what}; name other modules")
    return maps


def _zeros(modules: Sequence[ModuleSpectra]) -> Iterator[str]:
    for item in modules:
        for side, spectrum in (("before", item.before), ("after", item.after)):
            if not spectrum.density.any():
                yield f"the mean feature map {side} {item.module} is zero everywhere"


def chosen_modules(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Names of the model's modules that fit one of the patterns; without any, of its HFABs.

    An InputError if a pattern fits no module, with near names; or there is no HFAB.
    """
    kinds = {name: type(module).__name__ for name, module in named_modules(model) if name}
    if not patterns:
        names = [name for name, kind in kinds.items() if DEFAULT_CLASS in kind.upper()]
        if not names:
            what = f"{type(model).__name__} has no {DEFAULT_CLASS}"
            raise InputError(f"{what}: name modules with --module; {_some(kinds)}")
        return names
    chosen: dict[str, None] = {}
    for pattern in patterns:
        fitting = [name for name in kinds if name == pattern or fnmatchcase(name, pattern)]
        if not fitting:
            near = did_you_mean(pattern, kinds, count=3, cutoff=0.5) or _some(kinds)
            raise InputError(f"--module {pattern}: {type(model).__name__} has none, {near}")
        chosen |= dict.fromkeys(fitting)
    return list(chosen)


def _some(kinds: dict[str, str]) -> str:
    return f"it has {some(kinds, _LISTED) or 'no modules at all'}"


@contextmanager
def recording_maps(model: nn.Module, names: Sequence[str]) -> Iterator[list[ModuleSpectra]]:
    """Record the feature maps before and after modules while the model runs in here.

    The hooks are gone afterwards, also if the model raises. Calls whose first tensor or result
    is no feature map (1, C, H, W) are passed over.
    """
    maps: list[ModuleSpectra] = []
    handles = []
    try:
        for name in names:
            before, after = _hooks(name, maps)
            module = model.get_submodule(name)
            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            handles.append(module.register_forward_hook(after))
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def _hooks(name: str, maps: list[ModuleSpectra]) -> tuple[Callable[..., None], Callable[..., None]]:
    """What runs before and after a module's call.

    The mean is taken at once: the module may change its input in place.
    """
    open_calls: list[Spectrum | None] = []

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, object]) -> None:
        tensors = (value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        open_calls.append(_spectrum(next(tensors, None), name))

    def after(module: nn.Module, _: Any, result: Any) -> None:
        first, second = open_calls.pop(), _spectrum(result, name)
        if first is not None and second is not None:
            call = 1 + sum(item.module == name for item in maps)
            maps.append(ModuleSpectra(name, type(module).__name__, call, first, second))

    return before, after


def _moved(before: Array, after: Array) -> float | None:
    """Half the sum of the differences of two densities."""
    return float(np.abs(after - before).sum()) / 2 if len(before) == len(after) else None


def _spectrum(value: Any, name: str) -> Spectrum | None:
    if not isinstance(value, Tensor) or value.dim() != 4 or value.shape[0] != 1:
        return None
    mean = value.detach()[0].to(torch.float64).mean(dim=0).numpy()
    if not np.isfinite(mean).all():
        raise ModelError(f"a feature map of {name} has NaN or infinity; check the weights")
    return Spectrum(value.shape[1], mean)
