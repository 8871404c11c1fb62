"""The proof that a lean network computes what the network did: outputs, allocator, time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from srprof.errors import ModelError
from srprof.leaning.module import Lean
from srprof.leaning.run import lean_form
from srprof.measuring.progress import Progress, silent
from srprof.measuring.run import measure
from srprof.measuring.statistics import Summary, summarize
from srprof.protocol import resized
from srprof.workload import Workload

#: LR sizes at which outputs are compared: square, oblong, and odd.
SIZES = ((48, 48), (40, 56), (37, 51))

#: Where the CPU's allocator is asked, and where the two are timed.
MEMORY_SIZE, TIME_SIZE = (128, 128), (256, 256)

#: Relative error that level `equivalent` may have in float32.
TOLERANCE = 1e-5

#: Pairs of timed runs, after one that is not.
PAIRS = 9


@dataclass(frozen=True)
class Comparison:
    """Outputs on one image.

    Attributes:
        image: "random", or "natural": smooth structure and edges, as a photograph has.
        identical: every bit is the same.
        error: largest difference relative to the largest output.
    """

    image: str
    size: tuple[int, int]
    identical: bool
    error: float


@dataclass(frozen=True)
class Proof:
    """What was compared.

    Attributes:
        outputs: at sizes and images that the network takes.
        untaken: sizes at which the network itself raises.
        measured: peaks by the CPU's allocator in bytes, of the network and of the lean one, at
            `MEMORY_SIZE`; None if it was not asked.
        ratios: time of the lean network over the network's in runs next to each other at
            `TIME_SIZE`, with median and spread; None if not timed.
    """

    level: str
    outputs: tuple[Comparison, ...]
    untaken: tuple[tuple[int, int], ...] = ()
    measured: tuple[int, int] | None = None
    ratios: Summary | None = None

    @property
    def error(self) -> float:
        """The largest relative error."""
        return max((found.error for found in self.outputs), default=0.0)

    @property
    def identical(self) -> bool:
        """Whether every output was the same to the bit."""
        return all(found.identical for found in self.outputs)

    @property
    def holds(self) -> bool:
        """Whether the level keeps its promise."""
        if not self.outputs:
            return False
        return self.identical if self.level == "exact" else self.error <= TOLERANCE


def prove(
    workload: Workload, level: str, *, full: bool = False, progress: Progress = silent
) -> Proof:
    """Run the network and its lean form on the CPU and compare.

    Args:
        full: at every size, and compare the allocator's peaks and the times too.

    Raises:
        RefusedError: the network cannot be lean.
        ModelError: the network raised at every size.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        instance = workload.instance("cpu")
        network, made = instance.model, lean_form(workload, level, instance=instance)
        with workload.environment():
            proof = _outputs(workload, network, made, SIZES if full else SIZES[:1], progress)
            if not proof.outputs:
                raise ModelError(
                    f"{workload.name} takes none of the sizes at which outputs are compared: "
                    + ", ".join(f"{height}x{width}" for height, width in SIZES)
                )
            if full:
                proof = replace(
                    proof,
                    measured=_allocated(workload, network, made, progress),
                    ratios=_times(workload, network, made, progress),
                )
    return proof


def _outputs(
    workload: Workload,
    network: nn.Module,
    made: Lean,
    sizes: Sequence[tuple[int, int]],
    progress: Progress,
) -> Proof:
    found, untaken = [], []
    for position, size in enumerate(sizes):
        progress("comparing outputs", position, len(sizes))
        call = replace(workload, args=resized(workload.args, size))
        for image in ("random", "natural"):
            args, kwargs = _filled(call, image)
            try:
                before = network(*args, **kwargs)
            except Exception:
                untaken.append(size)
                break
            found.append(_compare(image, size, before, made(*args, **kwargs)))
    return Proof(made.level, tuple(found), tuple(untaken))


def _compare(image: str, size: tuple[int, int], before: Any, after: Any) -> Comparison:
    pairs = list(zip(_tensors(before), _tensors(after), strict=True))
    return Comparison(
        image,
        size,
        identical=all(torch.equal(one, other) for one, other in pairs),
        error=max(_error(one, other) for one, other in pairs),
    )


def _error(one: torch.Tensor, other: torch.Tensor) -> float:
    if one.shape != other.shape or one.dtype != other.dtype:
        return float("inf")
    largest = float(one.abs().max()) if one.numel() else 0.0
    difference = float((one.double() - other.double()).abs().max()) if one.numel() else 0.0
    return difference / largest if largest else difference


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    return (leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor))


def _filled(workload: Workload, image: str) -> tuple[Any, Any]:
    """The call's arguments, images in them."""
    args, kwargs = workload.arguments("cpu")
    if image == "natural":
        args, kwargs = pytree.tree_map(natural, (args, kwargs))
    return args, kwargs


def natural(value: Any) -> Any:
    """An image of this tensor's shape with the spectrum of photographs, in 0 to 1.

    Amplitudes fall with the inverse of frequency, and a step runs through it as at an edge.
    Values that are no images are handed back.
    """
    if not isinstance(value, torch.Tensor) or value.dim() < 2 or not value.is_floating_point():
        return value
    height, width = value.shape[-2:]
    vertical = torch.fft.fftfreq(height)[:, None]
    horizontal = torch.fft.rfftfreq(width)[None, :]
    frequency = (vertical**2 + horizontal**2).sqrt().clamp(min=1 / max(height, width))
    spectrum = torch.fft.rfft2(torch.randn(value.shape)) / frequency
    image = torch.fft.irfft2(spectrum, s=(height, width))
    image = image / image.abs().amax(dim=(-2, -1), keepdim=True).clamp(min=1e-6)
    edge = torch.linspace(-1, 1, width).sign() * 0.25
    made: torch.Tensor = (0.5 + 0.3 * image + edge).clamp(0, 1).to(value.dtype)
    return made


def _allocated(
    workload: Workload, network: nn.Module, made: Lean, progress: Progress
) -> tuple[int, int] | None:
    """Peaks of a run of each by the CPU's allocator."""
    peaks = []
    shapes = [value.shape for value in resized(workload.args, MEMORY_SIZE)]
    for position, module in enumerate((network, made)):
        progress("measuring memory", position, 2)
        measurement = measure(module, *shapes, device="cpu", dtype=workload.dtype, repeat=0)
        warm = measurement.memory.warm
        if warm is None or warm.max_allocated is None:
            return None
        peaks.append(warm.max_allocated)
    return peaks[0], peaks[1]


def _times(workload: Workload, network: nn.Module, made: Lean, progress: Progress) -> Summary:
    """Ratios of runs that follow each other, whose order changes every time."""
    args, kwargs = replace(workload, args=resized(workload.args, TIME_SIZE)).arguments("cpu")
    ratios = []
    for pair in range(PAIRS + 1):
        progress("timing", pair, PAIRS + 1)
        order = (network, made) if pair % 2 else (made, network)
        seconds = {}
        for module in order:
            began = perf_counter()
            module(*args, **kwargs)
            seconds[module] = perf_counter() - began
        ratios.append(seconds[made] / seconds[network])
    return summarize(ratios[1:])
