"""What is benched on each kind of device, and which figures of its profile are fitted.

The roofs, peak and bandwidth, are measured by what comes nearest to them; the fitted figures are
shares of these. Priors are those of the packaged profiles, and weak: the benches decide.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from srprof.calibration.benches import Bench, Operation, benches, roofs, tensor_benches
from srprof.cost.fitting import Parameter
from srprof.cost.profiles import Profile, parse_profile
from srprof.measuring.record import Device as Hardware
from srprof.running import replaced

#: Floats of a vector register, by the widest instructions that torch uses: oneDNN's blocks.
_VECTOR = {"AVX512": 16, "AVX2": 8}

#: Where such a figure of a calibrated profile comes from.
_FITTED = "Fitted to the benches"
#: Priors of the fit, and how far a figure may stray from them: hardly known before.
_STRAY = 1.0
_SHARES = (
    *("conv", "conv1x1", "grouped", "depthwise", "matmul"),
    *("elementwise", "movement", "reduction", "resample", "norm"),
)

#: Sides of the maps that tell a GPU's bandwidths: small ones for what the host needs, and maps of
#: 50 and 112 MiB, which a cache does not hold: in one of them shares come out above 1.
_TRAFFIC = (128, 512, 768)


@dataclass(frozen=True)
class CalibrationPlan:
    """What to run on a kind of device.

    Attributes:
        roofs: the benches that tell peaks and bandwidth, the fastest of each group; the groups
            are `peak MODE` and `bandwidth`. benches: those that are fitted.
        parameters: figures of the profile to fit to the benches.
        table: what else the profile says, as in its TOML. source: where each of it comes from.
    """

    roofs: tuple[Bench, ...]
    benches: tuple[Bench, ...]
    parameters: tuple[Parameter, ...]
    table: Mapping[str, object]
    source: Mapping[str, str]

    def base(self, name: str, speeds: Mapping[str, Mapping[str, float]]) -> Profile:
        """The profile before the fit: measured roofs, and the priors.

        `speeds` are FLOPs or bytes a second of each roof's benches, by its group and their name.
        """
        best = {group: max(speed, key=lambda n: speed[n]) for group, speed in speeds.items()}
        roof = {group: speeds[group][name] for group, name in best.items()}
        peaks = {group.removeprefix("peak "): group for group in roof if group != "bandwidth"}
        table = {
            **self.table,
            "bandwidth": roof["bandwidth"] / 1e9,
            "peak": {mode: roof[group] / 1e12 for mode, group in peaks.items()},
            "source": {
                **self.source,
                "peak": f"Measured: {'; '.join(best[group] for group in peaks.values())}",
                "bandwidth": f"Measured: {best['bandwidth']}",
            },
        }
        return parse_profile(name, table, "the calibrated profile")


def plan(hardware: Hardware, quick: bool, threads: int, cuda: Any = torch.cuda) -> CalibrationPlan:
    """What to run on this device: fewer sizes if `quick`; `threads` is of a CPU's pool."""
    if hardware.kind == "cpu":
        return _cpu_plan(hardware, quick, threads)
    return _cuda_plan(hardware, quick, cuda)


def _parameter(key: str, prior: float, lower: float = 0.005, upper: float = 1.5) -> Parameter:
    return Parameter(key, prior, _STRAY, lower, upper)


def _common(launch: float) -> Iterator[Parameter]:
    """What every kind of device has _FITTED; `launch` in seconds."""
    yield _parameter("launch", launch, 1e-8, 1e-3)
    yield _parameter("compute.depthwise", 0.06)
    yield from (_parameter(f"bandwidth_share.{name}", 0.6, upper=5.0) for name in _SHARES)
    yield from (_parameter(f"relative.{family}", 0.5) for family in ("conv1x1", "matmul"))


def _cpu_plan(hardware: Hardware, quick: bool, threads: int) -> CalibrationPlan:
    block = _VECTOR.get(hardware.capability or "", 0)
    layout: dict[str, float] = {}
    if block:
        layout = {"block": block, "compute": 0.9, "bandwidth": 0.5}
        shapes = [
            _parameter("layout.compute", layout["compute"]),
            _parameter("layout.bandwidth", layout["bandwidth"], upper=5.0),
        ]
    else:
        shapes = [_parameter("compute", 1.0)]
    return CalibrationPlan(
        roofs=tuple(roofs(1024, 256, 2**24, {"float32": "float32"})),
        benches=tuple(benches((128,) if quick else (96, 192, 320))),
        parameters=(*_common(2e-6), _parameter("relative.grouped", 0.7), *shapes),
        table={
            "title": f"{hardware.name}, {threads} thread{'s' if threads > 1 else ''}",
            "cache": _cpu_cache(),
            "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
            "sms": threads,
            "bias_pass": False,
            "layout": layout,
        },
        source={
            "cache": "Linux's /sys/devices/system/cpu, the last level",
            "memory": "sysconf",
            "sms": "Threads of torch's pool",
            "bias_pass": "oneDNN adds a bias as it goes",
            **dict.fromkeys(("launch", "compute", "relative", "bandwidth_share"), _FITTED),
            **({"layout": f"{_FITTED}; block: floats in a vector register"} if block else {}),
        },
    )


def _cpu_cache() -> float:
    """MiB of the first processor's last-level cache; 0 where Linux does not say."""
    largest = 0.0
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text(encoding="ascii").strip()
        if text.endswith("K") and text[:-1].isdigit():
            largest = max(largest, int(text[:-1]) / 2**10)
    return largest


def _cuda_plan(hardware: Hardware, quick: bool, cuda: Any) -> CalibrationPlan:
    capability = hardware.compute_capability or (0, 0)
    since = {"float32": (0, 0), "float16": (7, 0), "bfloat16": (8, 0)}
    dtypes = {dtype: dtype for dtype, first in since.items() if capability >= first}
    peaks = roofs(8192, 0, 2**28, dtypes)
    if capability >= (8, 0):
        name, shapes = "product of 8192x8192, tf32", ((8192, 8192),) * 2
        peaks.append(Bench(name, "peak tf32", Operation(_tf32_product), shapes))
    sizes = (256,) if quick else (128, 256, 512)
    benched = benches(sizes, tuple(dtypes)[:2], _TRAFFIC[1:2] if quick else _TRAFFIC)
    tensor = ("tensor",) if len(dtypes) > 1 else ()
    tiles = [
        _parameter(f"compute.{kind}_{tile}", prior)
        for kind in ("tile", *tensor)
        for tile, prior in ((32, 0.5), (64, 0.7), (128, 0.8))
    ]
    if tensor:
        benched += tensor_benches(sizes[-1], tuple(dtypes)[:2])
        tiles += [
            _parameter("tensor.transpose", 0.7, upper=5.0),
            _parameter("tensor.unaligned", 0.5),
            _parameter("wave", 1e-6, 1e-8, 1e-4),
            _parameter("gather", 5e11, 1e9, 1e14),
        ]
    properties = cuda.get_device_properties(int(cuda.current_device()))
    cache = getattr(properties, "L2_cache_size", 0)
    read = "torch.cuda.get_device_properties"
    return CalibrationPlan(
        roofs=tuple(peaks),
        benches=tuple(benched),
        parameters=(*_common(5e-6), _parameter("relative.grouped", 0.7), *tiles),
        table={
            "title": f"{hardware.name}, calibrated",
            "cache": cache / 2**20,
            "memory": properties.total_memory / 2**30,
            "sms": properties.multi_processor_count,
        },
        source={
            **dict.fromkeys(("cache", "memory", "sms"), read),
            **dict.fromkeys(("launch", "compute", "relative", "bandwidth_share"), _FITTED),
            **(dict.fromkeys(("tensor", "wave", "gather"), _FITTED) if tensor else {}),
        },
    )


def _tf32_product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """With TF32, which torch leaves off unless it is asked."""
    # torch from 2.9 on cannot take allow_tf32 back to where nobody had set it
    newer = hasattr(torch.backends, "fp32_precision")
    flag: tuple[str, object] = ("fp32_precision", "tf32") if newer else ("allow_tf32", True)
    with replaced([(torch.backends.cuda.matmul, *flag)]):
        return torch.mm(left, right)
