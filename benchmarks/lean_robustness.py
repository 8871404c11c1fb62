"""`srprof.lean` on every network of spandrel: is it lean, is every bit the same, what does it save.

    python benchmarks/lean_robustness.py [--only NAME ...] [-o docs/lean.md]

Networks are those of `tests/spandrel_zoo.py`, with random weights, one thread each. Outputs are
compared at the size that the network was made lean for and at one 64 pixels higher; there a
network for fixed sizes says no itself. Peaks are eager ones by the analysis.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import srprof
from srprof.leaning.comparison import compare
from tests.spandrel_zoo import ENTRIES, Entry

MIB = 2**20
PAGE = Path(__file__).resolve().parents[1] / "docs" / "lean.md"


@dataclass(frozen=True)
class Result:
    """One network.

    Attributes:
        reason: why it is not lean; "" if it is.
        same: for each size that it takes whether every bit was the same.
        before, after: eager peaks in bytes. seconds: that `srprof.lean` took.
    """

    name: str
    size: str
    reason: str = ""
    same: tuple[bool, ...] = ()
    before: int = 0
    after: int = 0
    seconds: float = 0.0


def run(entry: Entry) -> Result:
    """Make a network lean, compare, and analyze both."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    network = entry.build().eval()
    size = " and ".join("x".join(map(str, shape)) for shape in entry.inputs)
    began = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = srprof.lean(network, *entry.inputs)
    seconds = time.perf_counter() - began
    said = [str(w.message) for w in caught if " cannot be lean: " in str(w.message)]
    if said:
        reason = said[0].partition(" cannot be lean: ")[2].partition("; srprof advise")[0]
        return Result(entry.name, size, reason, seconds=seconds)
    same = [_same(network, made, entry.inputs), _same(network, made, _higher(entry.inputs))]
    before, after = (srprof.analyze(m, *entry.inputs).memory.eager.nbytes for m in (network, made))
    known = tuple(found for found in same if found is not None)
    return Result(entry.name, size, "", known, before, after, seconds)


def _higher(shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    return [(*s[:2], s[2] + 64, s[3]) if len(s) == 4 else s for s in shapes]


def _same(network: Any, made: Any, shapes: Sequence[tuple[int, ...]]) -> bool | None:
    """Whether every bit is; None for a size that the network does not take."""
    torch.manual_seed(1)
    images = [torch.rand(shape) for shape in shapes]
    with torch.no_grad():
        try:
            expected = network(*[image.clone() for image in images])
        except Exception:
            return None
        return compare("random", None, expected, made(*images)).identical


def page(results: Sequence[Result], command: str) -> str:
    """The results as Markdown."""
    lean = [r for r in results if not r.reason]
    same = sum(all(r.same) for r in lean)
    lower = [1 - r.after / r.before for r in lean]
    rows = [
        f"| {r.name} | {r.size} | {r.before / MIB:.2f} | {r.after / MIB:.2f} "
        f"| {1 - r.after / r.before:.0%} | {' '.join('yes' if s else 'NO' for s in r.same)} "
        f"| {r.seconds:.0f} |"
        for r in lean
    ]
    refused = [f"- {r.name}: {r.reason}" for r in results if r.reason]
    return "\n".join(
        (
            "# Lean networks of spandrel",
            "",
            f"`{command}`, torch {torch.__version__}. {len(lean)} of {len(results)} networks can "
            f"be lean at level `exact`; {same} of them give the same bits. Peaks fall by "
            f"{min(lower, default=0):.0%} to {max(lower, default=0):.0%}, "
            f"{sum(lower) / (len(lower) or 1):.0%} on average. Networks are as in "
            "[robustness.md](robustness.md).",
            "",
            "| network | input | eager MiB | lean MiB | less | same bits, at this size and another "
            "| made in s |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
            "Left as they are:",
            "",
            *(refused or ["none."]),
            "",
        )
    )


def main() -> int:
    """Run the networks; 1 if one of them differs or takes more."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="networks")
    parser.add_argument("-o", "--output", default=str(PAGE))
    args = parser.parse_args()
    entries = [e for e in ENTRIES if not args.only or e.name in args.only]
    results = []
    jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for result in pool.map(run, entries):
            results.append(result)
            print(f"{len(results)} {result}", file=sys.stderr, flush=True)
    text = page(results, " ".join(["python benchmarks/lean_robustness.py", *sys.argv[1:]]))
    if args.output == "-":
        print(text)
    else:
        Path(args.output).write_text(text, encoding="utf-8")
    wrong = [r.name for r in results if not all(r.same) or r.after > r.before]
    print(f"differ or take more: {', '.join(wrong) or 'none'}", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
