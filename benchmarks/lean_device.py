"""What `lean --profile` is predicted to do: time and allocated peak, as shares of eager's.

    python benchmarks/lean_device.py [--profile h200] [--input 510x510] [NETWORK ...] [-o FILE]

Without names the eight networks of Table 4, in float16 and float32. Nothing is run on a GPU. With
`-o` the figures are written as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from tabulate import tabulate

from srprof.call import call_of
from srprof.cost.profiles import load_profile
from srprof.errors import SrprofError
from srprof.leaning.run import savings
from srprof.workload import resolve

TABLE4 = "fmen_s e_rfdn imdn rlfn neesr megsr repafdn rainbow".split()


def predicted(spec: str, size: str, dtype: str, profile: str, objective: Any) -> dict[str, Any]:
    """Shares of time and peak, and what was done."""
    began = time.process_time()
    workload = resolve(call_of(spec, (f"1x3x{size}",), dtype=dtype))
    found = savings(workload, "equivalent", profile=load_profile(profile), objective=objective)
    first, last = found.stages[0], found.stages[-1]
    assert first.seconds and last.seconds
    form = found.lean.form
    return {
        "network": spec,
        "dtype": dtype,
        "ms": first.seconds * 1e3,
        "lean_ms": last.seconds * 1e3,
        "time": last.seconds / first.seconds,
        "mib": first.peaks["allocated"] / 2**20,
        "lean_mib": last.peaks["allocated"] / 2**20,
        "peak": last.peaks["allocated"] / first.peaks["allocated"],
        "widths": {str(n): up for n, up in form.widths.items() if up > n} if form else {},
        "passes": list(found.lean.passes),
        "cpu_s": time.process_time() - began,
    }


def main() -> None:
    """Predict, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("networks", nargs="*", default=TABLE4)
    parser.add_argument("--profile", default="h200")
    parser.add_argument("--input", default="510x510")
    parser.add_argument("--dtype", nargs="*", default=["float16", "float32"])
    parser.add_argument("--objective", default="both")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    rows = []
    for dtype in arguments.dtype:
        for spec in arguments.networks:
            how = arguments.input, dtype, arguments.profile, arguments.objective
            try:
                rows.append(predicted(spec, *how))
            except SrprofError as error:
                print(f"{spec}: {error}")
                continue
            print(" ".join(f"{value:.3f}" if isinstance(value, float) else str(value)
                           for value in rows[-1].values()), flush=True)  # fmt: skip
    shown = [
        [r[k] for k in "network dtype ms lean_ms time mib lean_mib peak".split()] for r in rows
    ]
    print(
        tabulate(shown, "network dtype ms lean_ms time mib lean_mib peak".split(), floatfmt=".3f")
    )
    for dtype in arguments.dtype:
        those = [row for row in rows if row["dtype"] == dtype]
        if those:
            means = [geometric_mean([row[key] for row in those]) for key in ("time", "peak")]
            print(
                f"{dtype}: geometric means {means[0]:.3f} of the time, {means[1]:.3f} of the peak"
            )
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
