"""Hostile arguments, files and networks for `srprof.cli.main`, as many as one likes.

    python benchmarks/fuzz.py --cases 20000                  # files and arguments
    python benchmarks/fuzz.py --cases 500 --kinds network    # networks of misbehaving parts
    python benchmarks/fuzz.py --only 17 --seed 3             # one case again, with what it says

Every command must end with one of the exit codes 0, 1, 2, 3 and 130, raise nothing, and say what is
wrong in one line for each thing, with no fault of srprof's own among them. Case N of a seed is
always the same. Ends with 1 if a case failed. In-process, one thread.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fuzzing import READERS, Folder


def main() -> int:
    """Run the cases that are asked for; 1 if one failed."""
    args = _arguments()
    start, failures, codes = time.monotonic(), 0, Counter[int]()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        made = Folder()
        for number in range(args.cases) if args.only is None else [args.only]:
            case = made.case(Random(f"{args.seed}/{number}"), args.kinds)
            outcome = case.run()
            codes[outcome.code] += 1
            failures += bool(outcome.wrong)
            if outcome.wrong or args.only is not None:
                print(f"case {number}: {case.kind}: srprof {shlex.join(case.argv)}")
                print(outcome.wrong, outcome.said[-2000:], sep="\n", flush=True)
            if args.seconds and time.monotonic() - start > args.seconds:
                break
        os.chdir("/")
    ended = ", ".join(f"{code} {count} times" for code, count in sorted(codes.items()))
    done = f"{codes.total()} cases of seed {args.seed} in {time.monotonic() - start:.0f} s"
    print(f"{done}: {failures} failures; exit codes: {ended}")
    return int(failures > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="stop after so many")
    parser.add_argument("--only", type=int, metavar="N", help="run this case alone")
    parser.add_argument(
        "--kinds", nargs="+", default=(), choices=("arguments", "network", *READERS)
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
