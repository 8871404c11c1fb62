"""How far lean's peak lies above what no order of the same calls is below, network by network.

    python benchmarks/lean_order.py [--spandrel] [--only NAME ...] [-o docs/lean_order.md]

The zoo at 256x256 and both levels, and with `--spandrel` its networks (`tests/spandrel_zoo.py`)
with the inputs that they have there, at level `exact`. Peaks are eager ones by the analysis.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import srprof
from srprof.leaning.levels import LEVELS
from srprof.leaning.run import bound_of
from srprof.registry import networks

MIB = 2**20
PAGE = Path(__file__).resolve().parents[1] / "docs" / "lean_order.md"
SIZE = 256

#: A gap that is small.
SMALL = 0.02


@dataclass(frozen=True)
class Row:
    """One network at one level: bytes at the peak and those that no order is below."""

    name: str
    level: str
    calls: int
    peak: int
    bound: int
    seconds: float

    @property
    def gap(self) -> float:
        """By what share of the bound the peak lies above it."""
        return self.peak / self.bound - 1


def row(name: str, level: str, model: Any, inputs: Sequence[tuple[int, ...]]) -> Row | None:
    """A network's; None if it cannot be lean."""
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lean = srprof.lean(model, *inputs, level=level)
        seconds = time.process_time() - began
        plan = next(iter(lean.plans), None)
        if plan is None:
            return None
        analysis = srprof.analyze(lean, *inputs)
    calls = sum(" = " in line for line in plan.lines)
    bound = bound_of(plan, analysis)
    assert bound is not None  # both levels put calls in the best order
    return Row(name, level, calls, analysis.memory.eager.nbytes, bound, seconds)


def of_the_zoo(only: Sequence[str]) -> Iterator[Row | None]:
    """Both levels of each network of the zoo, at x4 where it has several scales."""
    for network in networks():
        if not only or network.name in only:
            for level in LEVELS:
                channels = network.channels
                yield row(network.name, level, network.load()(), [(1, channels, SIZE, SIZE)])


def of_spandrel(only: Sequence[str]) -> Iterator[Row | None]:
    """Level `exact` of each network of spandrel."""
    from tests.spandrel_zoo import ENTRIES

    for entry in ENTRIES:
        if not only or entry.name in only:
            yield row(entry.name, "exact", entry.build().eval(), entry.inputs)


def section(title: str, rows: Sequence[Row]) -> list[str]:
    """A table, and how many are how far from their bounds."""
    best = sum(row.peak == row.bound for row in rows)
    small = sum(row.gap <= SMALL for row in rows)
    return [
        f"## {title}",
        "",
        f"Of {len(rows)} peaks {best} are proved to be the lowest, and {small} are within "
        f"{SMALL:.0%} of what no order is below.",
        "",
        "| network | level | calls | lean MiB | no order is below | gap | made in s of CPU |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {row.name} | {row.level} | {row.calls} | {row.peak / MIB:.2f} "
            f"| {row.bound / MIB:.2f} | {row.gap:.1%} | {row.seconds:.0f} |"
            for row in rows
        ),
        "",
    ]


def main() -> int:
    """Run the networks; 1 if a peak is below its bound, which would be none."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="networks")
    parser.add_argument("--spandrel", action="store_true", help="its networks too")
    parser.add_argument("-o", "--output", default=str(PAGE))
    args = parser.parse_args()
    torch.set_num_threads(1)
    parts = {f"The zoo at {SIZE}x{SIZE}": of_the_zoo(args.only)}
    if args.spandrel:
        parts["spandrel"] = of_spandrel(args.only)
    command = " ".join(["python benchmarks/lean_order.py", *sys.argv[1:]])
    text = [
        "# Lean's order and what no order is below",
        "",
        f"`{command}`, torch {torch.__version__}. Weights are counted in both. What the bound is, "
        "and how it is proved, is in [design.md](design.md#lean).",
        "",
    ]
    wrong = []
    for title, found in parts.items():
        rows = []
        for one in found:
            print(one, file=sys.stderr, flush=True)
            rows += [] if one is None else [one]
        wrong += [one.name for one in rows if one.peak < one.bound]
        text += section(title, rows) if rows else []
    if args.output == "-":
        print("\n".join(text))
    else:
        Path(args.output).write_text("\n".join(text), encoding="utf-8")
    print(f"below their bounds: {', '.join(wrong) or 'none'}", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
