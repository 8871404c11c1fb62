"""What a worker does: a few configurations, one after the other. torch is loaded at the first."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace

from srprof.errors import user_raised
from srprof.failures import failure
from srprof.operators.known import using_ops
from srprof.sweeping.grid import Configuration
from srprof.sweeping.record import SweepPlan
from srprof.timeout import limited, timeout
from srprof.words import one_line


@dataclass(frozen=True)
class Result:
    """Values of one configuration, or its error and exit code; versions of srprof and torch."""

    key: str
    values: dict[str, int | float]
    error: str
    exit_code: int
    versions: tuple[str, str]


def begin() -> None:
    """Make a process a worker: one thread, and an end when the process that asked has ended."""
    from multiprocessing import parent_process

    import torch

    torch.set_num_threads(1)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    from multiprocessing.connection import wait

    wait([sentinel])
    os._exit(1)


def compute(task: SweepPlan) -> list[Result]:
    """The results of a task, in its order."""
    if os.path.isdir(task.folder):
        os.chdir(task.folder)
    with using_ops(*task.ops), timeout(task.timeout):
        return [_compute(task, configuration) for configuration in task.configurations]


def _compute(task: SweepPlan, configuration: Configuration) -> Result:
    import torch

    from srprof._version import __version__

    versions = (__version__, str(torch.__version__))
    try:
        with limited(configuration.spec):
            values = _values(task, configuration)
        return Result(configuration.key, values, "", 0, versions)
    except user_raised() as raised:  # wherever it came from: one row, not the sweep
        failed = failure(raised)
    return Result(configuration.key, {}, one_line(failed), failed.exit_code, versions)


def _values(task: SweepPlan, configuration: Configuration) -> dict[str, int | float]:
    from srprof.analysis import analyze
    from srprof.tracing.run import trace_call

    call = replace(task.call, spec=configuration.spec, inputs=configuration.inputs)
    analysis = analyze(trace_call(call, holders=False), profile=task.profile)
    values = ((name, analysis.value(name)) for name in task.metrics)
    return {name: value for name, value in values if value is not None}


def warm_up() -> None:
    """Load all that a first trace loads, so that processes forked from here have it."""
    import torch

    from srprof.analysis import analyze

    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3), torch.nn.PixelShuffle(1))
    analyze(model, (1, 3, 8, 8)).to_dict()
