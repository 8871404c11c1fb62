"""How the time of `srprof sweep` grows with configurations, and falls with processes.

    python benchmarks/sweep_scaling.py                  200 configurations of FMEN
    python benchmarks/sweep_scaling.py --runs 3

Each run is a whole program, `srprof sweep fmen ...` from its start to its end. The counts, and one
process and two, take turns, so that a machine that slows down slows them alike; medians are
compared. Linear means that twice the configurations take no more than twice the time, and less
where starting is a part of it: the growth per configuration is given for each step. Starting, which
is importing torch, takes as long with two processes as with one. Two sweeps of one process each, at
once and with nothing in common, say how much the machine gives to two programs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from itertools import pairwise
from statistics import median

#: Configurations: multiples of 4, for `--set n_feats=17..N --set mid_feats=13..16`.
COUNTS = (52, 100, 200)


def command(count: int, jobs: int) -> list[str]:
    """A sweep of so many configurations."""
    last = 16 + count // 4
    return [
        sys.executable, "-m", "srprof", "sweep", "fmen", "--inputs", "256x256",
        "--set", f"n_feats=17..{last}", "--set", "mid_feats=13..16",
        "--format", "csv", "--jobs", str(jobs),
    ]  # fmt: skip


def seconds(count: int, jobs: int) -> float:
    """Wall time of a sweep of so many configurations."""
    start = time.perf_counter()
    done = subprocess.run(command(count, jobs), check=True, capture_output=True, text=True)
    elapsed = time.perf_counter() - start
    rows = done.stdout.splitlines()[1:]
    assert len(rows) == count and all(row.endswith(",") for row in rows), "rows, none failed"
    return elapsed


def seconds_of_two(count: int) -> float:
    """Wall time until two programs, each a sweep of so many configurations, have both ended."""
    start = time.perf_counter()
    running = [
        subprocess.Popen(command(count, 1), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [program.wait() for program in running] == [0, 0]
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="of each (default 5)")
    runs = parser.parse_args().runs
    # One process and two right after each other: the machine's speed drifts within a minute.
    cases = [(COUNTS[0], 1)] + [(count, jobs) for count in COUNTS[1:] for jobs in (1, 2)]
    times: dict[tuple[int, int], list[float]] = {case: [] for case in cases}
    free = []
    for _ in range(runs):
        for case in cases:
            times[case].append(seconds(*case))
        free.append(2 * times[COUNTS[-1], 1][-1] / seconds_of_two(COUNTS[-1]))
    processors = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )
    print(f"{processors} processors, load {os.getloadavg()[0]:.2f}, {runs} runs of each in turn")
    print("configurations  processes  seconds: median      min      max")
    for (count, jobs), found in times.items():
        print(
            f"{count:>14}  {jobs:>9}  {median(found):>15.2f} {min(found):>8.2f} {max(found):>8.2f}"
        )
    middle = {case: median(found) for case, found in times.items()}
    for jobs, what in ((1, "process"), (2, "processes")):
        counts = [count for count, other in cases if other == jobs]
        for small, large in pairwise(counts):
            each = (middle[large, jobs] - middle[small, jobs]) / (large - small)
            print(f"{small} to {large}, {jobs} {what}: {1e3 * each:.1f} ms for each further one")
    pairs = zip(times[COUNTS[-1], 1], times[COUNTS[-1], 2], strict=True)
    ratios = sorted(one / two for one, two in pairs)
    print(
        f"one process takes {median(ratios):.2f} times as long as two "
        f"(pair by pair {ratios[0]:.2f} to {ratios[-1]:.2f})"
    )
    print(
        f"two such programs at once get {median(free):.2f} times the work of one done meanwhile "
        f"({min(free):.2f} to {max(free):.2f})"
    )


if __name__ == "__main__":
    main()
