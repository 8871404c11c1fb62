"""Timing whole processes: wall seconds and peak memory, as the operating system counts them."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """One finished process: wall seconds, peak resident MiB, exit code, what it printed."""

    seconds: float
    peak_mib: float
    code: int
    output: str


def run(command: Sequence[str]) -> Run:
    """Run a command to its end."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    output = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    return Run(seconds, usage.ru_maxrss / 1024, process.returncode, output)


def paired(a: Sequence[str], b: Sequence[str], runs: int) -> list[tuple[Run, Run]]:
    """The two commands in turn, after one uncounted run of each: drift hits both alike."""
    run(a), run(b)
    return [(run(a), run(b)) for _ in range(runs)]


def spread(values: Sequence[float]) -> str:
    """`median (min to max)`."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def python(code: str) -> list[str]:
    """A command that runs Python code."""
    return [sys.executable, "-c", code]
