"""A GPU's clocks, power and energy through NVML, where the machine lets one ask.

Nothing here is needed for a measurement: whatever is missing or refused is None in the record,
and the record says why.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from srprof.measuring.record import DeviceState

#: NVML's bits for what holds the clocks down, from nvml.h; an idle GPU is not held down.
_THROTTLES = {
    0x2: "applications clocks setting",
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    0x100: "display clocks setting",
}


def throttles(reasons: int) -> tuple[str, ...]:
    """NVML's bit mask in words."""
    return tuple(text for bit, text in _THROTTLES.items() if reasons & bit)


class Nvml:
    """One GPU as NVML sees it; see `open_nvml`."""

    def __init__(self, library: Any, handle: Any) -> None:
        self._library = library
        self._handle = handle

    def state(self) -> DeviceState:
        """The GPU now."""
        library = self._library
        reasons = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        milliwatts = self._ask("nvmlDeviceGetPowerUsage")
        return DeviceState(
            sm_clock_mhz=self._ask("nvmlDeviceGetClockInfo", library.NVML_CLOCK_SM),
            sm_clock_max_mhz=self._ask("nvmlDeviceGetMaxClockInfo", library.NVML_CLOCK_SM),
            memory_clock_mhz=self._ask("nvmlDeviceGetClockInfo", library.NVML_CLOCK_MEM),
            temperature_c=self._ask("nvmlDeviceGetTemperature", library.NVML_TEMPERATURE_GPU),
            power_w=None if milliwatts is None else milliwatts / 1e3,
            throttled=None if reasons is None else throttles(reasons),
        )

    def energy_j(self) -> float | None:
        """What the GPU has taken since its driver was loaded; Volta and later count it."""
        millijoules = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return None if millijoules is None else millijoules / 1e3

    def driver(self) -> str | None:
        """Version of the driver."""
        try:
            version = self._library.nvmlSystemGetDriverVersion()
        except self._library.NVMLError:
            return None
        return version.decode() if isinstance(version, bytes) else str(version)

    def _ask(self, question: str, *arguments: Any) -> Any:
        """An answer, or None where this GPU, driver or container gives none."""
        try:
            return getattr(self._library, question)(self._handle, *arguments)
        except (self._library.NVMLError, AttributeError):
            return None


def open_nvml(
    uuid: str, load: Callable[[str], Any] = importlib.import_module
) -> tuple[Nvml | None, str]:
    """NVML for the GPU with a UUID ("GPU-..."), or None and a line that says why there is none."""
    without = "clocks, power and energy are not in the record"
    try:
        library = load("pynvml")
    except ImportError:
        return None, f"nvidia-ml-py is not installed: {without}"
    try:
        library.nvmlInit()
        return Nvml(library, library.nvmlDeviceGetHandleByUUID(uuid)), ""
    except library.NVMLError as error:
        return None, f"NVML refused ({error}): {without}"
