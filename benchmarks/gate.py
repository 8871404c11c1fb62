"""How long the gate takes, and how large its baseline is: `python benchmarks/gate.py`.

Each time is of a whole process, `import torch` included: the median of several, after one that is
not counted.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIVE = ("fmen", "fmen_s", "e_rfdn", "imdn", "rlfn")
RUNS = 5


def seconds(folder: Path) -> list[float]:
    """Wall seconds of `srprof check` there."""
    command = [sys.executable, "-m", "srprof", "check"]
    found = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        found.append(time.perf_counter() - start)
    return found[1:]


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checks = "".join(f'[[check]]\nmodel = "{m}"\ninput = "256x256"\n' for m in FIVE)
        (folder / "srprof.toml").write_text(checks)
        update = [sys.executable, "-m", "srprof", "check", "--update"]
        subprocess.run(update, cwd=folder, check=True, capture_output=True)
        five = seconds(folder)
    zoo = seconds(ROOT)
    size = (ROOT / "srprof-baseline.json").stat().st_size
    for what, samples in ((f"{len(FIVE)} networks", five), ("the zoo", zoo)):
        print(
            f"{what}: median {statistics.median(samples):.2f} s of {RUNS} "
            f"({min(samples):.2f} to {max(samples):.2f})"
        )
    print(f"the zoo's baseline: {size:,} bytes")


if __name__ == "__main__":
    main()
