"""Predicted peaks beside those that traiNNer-redux published of spandrel's networks, an RTX 4090's.

    python benchmarks/trainner_memory.py DATA    trace what the record has not, print the table
    python benchmarks/trainner_memory.py         the table of the record; nothing is run

DATA is the published table as CSV, of 1x3x480x640. Its script is the preset `trainner`
(srprof/presets.py says where that is read): weights in float32 in a region of autocast, contiguous
and channels-last, one network after another in a process, the previous result still there, cuDNN's
benchmark on. Rows are those whose number of parameters is spandrel's class's to 0.1 %; the scratch
of convolutions is by rule, from an H200's choices without that benchmark. The record,
benchmarks/records/trainner_memory.json, grows row by row.
"""

from __future__ import annotations

import argparse
import json
import signal
import time
from pathlib import Path
from typing import Any

from srprof.analysis import Analysis, scratch_on
from srprof.call import Call
from srprof.cost.profiles import load_profile
from srprof.errors import SrprofError
from srprof.tracing.run import run_trace
from srprof.workload import resolve

RECORD = Path(__file__).parent / "records" / "trainner_memory.json"
PROFILE = "rtx4090"
#: Within so much, and of so many rows.
GOAL, SHARE = 0.05, 0.8
#: Seconds for a row.
_LIMIT = 600

#: What is known of rows that are farther off, by name and layout.
WHY = {
    ("esrgan_lite", "contiguous"): (
        "cuDNN's benchmark takes an algorithm that copies nothing of its 32 channels; without "
        "copies srprof has 1.25 GiB here, 2 % less than measured"
    ),
    **{
        (name, layout): (
            "the last rows of the process: 16 MiB beside the libraries' are there of networks "
            "before it, the same in both layouts"
        )
        for name in ("compact", "ultracompact", "superultracompact")
        for layout in ("contiguous", "channels-last")
    },
}
#: Networks that are not traced; their rows count as missed.
NOT_TRACED = {
    "seemore_t": (
        "a tensor's value selects its module, so it runs on the CPU, where a region of autocast "
        "for CUDA casts nothing: what it takes so is 48 % more than measured"
    ),
}


def main() -> None:
    """Trace and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, nargs="?", help="the published table")
    arguments = parser.parse_args()
    rows = json.loads(RECORD.read_text()) if RECORD.exists() else []
    if arguments.data is not None:
        add(rows, arguments.data)
    print(table(rows))


def add(rows: list[dict[str, Any]], data: Path) -> None:
    """Rows that are not there yet."""
    from spandrel_networks import LAYOUTS, networks

    def late(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    for published, network in networks(data):
        for layout in LAYOUTS if published.name not in NOT_TRACED else ():
            if any((row["name"], row["layout"]) == (published.name, layout) for row in rows):
                continue
            start = time.perf_counter()
            signal.alarm(_LIMIT)
            try:
                found = analysis(published.call(network, layout))
                peaks = {name: peak.nbytes for name, peak in found.peaks.items()}
            except (SrprofError, TimeoutError) as error:
                print(published.name, layout, type(error).__name__, error, flush=True)
                continue
            finally:
                signal.alarm(0)
            row = {"name": published.name, "layout": layout, "dtype": published.dtype}
            row |= {"measured": round(published.nbytes[layout]), "peaks": peaks}
            row["traced_on"] = found.trace.device
            rows.append(row)
            RECORD.write_text(json.dumps(rows, indent=1) + "\n")
            seconds = time.perf_counter() - start
            print(f"{published.name} {layout} {error_of(row):+.2%} {seconds:.0f} s", flush=True)


def analysis(call: Call) -> Analysis:
    """Of a call on that GPU."""
    gpu = load_profile(PROFILE)
    trace = run_trace(resolve(call), holders=False)
    return Analysis(trace, workspaces=scratch_on(gpu, None), profile=gpu)


def error_of(row: dict[str, Any]) -> float:
    """Relative, of what is allocated."""
    return float(row["peaks"]["allocated"] / row["measured"] - 1)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, and how many are near."""
    lines = ["| network | layout | measured MiB | predicted MiB | error |", "|---|---|---|---|---|"]
    for row in rows:
        mib = [f"{n / 2**20:.1f}" for n in (row["measured"], row["peaks"]["allocated"])]
        lines.append(
            f"| {row['name']} | {row['layout']} | {' | '.join(mib)} | {error_of(row):+.1%} |"
        )
    near, count = sum(abs(error_of(row)) <= GOAL for row in rows), len(rows) + 2 * len(NOT_TRACED)
    share = near / count
    held = "reached" if share >= SHARE else "not reached"
    lines += ["", f"{near} of {count} rows are within {GOAL:.0%}, {share:.0%}: {held}.", ""]
    lines += [f"- {name}, both layouts: {why}." for name, why in NOT_TRACED.items()]
    for row in rows:
        if abs(error_of(row)) > GOAL:
            why = WHY.get((row["name"], row["layout"]), "not known")
            lines.append(f"- {row['name']}, {row['layout']}: {why}.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
