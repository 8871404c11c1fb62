"""The proof that a lean network computes what the network did: outputs, allocator, time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from srprof.copying import copied_model
from srprof.errors import InputError, user_raised
from srprof.inputs import Keywords, images_of
from srprof.leaning.comparison import Comparison, Size, compare, natural
from srprof.leaning.module import Lean
from srprof.measuring.heap import keep_freed_memory
from srprof.measuring.run import measure
from srprof.measuring.statistics import Summary, summarize
from srprof.progress import Progress, silent
from srprof.protocol import resized
from srprof.redirect import without_gpu
from srprof.workload import Workload, user_errors

#: LR sizes at which outputs are compared: square, oblong, and odd.
SIZES: tuple[Size, ...] = ((48, 48), (40, 56), (37, 51))

#: Kinds of images that outputs are compared on.
_IMAGES = ("random", "natural")

#: Where the CPU's allocator is asked, and where the two are timed.
MEMORY_SIZE, TIME_SIZE = (128, 128), (256, 256)

#: Relative error that level `equivalent` may have. In half precision the last bit alone is
#: 0.001 (float16) and 0.008 (bfloat16) of a value; these are eight of it.
TOLERANCE = {"float64": 1e-11, "float32": 1e-5, "float16": 8e-3, "bfloat16": 6e-2}

#: Pairs of timed runs, after one that is not.
PAIRS = 9


@dataclass(frozen=True)
class Measured:
    """Peaks by the CPU's allocator in bytes, of the network and of the lean one."""

    size: Size | None
    before: int
    after: int


@dataclass(frozen=True)
class Timed:
    """Time of the lean network over the network's, in runs next to each other."""

    size: Size | None
    ratios: Summary


@dataclass(frozen=True)
class OnGpu:
    """Median times in ms and peaks in bytes on the GPU, of the network and of the lean one."""

    name: str
    before_ms: float
    after_ms: float
    before_peak: int
    after_peak: int


@dataclass(frozen=True)
class Proof:
    """What was compared.

    Attributes:
        outputs: at sizes and images that the network takes.
        untaken: sizes at which the network itself raises.
        tolerance: the relative error that level `equivalent` may have.
        measured, timed: at `MEMORY_SIZE` and `TIME_SIZE`, or the call's own size if the network
            does not take those; None if they were not asked for.
        on_gpu: at the call's own size; None without a GPU, or if it was not asked for.
    """

    level: str
    outputs: tuple[Comparison, ...]
    untaken: tuple[Size, ...] = ()
    tolerance: float = TOLERANCE["float32"]
    measured: Measured | None = None
    timed: Timed | None = None
    on_gpu: OnGpu | None = None

    @property
    def error(self) -> float:
        """The largest relative error."""
        return max((output.error for output in self.outputs), default=0.0)

    @property
    def identical(self) -> bool:
        """Whether every output was the same to the bit."""
        return all(output.identical for output in self.outputs)

    @property
    def holds(self) -> bool:
        """Whether the level keeps its promise."""
        if not self.outputs:
            return False
        return self.identical if self.level == "exact" else self.error <= self.tolerance


def prove(
    workload: Workload, lean: Lean, *, full: bool = False, progress: Progress = silent
) -> Proof:
    """Run a lean form of the workload's network and the network itself on the CPU, and compare.

    A network that takes none of the sizes is run at the workload's own.

    Args:
        lean: on the CPU; with its `network`'s weights.
        full: at every size, and compare the allocator's peaks and the times too.

    Raises:
        ModelError: the network raised at its own size, or the lean one where the network did not.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad(), workload.environment():
        torch.manual_seed(0)
        proof = _outputs(workload, lean, SIZES if full else SIZES[:1], progress)
        if not full:
            return proof
        measured = without_gpu(lambda: _allocated(workload, lean, progress))
        timed = without_gpu(lambda: _times(workload, lean, progress))
        on_gpu = _on_gpu(workload, lean) if torch.cuda.is_available() else None
        return replace(proof, measured=measured, timed=timed, on_gpu=on_gpu)


def at_size(workload: Workload, size: Size) -> Workload | None:
    """The call with its image at another height and width; further images keep their proportion.

    None if it takes no image, or a further one would have a side that is no whole number.
    """
    try:
        return replace(workload, **resized(workload.args, workload.kwargs, size))
    except InputError:
        return None


def _size(workload: Workload) -> Size | None:
    images = images_of((workload.args, workload.kwargs))
    return next((image.shape[-2:] for image in images), None)  # type: ignore[return-value]  # two sides


def _outputs(workload: Workload, lean: Lean, sizes: Sequence[Size], progress: Progress) -> Proof:
    outputs: list[Comparison] = []
    untaken = []
    for position, size in enumerate(sizes):
        progress("comparing outputs", position, len(sizes))
        if (call := at_size(workload, size)) is None:
            continue
        befores = _befores(call, lean.network)
        try:
            first = next(befores)
        except user_raised():
            untaken.append(size)
        else:
            outputs += _compared(call, lean, chain([first], befores))
    outputs = outputs or list(_compared(workload, lean, _befores(workload, lean.network)))
    return Proof(lean.level, tuple(outputs), tuple(untaken), _tolerance(workload))


def _tolerance(workload: Workload) -> float:
    """That of the coarsest dtype in which anything is computed."""
    own = () if workload.dtype else workload.own.weights
    return max(TOLERANCE[dtype] for dtype in {*own, workload.image_dtype})


def _takes(network: nn.Module, call: Workload) -> bool:
    args, kwargs = call.arguments("cpu")
    network = copied_model(network, {})  # a call may change it
    try:
        without_gpu(lambda: network(*args, **kwargs))
    except user_raised():
        return False
    return True


def _befores(call: Workload, network: nn.Module) -> Iterator[Any]:
    """What a copy of the network, which its calls may change, gives for each kind of image."""
    network = copied_model(network, {})
    for image in _IMAGES:
        yield _output(network, call, image, call.name)


def _compared(call: Workload, lean: Lean, befores: Iterable[Any]) -> Iterator[Comparison]:
    """Outputs of a copy on each kind of image, beside those of the network."""
    made = copied_model(lean, {})
    for image, before in zip(_IMAGES, befores, strict=True):
        after = _output(made, call, image, f"the lean {call.name}")
        yield compare(image, _size(call), before, after)


def _output(module: nn.Module, call: Workload, image: str, name: str) -> Any:
    """What a module gives for such an image; one that draws random numbers draws the same."""
    torch.manual_seed(0)
    args, kwargs = call.arguments("cpu")
    if image == "natural":
        args, kwargs = pytree.tree_map(natural, (args, kwargs))
    with user_errors(name):
        return without_gpu(lambda: module(*args, **kwargs))


def _call_for(workload: Workload, network: nn.Module, size: Size) -> Workload:
    """The call at this size if the network takes it, else its own."""
    call = at_size(workload, size)
    return call if call is not None and _takes(network, call) else workload


def _allocated(workload: Workload, lean: Lean, progress: Progress) -> Measured | None:
    """Peaks of a run of each by the CPU's allocator."""
    peaks = []
    call = _call_for(workload, lean.network, MEMORY_SIZE)
    inputs = [*call.args, Keywords(call.kwargs)]
    how: Any = {"dtype": call.dtype, "channels_last": call.channels_last, "repeat": 0}
    for position, module in enumerate((lean.network, lean)):
        progress("measuring memory", position, 2)
        warm = measure(module, *inputs, device="cpu", **how).memory.warm
        if warm is None or warm.max_allocated is None:
            return None
        peaks.append(warm.max_allocated)
    return Measured(_size(call), *peaks)


def _on_gpu(workload: Workload, lean: Lean) -> OnGpu | None:
    """What the GPU takes for each; None if its memory is too small."""
    inputs = [*workload.args, Keywords(workload.kwargs)]
    how: Any = {"dtype": workload.dtype, "channels_last": workload.channels_last}
    found = [measure(module, *inputs, device="cuda", **how) for module in (lean.network, lean)]
    times = [one.latency.value_ms for one in found if one.latency is not None]
    runs = [one.memory.warm for one in found if one.memory.warm is not None]
    peaks = [run.max_allocated for run in runs if run.max_allocated is not None]
    if len(times) < 2 or len(peaks) < 2:
        return None
    return OnGpu(found[0].device.name, times[0], times[1], peaks[0], peaks[1])


def _times(workload: Workload, lean: Lean, progress: Progress) -> Timed:
    """Ratios of runs that follow each other, whose order changes every time."""
    keep_freed_memory()  # else the system's pages are now one's cost, now the other's
    call = _call_for(workload, lean.network, TIME_SIZE)
    network = copied_model(lean.network, {})
    ratios = time_ratios(network, lean, *call.arguments("cpu"), progress=progress)
    return Timed(_size(call), ratios)


def time_ratios(
    network: nn.Module,
    lean: nn.Module,
    args: Sequence[object],
    kwargs: Mapping[str, object],
    *,
    pairs: int = PAIRS,
    progress: Progress = silent,
) -> Summary:
    """Time of one module over another's in paired runs, after one pair that is not counted."""
    ratios = []
    for pair in range(pairs + 1):
        progress("timing", pair, pairs + 1)
        seconds = {}
        for module in (network, lean) if pair % 2 else (lean, network):
            began = perf_counter()
            module(*args, **kwargs)
            seconds[module] = perf_counter() - began
        ratios.append(seconds[lean] / seconds[network])
    return summarize(ratios[1:])
