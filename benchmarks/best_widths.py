"""The best width of three networks by prediction, and by measured convolutions summed.

    python benchmarks/best_widths.py ../shared/data/h200_ops.jsonl.gz --save
    python benchmarks/best_widths.py
    python benchmarks/best_widths.py ../shared/data/h200_ops.jsonl.gz --size 339x510

The file has single operations on an NVIDIA H200 (torch 2.11, cuDNN 9.19), convolutions of 26 widths
from 8 channels to 256 among them. With it the script sums, for each of these widths of a network,
what each of its dense convolutions took, microseconds a call back to back: the row of its very
channels, kernel, stride and pixels, else the nearest by these. `--save` keeps the sums in
`tests/golden/width_sums.json`. Without a file they are read from there; they are held against what
`srprof advise NET --profile h200 --widths` says of the whole network at the same widths. The
profile's table is of the same rows: what is tried is what is made of them, also for the widths that
have no row, and the rest of the network.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from math import log
from pathlib import Path
from typing import Any

import srprof
from srprof.advising.record import Width, Widths
from srprof.advising.widths import Trials
from srprof.calibration.table import read_lines
from srprof.call import call_of
from srprof.cost.classes import NodeCost, node_costs
from srprof.cost.profiles import load_profile
from srprof.tracing.run import run_trace
from srprof.workload import resolve

SUMS = Path(__file__).parents[1] / "tests" / "golden" / "width_sums.json"
PROFILE, SIZE = "h200", "510x510"
DTYPES = ("float16", "float32")
#: Networks, with the hyper-parameter that is their width.
NETWORKS = {"fmen_s": "n_feats", "e_rfdn": "nf", "imdn": "nf"}

#: By dtype, kernel and stride: microseconds of channels in, channels out and pixels of the result.
Rows = Mapping[tuple[str, int, int], Mapping[tuple[int, int, int], float]]
#: By network and dtype, and then by width: milliseconds.
Sums = Mapping[str, Mapping[str, float]]


def rows_of(lines: Iterable[Mapping[str, Any]]) -> Rows:
    """The dense convolutions of plain maps among what was measured, float32 as TF32."""
    rows: dict[tuple[str, int, int], dict[tuple[int, int, int], float]] = defaultdict(dict)
    for line in lines:
        dense = line["op"] == "conv2d" and line["groups"] == line["dilation"] == 1
        if dense and not line["channels_last"] and line["tf32"] and "us" in line:
            pixels = line["h"] * line["w"] // line["stride"] ** 2
            key = line["dtype"], line["k"], line["stride"]
            rows[key][line["cin"], line["cout"], pixels] = line["us"]
    return rows


def nearest(rows: Rows, cost: NodeCost) -> float:
    """Microseconds of the row that is nearest to a convolution: in pixels first, then channels."""
    group = rows[cost.dtype, round(cost.taps**0.5), cost.stride]
    wanted = (*cost.channels, cost.pixels)

    def distance(row: tuple[int, int, int]) -> float:
        channels = sum(abs(log(a / b)) for a, b in zip(row[:2], wanted[:2], strict=True))
        return channels + 10 * abs(log(row[2] / wanted[2]))

    return group[min(group, key=distance)]


def widths_of(rows: Rows) -> list[int]:
    """Those measured in 3x3 convolutions, but for an image's 3."""
    return sorted({i for i, o, _ in rows["float16", 3, 1] if i == o > 3})


def summed(rows: Rows, spec: str, dtype: str, size: str = SIZE) -> float:
    """Milliseconds of a network's convolutions."""
    costs = node_costs(srprof.trace(spec, size, dtype=dtype))
    return sum(nearest(rows, c) for c in costs if c.family in ("conv", "conv1x1")) / 1e3


def sums_of(rows: Rows, size: str = SIZE) -> dict[str, dict[str, float]]:
    """The sums of every network, dtype and width."""
    return {
        f"{name} {dtype}": {
            str(width): round(summed(rows, f"{name}({argument}={width})", dtype, size), 3)
            for width in widths_of(rows)
        }
        for name, argument in NETWORKS.items()
        for dtype in DTYPES
    }


def by_rows(found: Widths, sums: Mapping[str, float]) -> Widths:
    """The same widths with what their convolutions took in the place of what is predicted."""
    known = tuple(Width(int(width), latency_ms=ms) for width, ms in sums.items())
    return Widths(found.name, found.present, known)


@cache
def predicted(name: str, dtype: str, values: tuple[int, ...], size: str) -> Widths:
    """What `srprof advise` says of these widths, without its edits."""
    workload = resolve(call_of(name, (size,), None, dtype))
    trials = Trials(workload, run_trace(workload, holders=False), "auto", load_profile(PROFILE))
    (found,) = trials.tried((NETWORKS[name], values))
    return found


def pairs(sums: Sums, size: str = SIZE) -> Iterator[tuple[str, Widths, Widths]]:
    """Of each network and dtype, the widths as predicted and by the rows."""
    for key, measured in sums.items():
        name, dtype = key.split()
        found = predicted(name, dtype, tuple(map(int, measured)), size)
        yield key, found, by_rows(found, measured)


def lost(found: Widths, measured: Widths) -> float:
    """By how much the rows' sum of the predicted best exceeds that of their own best; a share."""
    at = {row.value: row.latency_ms for row in measured.rows}
    return at[found.best.value] / measured.best.latency_ms - 1


def from_each(found: Widths, measured: Widths) -> list[float]:
    """The same with each of the widths as the present one."""
    both = ([Widths(w.name, row.value, w.rows) for row in found.rows] for w in (found, measured))
    return [lost(*pair) for pair in zip(*both, strict=True)]


def saved() -> Sums:
    """The sums that are kept."""
    sums: Sums = json.loads(SUMS.read_text(encoding="utf-8"))["sums"]
    return sums


def tables(sums: Sums, size: str = SIZE) -> Iterator[str]:
    """What docs/advice.md has, by the sums that are kept."""
    lines = [
        "| network | now | predicted ms | best | its ms | sum of the rows, ms | best | its ms |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for key, *both in pairs(sums, size):
        cells = [key, str(both[0].present)]
        for widths in both:
            now, best = widths.now, widths.best
            cells += [f"{now.latency_ms:.2f}", str(best.value), f"{best.latency_ms:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    yield "\n".join(lines)
    for key, found, measured in pairs(sums, size):
        if key.startswith("fmen_s"):
            each = from_each(found, measured)
            same = f"the same best with {each.count(0)} of the {len(each)} widths as the present"
            yield f"{key}: {same}; by its rows the other is at most {max(each):.2%} slower."


def main() -> None:
    """Print the tables, or keep the sums of what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, nargs="?", help="h200_ops.jsonl.gz")
    parser.add_argument("--save", action="store_true", help=f"keep the sums of the file at {SIZE}")
    parser.add_argument("--size", default=SIZE, help="of the file's: 510x510, 339x510, 256x256")
    arguments = parser.parse_args()
    if arguments.file is None:
        print("\n\n".join(tables(saved())))
        return
    rows = rows_of(read_lines(arguments.file)[0])
    if not arguments.save:
        print("\n\n".join(tables(sums_of(rows, arguments.size), arguments.size)))
        return
    about = f"milliseconds of a network's convolutions at {SIZE} on an NVIDIA H200, by width"
    command = "python benchmarks/best_widths.py ../shared/data/h200_ops.jsonl.gz --save"
    kept = {"what": about, "command": command, "sums": sums_of(rows)}
    SUMS.write_text(f"{json.dumps(kept, indent=1)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
