"""The memory that the NTIRE 2026 challenge published, beside what is predicted for its networks.

    python benchmarks/ntire2026_peaks.py --repositories DIR

DIR has `ntire2026`, the tree of the challenge's repository, with its results.json; its code is run
to build the networks, without weights. Published is `max_memory_allocated` (RTX A6000, torch 1.13)
from the program's begin to the end of the validation images, the largest of 510x510. So what runs
while a network is built belongs to it: warm-up passes, in a constructor or in the challenge's own
`select_model`. Predicted is the most of that, and of the program's only image of 510x510: what it
requests, and what the allocator's simulation gives. A published figure should lie between the two:
what ran before moves it. Operators of packages that are not installed are srprof's rules'
(docs/operators.md).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from h200_peaks import alone, repositories

import srprof
from srprof.challenge.script import build
from srprof.paths import place
from srprof.words import MIB


def network(root: str, number: int) -> Any:
    """A network of the challenge, as its script builds it on a GPU."""
    return build(Path(root) / "ntire2026", number, device="cuda")


def predicted(root: Path, number: int) -> dict[str, Any]:
    """Bytes requested and allocated in the image, and while the network is built; and what ran."""
    spec = f"{Path(__file__).resolve()}:network({str(root)!r}, {number})"
    found = srprof.analyze(spec, (1, 3, 510, 510))
    allocator = found.record.memory.allocator
    passes = allocator.constructor.passes if allocator.constructor else ()
    return {
        "requested": found.cold.peak_requested,
        "allocated": found.cold.peak_allocated,
        "constructor": allocator.construction or 0,
        "ran": [
            f"{ran.alive} of {ran.calls} calls of {ran.kind} at {place(ran.file, ran.line)}, "
            f"{'with' if ran.autograd else 'without'} autograd: {ran.bytes / MIB:.2f} MiB"
            for ran in passes
        ],
    }


def main() -> None:
    """Print a row for each network, and how many are between the two."""
    root = repositories(__doc__, predicted)
    if root is None:
        return
    results = json.loads((root / "ntire2026" / "results.json").read_text())
    print(f"{'team':24}{'published':>11}{'requested':>11}{'allocated':>11}{'constructor':>13}")
    between = ran = 0
    for team, row in results.items():
        found = alone(__file__, root, int(team.partition("_")[0]))
        if found is None:
            continue
        value, built = row["valid_memory"] * MIB, found["constructor"]
        within = max(found["requested"], built) <= value <= max(found["allocated"], built)
        between, ran = between + within, ran + 1
        columns = value, found["requested"], found["allocated"]
        figures = "".join(f"{size / MIB:>11.2f}" for size in columns) + f"{built / MIB:>13.2f}"
        print(f"{team.strip():24}{figures}{'' if within else '  outside'}", flush=True)
        for line in found["ran"] if built > found["allocated"] else ():
            print(f"    {line}")
    print(f"between: {between} of {ran}")


if __name__ == "__main__":
    main()
