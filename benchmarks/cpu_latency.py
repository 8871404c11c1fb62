"""Calibrate this machine's CPU, then predict networks and time them in the same run.

    python benchmarks/cpu_latency.py [--threads N] [--repeat N] [--sizes 128 256]

The networks are those of FMEN's Table 4, and FMEN. None of them is in the calibration, and
neither are these sizes. They are timed in turn, round by round, so that a slow moment of a shared
machine hits a pass of each and not all of one; the figure of each is the median of its passes.

Freed memory is kept by the process (see `srprof.measuring.heap`), in the calibration and for the
networks. `--given-back` times the networks first, with malloc as glibc sets it up.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from functools import partial
from statistics import median

import torch

from srprof.calibration.run import calibrate
from srprof.call import Call
from srprof.cost.estimate import estimate
from srprof.cost.fitting import spearman
from srprof.cost.profiles import Profile, load_profile
from srprof.errors import BusyError
from srprof.measuring.cpu import CpuBackend
from srprof.measuring.heap import keep_freed_memory
from srprof.measuring.statistics import summarize
from srprof.records import Trace
from srprof.tracing.recorder import call_model
from srprof.tracing.run import run_trace
from srprof.workload import resolve

NETWORKS = ("imdn", "e_rfdn", "rlfn", "neesr", "repafdn", "megsr", "rainbow", "fmen_s", "fmen")

#: Issue 5's goals: the median error, and Spearman's rank correlation.
GOALS = (0.20, 0.95)


@dataclass
class Run:
    """A network at a size, and milliseconds of its passes."""

    name: str
    size: int
    trace: Trace
    samples: list[float] = field(default_factory=list)


def timed(sizes: list[int], backend: CpuBackend, repeat: int) -> list[Run]:
    """Every network at every size, `repeat` passes each after one of warm-up."""
    runs, calls = [], []
    for name in NETWORKS:
        for size in sizes:
            workload = resolve(Call(name, ((1, 3, size, size),)))
            runs.append(Run(name, size, run_trace(workload, "auto", holders=False)))
            calls.append(partial(call_model, *workload.instance("cpu")))
    with backend.active(), torch.no_grad():
        for passes in range(repeat + 1):
            for run, call in zip(runs, calls, strict=True):
                elapsed = backend.time_ms(call)
                if passes:
                    run.samples.append(elapsed)
    return runs


def report(runs: list[Run], profile: Profile) -> bool:
    """Print the comparison; whether the goals are met."""
    print("network   size  measured  spread predicted   error")
    measured, predicted = [], []
    for run in runs:
        summary = summarize(run.samples)
        milliseconds = 1e3 * estimate(run.trace, profile).seconds
        measured.append(summary.median)
        predicted.append(milliseconds)
        print(
            f"{run.name:9s} {run.size:4d} {summary.median:9.1f} "
            f"{summary.iqr / summary.median:7.1%} {milliseconds:9.1f} "
            f"{milliseconds / summary.median - 1:+7.1%}"
        )
    found = [abs(p / m - 1) for p, m in zip(predicted, measured, strict=True)]
    error, rank = median(found), spearman(predicted, measured)
    print(f"median error {error:.1%}, largest {max(found):.1%}, Spearman {rank:.3f}")
    for size in sorted({run.size for run in runs}):
        pairs = [
            (p, m) for run, p, m in zip(runs, predicted, measured, strict=True) if run.size == size
        ]
        print(f"Spearman at {size}x{size}: {spearman(*zip(*pairs, strict=True)):.3f}")
    return error <= GOALS[0] and rank >= GOALS[1]


def main() -> int:
    """Calibrate, time, compare; 0 if the goals are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="of torch's pool (default 1)")
    parser.add_argument("--repeat", type=int, default=7, help="passes of each (default 7)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--profile", help="a profile made before, instead of calibrating")
    parser.add_argument("--given-back", action="store_true", help="malloc as glibc sets it up")
    arguments = parser.parse_args()
    backend = CpuBackend(arguments.threads)

    runs = []
    if arguments.given_back:
        runs = timed(arguments.sizes, backend, arguments.repeat)
    keep_freed_memory()
    if arguments.profile:
        profile = load_profile(arguments.profile)
    else:
        calibration = calibrate("cpu", threads=arguments.threads)
        profile = calibration.profile
        print(
            f"calibrated by {len(calibration.benches)} benches, spread of the median one "
            f"{calibration.spread:.1%}; held-out error: mean {profile.held_out_error:.1%}"
        )
    runs = runs or timed(arguments.sizes, backend, arguments.repeat)
    print(f"{profile.title}, torch {torch.__version__}; milliseconds")
    return 0 if report(runs, profile) else 1


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except BusyError as error:
        raise SystemExit(f"cpu_latency: {error}") from None
