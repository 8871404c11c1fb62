"""How far estimates are exact: of the zoo and of spandrel's networks, beside fresh traces.

    python benchmarks/estimates.py                     all of them, each in a process of its own
    python benchmarks/estimates.py fmen_s SwinIR-light
    python benchmarks/estimates.py --table             the record as a table, nothing is run

Each network's estimate, that which srprof has of the zoo's networks and packs/spandrel.pack.json of
spandrel's (else, and with --build, a fresh one), is compared with traces at sizes that it has not
seen, drawn at random with batches of 1 and 2; a network whose traces take long has fewer than
`--sizes` of them, as many as `--seconds` of the processor allow, and the record says how many. Rows
go to benchmarks/records/estimates.json as they come. Times of the reader are the shortest
of some calls on this machine, as other programs run on it too; --times measures them alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "records" / "estimates.json"
PACK = ROOT / "packs" / "spandrel.pack.json"

KINDS = ("planned", "eager", "allocated", "reserved")
#: Sides of the fresh sizes, as often small as large.
_LEAST, _MOST = 48, 1200
#: How often a call of the reader is timed.
_CALLS = 25


def entries() -> dict[str, Any]:
    """Networks of spandrel by name, each whole."""
    from srprof.adapters.spandrel_networks import ENTRIES

    return {entry.published.name: entry.published for entry in ENTRIES}


def names() -> list[str]:
    """The zoo's networks and spandrel's."""
    from srprof import registry

    return [*(network.name for network in registry.networks()), *entries()]


def call_of(name: str) -> Any:
    """A network's call at some size."""
    from srprof.adapters.importing import import_spandrel
    from srprof.call import Call

    entry = entries().get(name)
    if entry is None:
        return Call(name, ("256x256",))
    import_spandrel()
    return Call(entry.spec, entry.inputs)


def made(name: str) -> Any:
    """The estimate that there is of a network; None if there is none."""
    from srprof.estimating.shipped import PATH
    from srprof.files import read_json

    return read_json(PATH).get(name) or read_json(PACK)["networks"].get(name)


def one(name: str, dtype: str | None, sizes: int, seconds: float, build: bool) -> dict[str, Any]:
    """The row of a network."""
    from dataclasses import replace

    import srprof_estimate
    from srprof.errors import SrprofError
    from srprof.estimating.run import Sampler, estimate
    from srprof.tiling.sizes import SizeRule

    call, row = replace(call_of(name), dtype=dtype), {"name": name}
    file = None if build or dtype else made(name)
    if file is None:
        start = time.process_time()
        try:
            file = json.loads(estimate(call).to_json())
        except SrprofError as error:
            return row | {"error": str(error)}
        row["built_s"] = round(time.process_time() - start, 1)
    dtypes = [d for d, place in file["dtypes"].items() if not isinstance(place, str)]
    row |= {key: file[key] for key in ("traces", "exact", "dtypes", "sides")}
    row["bytes"] = len(json.dumps(file, separators=(",", ":")))

    random, start = Random(name), time.process_time()
    sampler = Sampler.of(call)
    errors: dict[str, list[float]] = {kind: [] for kind in KINDS}
    least = max(_LEAST, file["sides"]["least"])
    rule = SizeRule(file["sides"]["least"], file["sides"]["step"])
    for count in range(sizes):
        if count >= 3 and time.process_time() - start > seconds:
            break
        h, w = (rule.at_least(round(least * (_MOST / least) ** random.random())) for _ in "hw")
        batch, dtype = random.choice((1, 1, 1, 2)), dtypes[count % len(dtypes)]
        try:
            sample = sampler.sample(dtype, batch, h, w)
        except SrprofError as error:
            row.setdefault("refused", []).append(f"{dtype} {batch}x{h}x{w}: {error}")
            continue
        for kind in KINDS:
            said = srprof_estimate.peak_bytes(file, h, w, batch, dtype, kind)
            errors[kind].append(said / sample.peaks[kind] - 1)
    row["sizes"] = len(errors["planned"])
    row["peaks"] = {
        kind: {"equal": e.count(0), "least": min(e), "most": max(e)} for kind, e in errors.items()
    }
    return row | times(file)


def times(file: dict[str, Any]) -> dict[str, float]:
    """Milliseconds of the reader: of a peak of the kind that takes longest, and of a tile."""
    import srprof_estimate
    from srprof.tiling.sizes import SizeRule

    dtype = next(d for d, place in file["dtypes"].items() if not isinstance(place, str))
    side = SizeRule(file["sides"]["least"], file["sides"]["step"]).at_least(512)

    def shortest(call: Callable[[], object]) -> float:
        taken = []
        for _ in range(_CALLS):
            before = time.perf_counter()
            call()
            taken.append(time.perf_counter() - before)
        return round(1e3 * min(taken), 3)

    def tile(budget: int) -> Callable[[], object]:
        return lambda: srprof_estimate.largest_tile(file, budget, 16, dtype=dtype)

    calls = [
        shortest(lambda kind=kind: srprof_estimate.peak_bytes(file, side, side, 1, dtype, kind))
        for kind in KINDS
    ]
    tiles = []
    for budget in (1, 4, 16):
        with suppress(ValueError):  # not even the smallest
            tiles.append(shortest(tile(budget * 2**30)))
    return {"call_ms": max(calls), "tile_ms": max(tiles, default=0.0)}


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
    parser.add_argument(
        "--seconds", type=float, default=60, help="of the processor, for one network's traces"
    )
    parser.add_argument("--timeout", type=float, default=900, help="for one network")
    parser.add_argument("--dtype", help="one only, instead of float32, float16 and bfloat16")
    parser.add_argument("--build", action="store_true", help="make the estimate anew")
    parser.add_argument("--times", action="store_true", help="of the record's rows, nothing else")
    parser.add_argument("--missing", action="store_true", help="only those not in the record")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.names[0], args.dtype, args.sizes, args.seconds, args.build)))
        return
    known = json.loads(RECORD.read_text()) if RECORD.exists() else []
    rows = {row["name"]: row for row in known}
    if args.times:
        for name, row in rows.items():
            rows[name] = row if "error" in row else row | times(made(name))
        RECORD.write_text(json.dumps([*rows.values()], indent=1) + "\n")
    for name in [] if args.table or args.times else args.names or names():
        if args.missing and name in rows:
            continue
        command = [sys.executable, __file__, name, "--one", f"--sizes={args.sizes}"]
        command += [f"--seconds={args.seconds}", *([f"--dtype={args.dtype}"] if args.dtype else [])]
        command += ["--build"] if args.build else []
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
