"""A network as a function from an LR image to an SR image, with what it took."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srprof import spec as specs
from srprof.analysis import Analysis
from srprof.call import Call
from srprof.errors import DeviceMemoryError, InputError, ModelError
from srprof.measuring.backend import Backend
from srprof.measuring.cpu import CpuBackend, most_allocated
from srprof.measuring.cuda import CudaBackend
from srprof.measuring.metering import OutOfMemoryError, new_instance
from srprof.measuring.record import fingerprint, on_tensor_cores
from srprof.memory.workspace import WorkspaceTable, tensor_core_workspaces
from srprof.networks import weights
from srprof.quality.images import to_bits8
from srprof.quality.metrics import load_metrics, luma, luma8
from srprof.quality.resize import Array, bicubic
from srprof.records import Trace
from srprof.tracing.isolation import isolated
from srprof.tracing.run import run_trace, trace_call
from srprof.words import shape_text
from srprof.workload import Workload, resolve, user_errors

T = TypeVar("T")

#: LR height and width of the run that finds out what the network takes and gives.
_PROBE = (64, 64)
#: Luma's part of a change of R, G and B alike (BT.601).
_LUMA_SHARE = 219 / 255


@dataclass(frozen=True)
class Probe:
    """What a network takes, RGB or one channel of luma, and how much larger its result is."""

    trace: Trace
    channels: int
    factor: int

    @property
    def network(self) -> str:
        """The network's fingerprint."""
        return fingerprint(self.trace.externals, self.trace.nodes).network


def probe(call: Call) -> Probe:
    """Run a call's model once, on meta tensors, to see what it is for.

    An InputError if the SPEC or the weights are wrong, or it gives no image; a ModelError if it
    raised, for RGB and for luma.
    """

    def run(channels: int) -> Probe:
        trace = trace_call(replace(call, inputs=((1, channels, *_PROBE),)), holders=False)
        return Probe(trace, channels, _factor(trace, channels))

    return by_channels(call.spec, run)


def by_channels(model: Any, run: Callable[[int], T]) -> T:
    """What `run` gives of as many channels as the zoo says, else of RGB, or of luma.

    If each raises a ModelError, the first one's is raised.
    """
    spec = specs.parse(model) if isinstance(model, str) else None
    failures = []
    for channels in (spec.channels,) if spec and spec.network else (3, 1):
        try:
            return run(channels)
        except ModelError as error:
            failures.append(error)
    raise failures[0]


def _factor(trace: Trace, channels: int) -> int:
    shape = trace.result_shape
    height, width = _PROBE
    factor = shape[-1] // width if len(shape) == 4 else 0
    if factor < 1 or shape != (1, channels, factor * height, factor * width):
        what = shape_text(shape) or f"a {type(trace.result).__name__}"
        raise InputError(
            f"{trace.spec} gives {what} for 1x{channels}x{height}x{width}; only a network that "
            "gives one image, a whole number of times as large, can be evaluated"
        )
    return factor


@dataclass(frozen=True, slots=True)
class Upscaled:
    """An SR image of 8 bits, (H, W, 3), its luma, (H, W), and the forward pass's runtime.

    `peak` is in bytes, by a GPU's allocator; None on a CPU.
    """

    rgb: NDArray[np.uint8]
    y: NDArray[np.uint8]
    runtime_ms: float
    peak: int | None


class Upscaler:
    """A model on a device. Use `running` around its calls.

    Args:
        call: of an image of any size, which stands in the place of its inputs.
        probed: what `probe` said of it. scale: from LR to SR; a network whose factor is 1 gets the
            LR image enlarged by bicubic.
        pixel_range: of the network's values, 1 or 255.
        tile, halo: run it tile by tile (`srprof.tiling`), None for whole images.
        device: "cpu", "cuda" or "cuda:1".

    Raises:
        InputError: there is no such device, the weights do not fit, or it cannot run in tiles.
    """

    def __init__(
        self,
        call: Call,
        probed: Probe,
        scale: int,
        pixel_range: int,
        tile: tuple[int, int] | None,
        halo: int | None,
        device: str,
    ) -> None:
        self._call, self._tile, self._halo = call, tile, halo
        self.pixel_range = pixel_range
        self._channels, self._factor, self.scale = probed.channels, probed.factor, scale
        self._gpu = None if device == "cpu" else CudaBackend(device)
        self.backend: Backend = self._gpu or CpuBackend()
        self._workload = self._resolve((1, probed.channels, *_PROBE))
        self._predicted: dict[tuple[int, ...], int] = {}
        self.notes: list[str] = []

    def _resolve(self, shape: tuple[int, ...]) -> Workload:
        return resolve(replace(self._call, inputs=(shape,)))

    @contextmanager
    def running(self) -> Iterator[None]:
        """The conditions in which the model runs; they are put back afterwards."""
        load_metrics()  # it changes warning filters, which the network would be said to do
        with self.backend.active(), isolated(self.notes), self._workload.environment():
            yield

    @cached_property
    def _model(self) -> nn.Module:
        model = new_instance(self._workload, self.backend.where, run=0).model
        if self._tile is None:
            return model
        from srprof.tiling.tiled import Tiled

        return Tiled(model, self._tile, halo=self._halo).eval()

    @property
    def peak_is(self) -> str:
        """What a peak counts."""
        if self._gpu is not None:
            return "Peaks are torch.cuda.max_memory_allocated(), predicted for a fresh program"
        return "Peaks are predicted as what eager PyTorch requests, measured by its CPU allocator"

    def __call__(self, lr: Array) -> Upscaled:
        """Upscale an LR image (H, W, 3) of values from 0 to 255.

        A ModelError if the model raised or its result is not finite, a DeviceMemoryError if the
        GPU's memory is too small.
        """
        enlarged = bicubic(lr, self.scale) if self._channels == 1 else None
        image = self._input(lr)
        results: list[Tensor] = []
        with self._running_out():
            if self._gpu is not None:
                self._gpu.reset_peak()
            runtime = self.backend.time_ms(lambda: results.append(self._forward(image)))
            peak = None if self._gpu is None else self._gpu.peak_allocated()
        pixels = self._output(results.pop(), lr.shape[:2])
        if enlarged is None:
            rgb = to_bits8(pixels)
            return Upscaled(rgb, luma8(rgb), runtime, peak)
        change = (pixels - luma(enlarged)) / _LUMA_SHARE  # of R, G and B alike: chroma stays
        return Upscaled(to_bits8(enlarged + change[..., None]), to_bits8(pixels), runtime, peak)

    @property
    def dtype(self) -> str:
        """What the network runs in."""
        return self._workload.run_dtype

    def warm_up(self, lr: Array) -> None:
        """Run once, so that what happens once only is not in the first image's runtime."""
        with self._running_out():
            self._forward(self._input(lr))

    def _input(self, lr: Array) -> Tensor:
        """The network's input, (1, C, H, W), on the device."""
        pixels = luma(lr) if self._channels == 1 else lr
        if self._factor != self.scale:
            pixels = bicubic(pixels, self.scale)
        planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        tensor = torch.from_numpy(np.ascontiguousarray(planes[None] / (255 / self.pixel_range)))
        return tensor.to(self.backend.where, getattr(torch, self._workload.image_dtype))

    def _forward(self, image: Tensor) -> Tensor:
        workload = self._workload
        with user_errors(workload.name, workload.own), torch.no_grad():
            result: Tensor = self._model(image)
            return result

    def _output(self, result: Tensor, size: tuple[int, ...]) -> Array:
        """The network's result as (H, W, 3), or (H, W) of luma, from 0 to 255."""
        shape = (1, self._channels, *(self.scale * side for side in size))
        if tuple(result.shape) != shape:
            what = f"{shape_text(result.shape)} and not {shape_text(shape)}"
            raise InputError(f"the network gives {what}; give images of sizes that it can take")
        pixels = result[0].to("cpu", torch.float64).numpy() * (255 / self.pixel_range)
        if not np.isfinite(pixels).all():
            mend = "try --dtype float32, and check the weights"
            raise ModelError(f"{self._workload.name} gives NaN or infinity; {mend}")
        return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)

    def predicted_peak(self, size: tuple[int, int]) -> int:
        """Bytes at the peak for an LR image of this size, without a run."""
        if self._factor != self.scale:
            size = self.scale * size[0], self.scale * size[1]
        shape = (1, self._channels, *size)
        if shape not in self._predicted:
            workload = self._resolve(shape)
            if self._tile is not None:
                workload = resolve(Call(self._model, (shape,), dtype=self._call.dtype))
            analysis = Analysis(run_trace(workload, holders=False), workspaces=self._scratch)
            requested, gpu = analysis.requested.eager.nbytes, self._gpu is not None
            self._predicted[shape] = analysis.cold.peak_allocated if gpu else requested
        return self._predicted[shape]

    @cached_property
    def _scratch(self) -> WorkspaceTable:
        """What cuDNN takes on this device, as far as a rule says."""
        gpu = self._gpu
        if gpu is not None and on_tensor_cores(gpu.device(), gpu.flags(), self.dtype):
            return tensor_core_workspaces()
        return WorkspaceTable()

    def measured_on_cpu(self, lr: Array) -> int:
        """Bytes at the peak of one more pass, by PyTorch's CPU allocator."""
        image = self._input(lr)
        tensors = [*weights(self._model), image]
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in tensors}
        resident = sum(storage.nbytes() for storage in storages.values())
        return resident + most_allocated(lambda: self._forward(image))

    @contextmanager
    def _running_out(self) -> Iterator[None]:
        try:
            yield
        except OutOfMemoryError as error:
            what = f"{self._workload.name} does not fit into the device's memory"
            raise DeviceMemoryError(f"{what}; give --tile, or smaller images") from error
