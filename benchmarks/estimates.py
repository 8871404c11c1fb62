"""How far estimates are exact: of the zoo and of spandrel's networks, beside fresh traces.

    python benchmarks/estimates.py                     all of them, each in a process of its own
    python benchmarks/estimates.py fmen_s SwinIR-light
    python benchmarks/estimates.py --table             the record as a table, nothing is run

Each network's estimate is compared with traces at sizes that it has not seen, drawn at random with
batches of 1 and 2; a network whose traces take long has fewer than `--sizes` of them, as many as
`--seconds` allow, and the record says how many. Rows go to benchmarks/records/estimates.json as
they come. Times of the reader are of this machine, the median of some calls.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "records" / "estimates.json"
sys.path.insert(0, str(ROOT / "tests"))

KINDS = ("planned", "eager", "allocated", "reserved")
#: Sides of the fresh sizes, as often small as large.
_LEAST, _MOST = 48, 1200


def names() -> list[str]:
    """The zoo's networks and spandrel's."""
    from spandrel_zoo import ENTRIES  # type: ignore[import-not-found]

    from srprof import registry

    return [*(network.name for network in registry.networks()), *(e.name for e in ENTRIES)]


def call_of(name: str) -> Any:
    """A network's call at some size."""
    from spandrel_zoo import ENTRIES, import_spandrel

    from srprof.call import Call

    entry = next((e for e in ENTRIES if e.name == name), None)
    if entry is None:
        return Call(name, ("256x256",))
    import_spandrel()
    return Call(entry.build(), entry.inputs)


def one(name: str, dtype: str | None, sizes: int, seconds: float) -> dict[str, Any]:
    """The row of a network."""
    from dataclasses import replace

    import srprof_estimate
    from srprof.errors import SrprofError
    from srprof.estimating.run import Sampler, estimate

    call = replace(call_of(name), dtype=dtype)
    start = time.perf_counter()
    try:
        found = estimate(call)
    except SrprofError as error:
        return {"name": name, "error": str(error)}
    row: dict[str, Any] = {"name": name, "built_s": round(time.perf_counter() - start, 1)}
    file = json.loads(found.to_json())
    dtypes = [d for d, place in found.dtypes.items() if not isinstance(place, str)]
    row |= {"traces": found.traces, "exact": found.exact, "bytes": len(found.to_json())}
    row |= {"dtypes": found.dtypes, "sides": found.sides}

    random, start = Random(name), time.perf_counter()
    sampler = Sampler.of(call)
    errors: dict[str, list[float]] = {kind: [] for kind in KINDS}
    calls = []
    least = max(_LEAST, found.sides["least"])
    for count in range(sizes):
        if count >= 3 and time.perf_counter() - start > seconds:
            break
        h, w = (found.at_least(round(least * (_MOST / least) ** random.random())) for _ in "hw")
        batch, dtype = random.choice((1, 1, 1, 2)), dtypes[count % len(dtypes)]
        try:
            sample = sampler.sample(dtype, batch, h, w)
        except SrprofError as error:
            row.setdefault("refused", []).append(f"{dtype} {batch}x{h}x{w}: {error}")
            continue
        for kind in KINDS:
            before = time.process_time()
            said = srprof_estimate.peak_bytes(file, h, w, batch, dtype, kind)
            calls.append(time.process_time() - before)
            errors[kind].append(said / sample.peaks[kind] - 1)
    row["sizes"] = len(errors["planned"])
    row["peaks"] = {
        kind: {"equal": e.count(0), "least": min(e), "most": max(e)} for kind, e in errors.items()
    }
    row["call_ms"] = round(1e3 * statistics.median(calls), 3)
    row["slowest_call_ms"] = round(1e3 * max(calls), 3)
    tiles = []
    for budget in (1, 4, 16):
        before = time.process_time()
        try:
            srprof_estimate.largest_tile(file, budget * 2**30, 16, dtype=dtypes[0])
        except ValueError:
            continue
        tiles.append(time.process_time() - before)
    row["tile_ms"] = round(1e3 * max(tiles, default=0), 2)
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """The record for a reader, and how many rows hold."""
    lines = ["network | sizes | planned | eager | allocated | KB | call ms | tile ms", "-" * 60]
    for row in rows:
        if "error" in row:
            lines.append(f"{row['name']} | {row['error']}")
            continue
        cells = []
        for kind in KINDS[:3]:
            peak = row["peaks"][kind]
            same = peak["equal"] == row["sizes"]
            cells.append("=" if same else f"{peak['least']:+.2%} to {peak['most']:+.2%}")
        cells += [f"{row['bytes'] / 1e3:.1f}", str(row["call_ms"]), str(row["tile_ms"])]
        lines.append(" | ".join([row["name"], str(row["sizes"]), *cells]))
    run = [row for row in rows if "error" not in row]
    equal = [
        all(row["peaks"][k]["equal"] == row["sizes"] for k in ("planned", "eager")) for row in run
    ]
    near = [
        all(abs(row["peaks"]["allocated"][end]) <= 0.01 for end in ("least", "most")) for row in run
    ]
    lines.append(
        f"{len(rows)} networks, {len(run)} with an estimate; planned and eager to the byte in "
        f"{sum(equal)}, allocated within 1 % in {sum(near)}; largest file "
        f"{max((row['bytes'] for row in run), default=0)} bytes"
    )
    return "\n".join(lines)


def main() -> None:
    """Measure what is asked for, row by row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--sizes", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60, help="for one network's fresh traces")
    parser.add_argument("--timeout", type=float, default=900, help="for one network")
    parser.add_argument("--dtype", help="one only, instead of float32, float16 and bfloat16")
    parser.add_argument("--missing", action="store_true", help="only those not in the record")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.names[0], args.dtype, args.sizes, args.seconds)))
        return
    known = json.loads(RECORD.read_text()) if RECORD.exists() else []
    rows = {row["name"]: row for row in known}
    for name in [] if args.table else args.names or names():
        if args.missing and name in rows:
            continue
        command = [sys.executable, __file__, name, "--one", f"--sizes={args.sizes}"]
        command += [f"--seconds={args.seconds}", *([f"--dtype={args.dtype}"] if args.dtype else [])]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=args.timeout, check=False
            )
            row = json.loads(done.stdout.splitlines()[-1])
        except subprocess.TimeoutExpired:
            row = {"name": name, "error": f"not done within {args.timeout:.0f} s"}
        except (IndexError, ValueError):
            row = {"name": name, "error": done.stderr.strip().splitlines()[-1][:300]}
        print(table([row]).splitlines()[2], flush=True)
        rows[name] = row
        RECORD.parent.mkdir(exist_ok=True)
        RECORD.write_text(json.dumps([*rows.values()], indent=1) + "\n")
    print(table([*rows.values()]))


if __name__ == "__main__":
    main()
