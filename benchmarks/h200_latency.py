"""Predicted times beside what an NVIDIA H200 took of public networks of the NTIRE challenges.

    python benchmarks/h200_latency.py                       # the zoo's eight of them
    python benchmarks/h200_latency.py --repositories DIR    # all 74

DIR is as `benchmarks/h200_peaks.py` takes it. What was measured is the shortest of some passes
between two CUDA events (`records/nvidia-h200/times.json`): float32 with TF32 as torch has it, and
float16, on a virtual machine whose host took up to 1.6 times as long for the same network a minute
later. The profile is `h200`: its table has single operations, and none of these networks.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

from h200_peaks import Traces, of_both_years

from srprof.cost.estimate import estimate
from srprof.cost.fitting import spearman
from srprof.cost.measured import NINETY
from srprof.cost.profiles import load_profile

RECORD = Path(__file__).parent / "records" / "nvidia-h200" / "times.json"
RUNS = {
    "510x510 float32": ("float32", (510, 510)),
    "339x510 float32": ("float32", (339, 510)),
    "510x510 float16": ("float16", (510, 510)),
    "256x256 float32": ("float32", (256, 256)),
    "256x256 float16": ("float16", (256, 256)),
}


def predicted(made: Traces) -> dict[str, tuple[float, float]]:
    """Milliseconds and their standard deviation, of each run that the network does."""
    profile = load_profile("h200")
    found = {}
    for name, key in RUNS.items():
        if key in made:
            time = estimate(made[key], profile)
            found[name] = 1e3 * time.seconds, 1e3 * time.uncertainty
    return found


def rows() -> dict[str, list[tuple[str, float, float, float]]]:
    """By run: networks, what was measured, predicted, and the standard deviation, in ms."""
    found: dict[str, list[tuple[str, float, float, float]]] = {name: [] for name in RUNS}
    record = json.loads(RECORD.read_text(encoding="utf-8"))["ms"]
    for key, times in of_both_years(__file__, __doc__, record, predicted):
        measured = record[key]
        for name, (ms, deviation) in times.items():
            if name in measured:
                found[name].append((measured["name"], measured[name], ms, deviation))
    return found


def summary(pairs: list[tuple[str, float, float, float]]) -> str:
    """How far off the predictions are, in one line."""
    errors = [abs(ms / measured - 1) for _, measured, ms, _ in pairs]
    near = sum(error <= 0.25 for error in errors) / len(errors)
    within = [abs(ms - measured) <= NINETY * deviation for _, measured, ms, deviation in pairs]
    order = spearman([measured for _, measured, _, _ in pairs], [ms for _, _, ms, _ in pairs])
    return (
        f"{len(pairs)} networks: median error {median(errors):.1%}, within 25 % {near:.0%}, "
        f"Spearman {order:.3f}, 90 % intervals hold {sum(within) / len(within):.0%}"
    )


def main() -> None:
    """Print each network's errors, and a summary of each run."""
    for name, pairs in rows().items():
        for network, measured, ms, _ in sorted(pairs, key=lambda pair: pair[2] / pair[1]):
            print(f"{name}  {network:24} {measured:8.2f} {ms:8.2f} {ms / measured - 1:+.1%}")
        print(f"{name}  {summary(pairs)}\n", flush=True)


if __name__ == "__main__":
    main()
