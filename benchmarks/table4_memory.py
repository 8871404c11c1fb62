"""The memory that Table 4 of the FMEN paper publishes, beside what the simulation predicts.

    python benchmarks/table4_memory.py

The published figures are `max_memory_allocated` after the challenge's 100 validation images, whose
sizes are not public; 510x510 is the largest there can be. `cold` is that image in a fresh program;
`after` the same after the 100 test images, in their order; both on the card of `--profile
ntire2022`. MiB.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import srprof
from srprof.analysis import scratch_on
from srprof.cost.profiles import load_profile
from srprof.memory.simulation import simulate

SIZES = Path(srprof.__file__).parent / "data" / "div2k_test_lr_sizes.json"
LARGEST = (510, 510)
PUBLISHED = {
    "imdn": 471.76,
    "e_rfdn": 788.13,
    "fmen_s": 204.60,
    "rlfn": 377.91,
    "neesr": 575.99,
    "repafdn": 663.07,
    "megsr": 640.63,
    "rainbow": 309.23,
}
MIB = 2**20


def main() -> int:
    """Print one row for each network."""
    scratch = scratch_on(load_profile("ntire2022"), None).at_least
    sizes = [tuple(size) for size in json.loads(SIZES.read_text())["hw"]]
    header = ("network", "published", "requested", "cold", "after", "reserved", "seconds")
    print(("{:9}" + "{:>11}" * 6).format(*header))
    for name, published in PUBLISHED.items():
        traces = {size: srprof.trace(name, (1, 3, *size)) for size in {*sizes, LARGEST}}
        cold = simulate([traces[LARGEST]], workspace=scratch)
        start = time.perf_counter()
        after = simulate([traces[size] for size in [*sizes, LARGEST]], workspace=scratch)
        seconds = time.perf_counter() - start
        peaks = (cold.peak_requested, cold.peak_allocated, after.peak_allocated)
        figures = [published, *(peak / MIB for peak in (*peaks, after.peak_reserved)), seconds]
        print(f"{name:9}" + "".join(f"{figure:11.2f}" for figure in figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
