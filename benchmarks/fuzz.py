"""Hostile arguments, files and networks for `srprof.cli.main`, as many as one likes.

    python benchmarks/fuzz.py --cases 20000                  # files and arguments
    python benchmarks/fuzz.py --cases 500 --kinds network    # networks of misbehaving parts
    python benchmarks/fuzz.py --only 17 --seed 3             # one case again, with what it says

Every command must end with one of the exit codes 0, 1, 2, 3 and 130, raise nothing, say what is
wrong in one line for each thing, with no fault of srprof's own among them, and print what its
format promises. One that takes longer than `--limit` has failed: its stack is shown, and the run
ends. Case N of a seed and a choice of kinds is always the same. A line every ten seconds says how
far it is. Ends with 1 if a case failed. In-process, one thread.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import shlex
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fuzzing.case import Case
from tests.fuzzing.folder import READERS, Folder

#: Seconds between two lines that say how far it is.
_EVERY = 10.0


class _Progress:
    """What was tried until now, and a thread that says so.

    `stderr` is a stream of its own, which no network closes.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
        self.codes: Counter[int] = Counter()
        self.kinds: Counter[str] = Counter()
        self.failures = 0
        self.running, self.since = "", time.monotonic()
        self.began, self.slowest = self.since, (0.0, "")
        threading.Thread(target=self._say, daemon=True).start()

    def begin(self, case: str) -> None:
        self.running, self.since = case, time.monotonic()

    def end(self, kind: str, code: int, failed: bool) -> None:
        self.slowest = max(self.slowest, (time.monotonic() - self.since, self.running))
        self.codes[code] += 1
        self.kinds[kind] += 1
        self.failures += failed

    def _say(self) -> None:
        while True:
            time.sleep(_EVERY)
            seconds = time.monotonic() - self.since
            slow = f"; {seconds:.0f} s in {self.running}" if seconds > _EVERY else ""
            print(f"{self}{slow}", file=self.stderr)

    def __str__(self) -> str:
        seconds = time.monotonic() - self.began
        done = f"{self.codes.total()} cases of seed {self.seed} in {seconds:.0f} s"
        return f"{done}: {self.failures} failures"

    def summary(self) -> str:
        """How many cases ended how, and of which kinds they were."""
        ended = ", ".join(f"{code} {count} times" for code, count in sorted(self.codes.items()))
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        slowest = "{:.1f} s: {}".format(*self.slowest)
        return f"{self}; exit codes: {ended}\nkinds: {kinds}\nslowest: {slowest}"


def main() -> int:
    """Run the cases that are asked for; 1 if one failed."""
    args = _arguments()
    progress = _Progress(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        made = Folder()
        for number in range(args.cases) if args.only is None else [args.only]:
            case = made.case(Random(f"{args.seed}/{number}"), args.kinds)
            _try(case, number, args, progress)
            if args.seconds and time.monotonic() - progress.began > args.seconds:
                break
        os.chdir("/")
    print(progress.summary())
    return int(progress.failures > 0)


def _try(case: Case, number: int, args: argparse.Namespace, progress: _Progress) -> None:
    named = f"case {number}: {case.kind}: srprof {shlex.join(case.argv)}"
    # C code that does not end hears of no signal, and lets no other thread of Python's run
    faulthandler.dump_traceback_later(args.limit, exit=True, file=progress.stderr)
    progress.begin(named)
    outcome = case.run()
    progress.end(case.kind, outcome.code, bool(outcome.wrong))
    faulthandler.cancel_dump_traceback_later()
    if outcome.wrong or args.only is not None:
        text = "\n".join((named, outcome.wrong, outcome.said[-2000:]))
        print(text.encode("utf-8", "backslashreplace").decode(), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="stop after so many")
    parser.add_argument("--limit", type=float, default=120, help="seconds of one case")
    parser.add_argument("--only", type=int, metavar="N", help="run this case alone")
    parser.add_argument(
        "--kinds", nargs="+", default=(), choices=("arguments", "network", *READERS)
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
