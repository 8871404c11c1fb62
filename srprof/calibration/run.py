"""`srprof calibrate`: time the benches in turn, and fit a profile to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import torch

from srprof.calibration.benches import Bench
from srprof.calibration.kinds import CalibrationPlan, plan
from srprof.calibration.record import Calibration, Timed
from srprof.call import Call
from srprof.cost.classes import NodeCost, node_costs
from srprof.cost.fitting import Fit, Sample, fit, rms_error
from srprof.errors import BusyError
from srprof.measuring.backend import Backend
from srprof.measuring.cpu import CpuBackend
from srprof.measuring.cuda import CudaBackend
from srprof.measuring.heap import keep_freed_memory
from srprof.measuring.settings import usual_device
from srprof.ops import FAMILIES
from srprof.progress import Progress, silent
from srprof.tracing.recorder import call_model
from srprof.tracing.run import run_trace
from srprof.workload import resolve

#: Rounds over all benches: at least, and at most while the timings spread too widely.
ROUNDS, MOST_ROUNDS = 7, 28
_QUICK_ROUNDS = 5
#: The median bench's interquartile range, of its median, above which a machine is too busy.
WIDEST = 0.2
#: Fits that each leave out their share of the benches; one operation's sizes are in several.
_FOLDS = 7
#: Relative standard deviation of a bench about the model: what a roofline cannot see of it.
_NOISE = 0.2
#: Milliseconds that a sample should take at least, and calls that are always enough.
_LEAST_MS, _MOST_CALLS = 1.0, 200


def calibrate(
    device: str | None = None,
    quick: bool = False,
    threads: int | None = None,
    name: str = "",
    progress: Progress = silent,
) -> Calibration:
    """Time a short microbenchmark on a device and fit its profile.

    On a CPU, malloc keeps freed memory from then on (see `srprof.measuring.heap`).

    Args:
        device: "cpu", "cuda" or "cuda:1"; by default "cuda" if there is one.
        quick: fewer sizes and rounds.
        threads: of torch's own pool; None leaves their number as it is.
        name: of the profile; by default the device's.

    Raises:
        InputError: there is no such device.
        BusyError: the timings spread too widely to mean anything.
    """
    device = usual_device(device)
    backend: Backend = CpuBackend(threads) if device == "cpu" else CudaBackend(device, threads)
    if device == "cpu":
        keep_freed_memory()
    with backend.active():
        threads = torch.get_num_threads()
        chosen = plan(backend.device(), quick, threads)
    options = f" --threads {threads}" if device == "cpu" else ""
    command = f"srprof calibrate --device {device}{options}{' --quick' if quick else ''}"
    rounds = _QUICK_ROUNDS if quick else ROUNDS
    stopwatch, name = Stopwatch(backend), name or device.replace(":", "")
    return run_calibration(chosen, stopwatch, name, command, rounds, progress)


class Stopwatch:
    """What a calibration times with, by the clock of a measuring back end.

    `where` the benches run is as torch names it.
    """

    def __init__(self, backend: Backend) -> None:
        self.where = backend.where
        self._backend = backend
        self._calls: dict[str, int] = {}

    def active(self) -> AbstractContextManager[None]:
        """Entered around everything that is timed."""
        return self._backend.active()

    def seconds(self, bench: Bench, call: Callable[[], object]) -> float:
        """How long one call of a bench takes, by a sample of several in a row if it is short.

        In a row, so a device that runs behind its host takes the longer of both, as in a network.
        """
        if bench.name not in self._calls:
            call()
            once = max(self._backend.time_ms(call), 1e-6)
            self._calls[bench.name] = max(1, min(_MOST_CALLS, round(_LEAST_MS / once)))
        count = self._calls[bench.name]

        def several() -> None:
            for _ in range(count):
                call()

        return 1e-3 * self._backend.time_ms(several) / count


def run_calibration(
    chosen: CalibrationPlan,
    stopwatch: Stopwatch,
    name: str,
    command: str = "",
    rounds: int = ROUNDS,
    progress: Progress = silent,
) -> Calibration:
    """Time a plan's benches and fit its parameters; errors as for `calibrate`."""
    timings = time_benches((*chosen.roofs, *chosen.benches), stopwatch, rounds, progress)
    roofs, benches = timings[: len(chosen.roofs)], timings[len(chosen.roofs) :]
    speeds: dict[str, dict[str, float]] = {}
    for timed in roofs:
        speeds.setdefault(timed.group, {})[timed.name] = timed.work / timed.seconds
    base = chosen.base(name, speeds)
    samples = [Sample(timed.name, timed.costs, timed.seconds, in_a_row=True) for timed in benches]
    fitted = fit(samples, base, chosen.parameters, noise=_NOISE, folds=_FOLDS)
    profile = replace(
        fitted.profile,
        command=command,
        held_out_rms=None,  # of single operations, which a network's sum evens out
        spread={**base.spread, **_spread(benches, fitted)},
        fitted=tuple(family for family in FAMILIES if family in _families(benches)),
        source={**base.source, "spread": "Held-out errors of the benches, root mean square"},
    )
    return Calibration(roofs, benches, replace(fitted, profile=profile), len(timings[0].samples))


def _families(benches: Sequence[Timed]) -> Mapping[str, list[int]]:
    """Indices of the benches by the family of their operation; those of launches by `launch`."""
    families: dict[str, list[int]] = {}
    for index, timed in enumerate(benches):
        largest = max(timed.costs, key=lambda cost: cost.read + cost.written)  # others are views
        family = "launch" if timed.group == "launches" else largest.family
        families.setdefault(family, []).append(index)
    return families


def _spread(benches: Sequence[Timed], fitted: Fit) -> dict[str, float]:
    """Root mean square of the held-out errors by family, and what is common to all: the clock's."""
    spread = {"common": median(timed.spread for timed in benches)}
    for family, members in _families(benches).items():
        predicted = [fitted.left_out[i] for i in members]
        spread[family] = rms_error(predicted, [benches[i].seconds for i in members])
    return spread


def time_benches(
    benches: Sequence[Bench],
    stopwatch: Stopwatch,
    rounds: int = ROUNDS,
    progress: Progress = silent,
) -> tuple[Timed, ...]:
    """Samples of every bench, taken in turn, so that a slow moment hits a few of each.

    More rounds follow while the timings spread too widely, up to four times as many; a BusyError
    if they still do.
    """
    costs: list[tuple[NodeCost, ...]] = []
    calls: list[Callable[[], Any]] = []
    for done, bench in enumerate(benches):
        progress("preparing", done, len(benches))
        workload = resolve(Call(bench.model, tuple(bench.inputs), dtype=bench.dtype))
        costs.append(node_costs(run_trace(workload, "auto", holders=False)))
        instance = workload.instance(stopwatch.where)
        calls.append(partial(call_model, *instance))
    samples: list[list[float]] = [[] for _ in benches]
    most = MOST_ROUNDS * rounds // ROUNDS
    with stopwatch.active(), torch.no_grad():
        for done in range(most):
            progress("timing round", done, rounds)
            for bench, call, taken in zip(benches, calls, samples, strict=True):
                taken.append(stopwatch.seconds(bench, call))
            timed = tuple(
                Timed(bench.name, bench.group, cost, tuple(taken))
                for bench, cost, taken in zip(benches, costs, samples, strict=True)
            )
            spread = median(t.spread for t in timed)
            if done + 1 >= rounds and spread <= WIDEST:
                return timed
    raise BusyError(
        f"the machine is too busy to calibrate: half of the timings spread by over {spread:.0%}, "
        f"and {WIDEST:.0%} is the most that a fit can use; close other programs, or give fewer "
        "--threads than there are cores, and try again"
    )
