"""Measuring on an NVIDIA GPU: memory from PyTorch's caching allocator, time from CUDA events.

The allocator works on the host, so its counters around a kernel's launch are exact without
waiting for the GPU. Everything of CUDA comes through `torch.cuda`, which a test can replace.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from srprof.blame import blame, first_line
from srprof.errors import DeviceMemoryError, InputError
from srprof.measuring import metering
from srprof.measuring.backend import Backend, Draft
from srprof.measuring.metering import OutOfMemoryError
from srprof.measuring.nvml import Nvml, open_nvml
from srprof.measuring.record import Bytes, Device, DeviceState, Flags, Memory, RunPeaks
from srprof.measuring.settings import read_flags
from srprof.paths import place
from srprof.progress import Progress
from srprof.records import Node
from srprof.tracing.recorder import Recorder
from srprof.words import mib_size
from srprof.workload import Instance, Workload

_DEVICE = re.compile(r"cuda(?::(\d+))?")

#: What is written to flush an L2 cache of unknown size; no GPU so far has a larger one.
_FLUSH = 256 * 2**20


class _Gauge:
    """Reads the allocator around each kernel, its peak counted anew from there."""

    def __init__(self, stats: Callable[[], Mapping[str, int]], reset: Callable[[], None]) -> None:
        self._stats = stats
        self._reset = reset
        self.allocated: list[Bytes] = []
        self.requested: list[Bytes] = []

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self._reset()
        before = self._stats()
        yield
        after = self._stats()
        self.allocated.append(_between("allocated_bytes", before, after))
        if "requested_bytes.all.current" in after:
            self.requested.append(_between("requested_bytes", before, after))


def _between(name: str, before: Mapping[str, int], after: Mapping[str, int]) -> Bytes:
    current = f"{name}.all.current"
    return Bytes(before[current], after[current], after[f"{name}.all.peak"])


class CudaBackend(Backend):
    """One GPU, "cuda" the first, "cuda:1" the second; an InputError if there is none.

    Args:
        flush_l2: overwrite the L2 cache before each timed pass.
        cuda: what stands for `torch.cuda`. where: the device that tensors are put on, if another.
    """

    clock = "cuda event"
    warmup = 10
    repeat = 100

    def __init__(
        self,
        device: str = "cuda",
        threads: int | None = None,
        flush_l2: bool = False,
        cuda: Any = torch.cuda,
        where: str = "",
        nvml: Callable[[str], tuple[Nvml | None, str]] = open_nvml,
    ) -> None:
        super().__init__(threads)
        self._index = _find(device, cuda)
        self._cuda = cuda
        self.where = where or f"cuda:{self._index}"
        self._flush_l2 = flush_l2
        self._flush: torch.Tensor | None = None
        self._properties = cuda.get_device_properties(self._index)
        self._nvml, self._without_nvml = nvml(f"GPU-{getattr(self._properties, 'uuid', '')}")

    def device(self) -> Device:
        properties = self._properties
        return Device(
            kind="cuda",
            name=properties.name,
            capability=f"{properties.major}.{properties.minor}",
            memory=properties.total_memory,
            driver=None if self._nvml is None else self._nvml.driver(),
        )

    def flags(self) -> Flags:
        return read_flags(self._cuda.get_allocator_backend())

    def state(self) -> DeviceState | None:
        return None if self._nvml is None else self._nvml.state()

    def energy_j(self) -> float | None:
        return None if self._nvml is None else self._nvml.energy_j()

    @contextmanager
    def active(self) -> Iterator[None]:
        try:
            with super().active(), self._cuda.device(self._index):
                yield
        finally:
            self._flush = None
            self._clear()

    def measure_memory(self, workload: Workload, draft: Draft, progress: Progress) -> Instance:
        """Fill the draft from four runs.

        A cold one and a warm one as the user would make them, then, cold again, one of a new
        instance node by node, which names the node if memory is too small, and one of another to
        see whether it makes the same calls.
        """
        if self._without_nvml:
            draft.notes.append(self._without_nvml)
        progress("memory", 0, 4)
        cold, warm = self._whole_runs(workload)
        progress("memory", 2, 4)
        first = self._measure_nodes(workload, draft, cold, warm)
        progress("memory", 3, 4)
        self._clear()
        instance, second = metering.recorded_anew(workload, self.where, run=2)
        metering.compare_runs(draft, first, second)
        return instance

    def _whole_runs(self, workload: Workload) -> tuple[RunPeaks | None, RunPeaks | None]:
        """Peaks of a cold and a warm run; None if the memory was too small.

        Then the run node by node, which comes next, meets the same end and can say where.
        """
        self._clear()
        try:
            instance = metering.new_instance(workload, self.where, run=1)
            return self._whole_run(workload, instance), self._whole_run(workload, instance)
        except OutOfMemoryError:
            return None, None

    def _whole_run(self, workload: Workload, instance: Instance) -> RunPeaks:
        self.reset_peak()
        metering.run_plain(workload, instance)
        self._cuda.synchronize(self._index)
        return RunPeaks(self.peak_allocated(), self._cuda.max_memory_reserved(self._index))

    def _measure_nodes(
        self, workload: Workload, draft: Draft, cold: RunPeaks | None, warm: RunPeaks | None
    ) -> tuple[Node, ...]:
        self._clear()
        gauge = _Gauge(self._stats, self.reset_peak)
        recorder: Recorder | None = None
        start: Mapping[str, int] = {}
        try:
            instance = metering.new_instance(workload, self.where, run=1)
            start = self._stats()
            recorder = metering.recorder_for(instance, self.where, gauge)
            net, inputs = metering.resident_bytes(recorder)
            nodes = metering.run_recorded(workload, instance, recorder)
        except OutOfMemoryError as error:
            raise self._too_small(error, workload, recorder) from error
        finally:
            if recorder is not None:
                metering.identify(draft, recorder)
                draft.nodes = metering.node_facts(recorder, gauge.allocated, gauge.requested)
                allocated = start["allocated_bytes.all.current"]
                requested = start.get("requested_bytes.all.current")
                draft.memory = Memory(net, inputs, allocated, requested, cold, warm)
        return nodes

    def _stats(self) -> Mapping[str, int]:
        stats: Mapping[str, int] = self._cuda.memory_stats(self._index)
        return stats

    def _clear(self) -> None:
        """Give back what nothing uses: the allocator is then as in a new process."""
        gc.collect()
        clear_workspaces = getattr(torch._C, "_cuda_clearCublasWorkspaces", None)
        if clear_workspaces is not None:  # cuBLAS keeps its own in the allocator for good
            clear_workspaces()
        self._cuda.empty_cache()

    def _too_small(
        self, error: RuntimeError, workload: Workload, recorder: Recorder | None
    ) -> DeviceMemoryError:
        failed_call = recorder and recorder.failed_call
        # What the kernel itself had is gone by now; the gauge has counted from its begin.
        counter = "peak" if failed_call else "current"
        allocated = self._stats()[f"allocated_bytes.all.{counter}"]
        request = re.search(r"Tried to allocate (\S+ \w+)", first_line(error))
        gpu = f"{self._properties.name} ({mib_size(self._properties.total_memory)})"
        text = f"{workload.name} does not fit into the memory of {gpu}"
        where = blame(error)
        op = module = ""
        if recorder is not None and failed_call:
            op, _ = failed_call
            module = recorder.raised_in
            at = f" at {place(where.file, where.line)}" if where.file else ""
            text += f": node {len(recorder.nodes)} {op} in {module or 'the model'}{at}"
            text += f" asked for {request.group(1)} more" if request else " asked for more"
        text += f" when {mib_size(allocated)} were allocated; give a smaller --input"
        return DeviceMemoryError(
            text, op=op, module=module, file=where.file, line=where.line, allocated=allocated
        )

    def reset_peak(self) -> None:
        """Have `peak_allocated` count from now."""
        self._cuda.reset_peak_memory_stats(self._index)

    def peak_allocated(self) -> int:
        """Bytes that the allocator has handed out at most since `reset_peak`."""
        return int(self._cuda.max_memory_allocated(self._index))

    def fits(self, workload: Workload) -> bool:
        """Whether one run of the workload has memory enough."""
        self._clear()
        try:
            with self.active():
                metering.run_plain(workload, metering.new_instance(workload, self.where, run=1))
        except OutOfMemoryError:
            return False
        return True

    def time_ms(self, call: Callable[[], object]) -> float:
        """Between two events around the call on its stream, waiting for the GPU after each.

        The flush runs before the first event, so the host is ahead of the GPU when the call
        begins, and launching takes no time of the GPU's.
        """
        start, end = (self._cuda.Event(enable_timing=True) for _ in range(2))
        if self._flush_l2:
            self._overwrite_l2()
        start.record()
        result = call()
        end.record()
        self._cuda.synchronize(self._index)
        del result
        return float(start.elapsed_time(end))

    def _overwrite_l2(self) -> None:
        if self._flush is None:
            nbytes = 2 * getattr(self._properties, "L2_cache_size", 0) or _FLUSH
            self._flush = torch.empty(nbytes, dtype=torch.uint8, device=self.where)
        self._flush.zero_()


def _find(device: str, cuda: Any) -> int:
    match = _DEVICE.fullmatch(device)
    if match is None:
        raise InputError(f"device {device!r} is not one of cpu, cuda, cuda:N")
    if not cuda.is_available():
        why = "sees none" if torch.version.cuda else "is built without CUDA"
        what = f"torch {torch.__version__} {why}"
        raise InputError(f"there is no CUDA device: {what}; use --device cpu")
    index = int(match.group(1) or 0)
    if index >= cuda.device_count():
        raise InputError(f"there is no {device}: torch sees {cuda.device_count()} CUDA device(s)")
    return index
