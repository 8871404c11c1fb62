"""Time of lean networks over that of the networks, on the CPU in one thread.

    python benchmarks/lean_runtime.py [--pairs 15] [--input 256x256] [NETWORK ...]

Each pair is the network and its lean form, one right after the other, in changing order; what is
printed is the median of the pairs' ratios with their quartiles. Pairs next to each other bear
other programs on the machine well; still, close them.
"""

from __future__ import annotations

import argparse

import torch

from srprof import models
from srprof.inputs import parse_size
from srprof.leaning.proof import time_ratios
from srprof.leaning.run import lean
from srprof.measuring.heap import keep_freed_memory

NETWORKS = ("e_rfdn", "imdn", "fmen_s", "rlfn", "neesr", "repafdn", "megsr", "rainbow")
#: What the project promises.
GOAL = 1.05


def main() -> None:
    """Time them and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS, metavar="NETWORK")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--input", default="256x256", metavar="HxW")
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    print(f"{'network':10} {'level':12} {'median':>7} {'q1':>7} {'q3':>7}  at most {GOAL}")
    for name in args.networks:
        for level in ("exact", "equivalent"):
            row = _row(name, level, parse_size(args.input), args.pairs)
            print(f"{name:10} {level:12} {row}", flush=True)


def _row(name: str, level: str, shape: tuple[int, ...], pairs: int) -> str:
    torch.manual_seed(0)
    network = getattr(models, name)().eval()
    made = lean(network, shape, level=level)
    with torch.no_grad():
        found = time_ratios(network, made, (torch.rand(shape),), {}, pairs=pairs)
    kept = "yes" if found.median <= GOAL else "NO"
    return f"{found.median:7.3f} {found.q1:7.3f} {found.q3:7.3f}  {kept}"


if __name__ == "__main__":
    main()
