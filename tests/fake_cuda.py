"""What stands for `torch.cuda` and for NVML where there is no GPU.

`FakeCuda` is an allocator that counts, with blocks of 512 bytes; the op `srprof_test::blur` asks
it for what a kernel of that kind would: scratch, and a result.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace

import torch
from torch import nn

BLOCK = 512
OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate {}. GPU 0 has a total capacity of 1 MiB"


class FakeCuda:
    """An allocator with a limit, and events that tell times from a list."""

    def __init__(
        self,
        memory: int = 2**30,
        times: Sequence[float] = (1.0,),
        available: bool = True,
    ) -> None:
        self.memory = memory
        self.times = list(times)
        self.available = available
        self.current = {"allocated_bytes": 0, "reserved_bytes": 0, "requested_bytes": 0}
        self.peak = dict(self.current)
        self.log: list[str] = []
        self.event_index = 0

    # -- the allocator --------------------------------------------------------------------------

    def allocate(self, nbytes: int) -> Callable[[], None]:
        """Take a block; gives what frees it."""
        block = -(-nbytes // BLOCK) * BLOCK
        if self.current["allocated_bytes"] + block > self.memory:
            raise torch.cuda.OutOfMemoryError(OUT_OF_MEMORY.format(f"{nbytes / 2**20:.2f} MiB"))
        self._change(block, nbytes)
        return lambda: self._change(-block, -nbytes)

    def _change(self, block: int, nbytes: int) -> None:
        self.current["allocated_bytes"] += block
        if "requested_bytes" in self.current:  # older versions of torch do not count them
            self.current["requested_bytes"] += nbytes
        most = max(self.current["reserved_bytes"], self.current["allocated_bytes"])
        self.current["reserved_bytes"] = most
        for name, value in self.current.items():
            self.peak[name] = max(self.peak[name], value)

    def memory_stats(self, device: int) -> dict[str, int]:
        assert device == 0
        now = {f"{name}.all.current": value for name, value in self.current.items()}
        return now | {f"{name}.all.peak": value for name, value in self.peak.items()}

    def reset_peak_memory_stats(self, device: int) -> None:
        self.peak = dict(self.current)

    def max_memory_allocated(self, device: int) -> int:
        return self.peak["allocated_bytes"]

    def max_memory_reserved(self, device: int) -> int:
        return self.peak["reserved_bytes"]

    def empty_cache(self) -> None:
        self.log.append("empty cache")
        self.current["reserved_bytes"] = self.current["allocated_bytes"]

    # -- the rest -------------------------------------------------------------------------------

    def is_available(self) -> bool:
        return self.available

    def device_count(self) -> int:
        return 1

    def get_device_properties(self, device: int) -> SimpleNamespace:
        return SimpleNamespace(
            name="Fake GPU",
            major=9,
            minor=0,
            total_memory=self.memory,
            uuid="abc",
            L2_cache_size=64,
        )

    def get_allocator_backend(self) -> str:
        return "native"

    @contextmanager
    def device(self, index: int) -> Iterator[None]:
        yield

    def synchronize(self, device: int) -> None:
        self.log.append("synchronize")

    def Event(self, enable_timing: bool) -> SimpleNamespace:
        assert enable_timing
        return SimpleNamespace(
            record=lambda: self.log.append("record"), elapsed_time=lambda end: self._next_time()
        )

    def _next_time(self) -> float:
        self.event_index += 1
        return self.times[(self.event_index - 1) % len(self.times)]


#: The fake that `srprof_test::blur` asks for memory.
_current: list[FakeCuda] = []

_library = torch.library.Library("srprof_test", "FRAGMENT")
_library.define("blur(Tensor x, int scratch) -> Tensor")


def _blur(x: torch.Tensor, scratch: int) -> torch.Tensor:
    fake = _current[-1]
    free = fake.allocate(scratch)
    try:
        free_result = fake.allocate(x.nbytes)
    finally:
        free()
    result = x + 1
    weakref.finalize(result.untyped_storage(), free_result)
    return result


_library.impl("blur", _blur, "CPU")


@contextmanager
def running_on(fake: FakeCuda) -> Iterator[FakeCuda]:
    """Have the op ask this fake."""
    _current.append(fake)
    try:
        yield fake
    finally:
        _current.pop()


class Blur(nn.Module):
    """One call of the op."""

    def __init__(self, scratch: int) -> None:
        super().__init__()
        self.scratch = scratch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.srprof_test.blur(x, self.scratch)


class NVMLError(Exception):
    """As pynvml's."""


class FakeNvml:
    """As the module pynvml."""

    NVMLError = NVMLError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self, refuses: bool = False) -> None:
        self._refuses = refuses
        self._millijoules = 1000

    def nvmlInit(self) -> None:
        if self._refuses:
            raise NVMLError("Driver Not Loaded")

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.1"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        assert uuid == "GPU-abc"
        return "handle"

    def nvmlDeviceGetClockInfo(self, handle: str, clock: int) -> int:
        return {1: 1980, 2: 3201}[clock]

    def nvmlDeviceGetMaxClockInfo(self, handle: str, clock: int) -> int:
        raise NVMLError("Not Supported")

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:
        return 41

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        return 123_400

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:
        return 0x4 | 0x40

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        self._millijoules += 2500
        return self._millijoules
