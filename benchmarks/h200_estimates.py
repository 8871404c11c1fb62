"""Estimates of public networks of the NTIRE challenges beside what an NVIDIA H200 took of them.

    python benchmarks/h200_estimates.py --repositories DIR --every 6    each sixth of the 74
    python benchmarks/h200_estimates.py                                 the record's errors

DIR is that of benchmarks/h200_peaks.py, which says what was measured. Of each network an estimate
is made with `--profile h200`, in a process of its own, and asked for the sizes that were measured,
which are not traced for it. `f32_510` was measured in the process's first call; the others behind
other sizes (`f32_256` without the large image that was still there), and are compared as they are.
benchmarks/records/h200_estimates.json grows row by row.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from h200_peaks import LARGE, RECORD, SMALL, build

ROWS = Path(__file__).parent / "records" / "h200_estimates.json"
#: Dtype and size by condition.
CONDITIONS = {
    "f32_510": ("float32", LARGE),
    "f32_256": ("float32", SMALL),
    "f16_510": ("float16", LARGE),
    "f16_256": ("float16", SMALL),
}
GOAL, SHARE = 0.01, 0.95
#: Seconds for a network.
_LIMIT = 300


def peaks(root: Path, key: str) -> dict[str, Any]:
    """A network's bytes by condition, and how the estimate was made."""
    from srprof.call import Call
    from srprof.estimating.run import estimate

    year, number = key.split()
    network = build(root / f"ntire{year}", int(number), as_called=False)
    call = Call(network, ((1, 3, 256, 256),))
    found = estimate(call, profile="h200", dtypes=("float32", "float16"))
    row: dict[str, Any] = {"exact": found.exact, "traces": found.traces, "bytes": {}}
    for name, (dtype, size) in CONDITIONS.items():
        try:
            row["bytes"][name] = found.peak_bytes(*size, dtype=dtype)
        except ValueError as error:
            row.setdefault("refused", {})[name] = str(error)
    return row


def add(rows: dict[str, Any], root: Path, keys: list[str]) -> None:
    """Rows that are not there yet, each in a process: names of modules collide."""
    for key in keys:
        if "bytes" in rows.get(key, {}):
            continue
        command = [sys.executable, __file__, "--repositories", str(root), "--only", key]
        try:
            run = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_LIMIT
            )
            failed = run.returncode and (run.stderr.strip().splitlines() or ["it died"])[-1]
        except subprocess.TimeoutExpired:
            failed = f"not made in {_LIMIT} s"
        rows[key] = {"error": failed} if failed else json.loads(run.stdout.splitlines()[-1])
        ROWS.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
        print(key, failed or rows[key]["bytes"], flush=True)


def errors(rows: dict[str, Any]) -> dict[tuple[str, str], float]:
    """Relative errors by network and condition."""
    measured = json.loads(RECORD.read_text())["peaks"]
    return {
        (key, name): nbytes / measured[key][name] - 1
        for key, row in rows.items()
        for name, nbytes in row.get("bytes", {}).items()
        if name in measured[key]
    }


def main() -> None:
    """Make rows, or print errors and how many are near."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repositories", type=Path, help="the folder of the public repositories")
    parser.add_argument("--every", type=int, default=1, help="only each so many-th network")
    parser.add_argument("--only", metavar="'YEAR ID'", help="of this network, as JSON")
    arguments = parser.parse_args()
    rows = json.loads(ROWS.read_text()) if ROWS.exists() else {}
    if arguments.repositories is not None:
        root = arguments.repositories.resolve()
        if arguments.only:
            print(json.dumps(peaks(root, arguments.only)))
            return
        keys = [*json.loads(RECORD.read_text())["peaks"]]
        add(rows, root, keys[:: arguments.every])
    found = errors(rows)
    for (key, name), error in found.items():
        print(f"{key:9} {name} {error:+.3%}")
    for key, row in rows.items():
        for name, why in row.get("refused", {}).items():
            print(f"{key:9} {name} {why}")
        if "error" in row:
            print(f"{key:9} {row['error']}")
    near = sum(abs(error) <= GOAL for error in found.values())
    made = len({key for key, _ in found})
    print(f"{near} of {len(found)} peaks of {made} networks are within {GOAL:.0%}", end="")
    print(f": the goal is {SHARE:.0%}")


if __name__ == "__main__":
    main()
