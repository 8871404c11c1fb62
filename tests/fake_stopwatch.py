"""A stopwatch that takes no time: it tells what a made-up device would take, with seeded noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import Random

from srprof.calibration.benches import Bench
from srprof.calibration.kinds import plan
from srprof.calibration.record import Calibration
from srprof.calibration.run import run_calibration
from srprof.call import Call
from srprof.cost.classes import NodeCost, node_costs
from srprof.cost.estimate import total_seconds
from srprof.cost.profiles import Profile, parse_profile
from srprof.measuring.record import Device as Hardware
from srprof.tracing.run import run_trace
from srprof.workload import resolve

CPU = Hardware("cpu", "Made-up CPU", "AVX512")
#: A CPU that is just as the model has it.
TRUTH = parse_profile(
    "truth",
    {
        "title": "truth", "bandwidth": 40, "cache": 32, "memory": 16, "sms": 1, "launch": 3,
        "bias_pass": False, "peak": {"float32": 0.25},
        "compute": {"depthwise": 0.3},
        "relative": {"conv1x1": 0.3, "grouped": 0.6, "matmul": 0.35},
        "bandwidth_share": {"elementwise": 0.9, "movement": 0.5, "reduction": 0.7,
                            "resample": 0.1, "norm": 0.4},
        "layout": {"block": 16, "compute": 0.95, "bandwidth": 0.45},
    },
    "truth",
)  # fmt: skip

_COSTS: dict[tuple[object, ...], tuple[NodeCost, ...]] = {}


def bench_costs(bench: Bench) -> tuple[NodeCost, ...]:
    """What a bench asks of a device; traced once, as plans have many benches in common."""
    key = (bench.name, bench.inputs, bench.dtype)
    if key not in _COSTS:
        workload = resolve(Call(bench.model, tuple(bench.inputs), dtype=bench.dtype))
        _COSTS[key] = node_costs(run_trace(workload, "auto", holders=False))
    return _COSTS[key]


class FakeStopwatch:
    """Times benches by a device's own model.

    Args:
        device: what the machine is like.
        noise: standard deviation of a sample; interference: the share of samples that another
            program makes three times as long, while it runs: for the first `busy` samples.
    """

    where = "meta"

    def __init__(
        self,
        device: Profile,
        noise: float = 0.0,
        interference: float = 0.0,
        busy: int = 10**9,
    ) -> None:
        self.taken = 0
        self._device = device
        self._noise = noise
        self._interference = interference
        self._busy = busy
        self._random = Random(0)
        self._seconds: dict[str, float] = {}

    @contextmanager
    def active(self) -> Iterator[None]:
        yield

    def seconds(self, bench: Bench, call: Callable[[], object]) -> float:
        del call  # nothing is run
        if bench.name not in self._seconds:
            device = self._device
            if bench.group == "peak tf32":  # a setting of torch's, of which the trace knows nothing
                device = replace(device, peak={"float32": device.peak["tf32"]})
            self._seconds[bench.name] = total_seconds(bench_costs(bench), device, in_a_row=True)
        factor = max(0.5, 1 + self._noise * self._random.gauss(0, 1))
        if self.taken < self._busy and self._random.random() < self._interference:
            factor *= 3
        self.taken += 1
        return self._seconds[bench.name] * factor


def of_cpu(stopwatch: FakeStopwatch, rounds: int = 5) -> Calibration:
    """A quick calibration of the made-up CPU by a stopwatch."""
    chosen = plan(CPU, quick=True, threads=1)
    return run_calibration(chosen, stopwatch, "mine", "a command", rounds)
