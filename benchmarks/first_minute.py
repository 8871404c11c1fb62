"""The stop-watch: from a fresh clone to the first analysis of one's own file.

    python benchmarks/first_minute.py

Two commands, the first of them the README's: it makes an environment, installs, and analyzes a
network of the zoo. The second is of a file that is not the repository's. pip takes its wheels from
where it is told to (PIP_INDEX_URL, PIP_FIND_LINKS, its cache); the network's time is in the figure.
The goal is under 60 s with wheels at hand.
"""

from __future__ import annotations

import re
import resource
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: A network of one's own, elsewhere.
NET = """\
from torch import nn


class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 48, 3, padding=1)
        self.body = nn.Sequential(*(nn.Conv2d(48, 48, 3, padding=1) for _ in range(4)))
        self.tail = nn.Sequential(nn.Conv2d(48, 48, 3, padding=1), nn.PixelShuffle(4))

    def forward(self, x):
        x = self.head(x)
        return self.tail(self.body(x) + x)
"""
GOAL = 60.0


def install_command() -> str:
    """The README's first command, whose last part is a first analysis."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    match = re.search(r"<!-- ci: main command -->\n```sh\n(.*?)\n```", readme, re.DOTALL)
    assert match is not None
    return match[1]


def seconds(command: str, folder: Path) -> float:
    """How long a command of a shell takes; it must succeed."""
    start = time.perf_counter()
    done = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    taken = time.perf_counter() - start
    print(f"{taken:6.1f} s  {command}", flush=True)
    return taken


def main() -> None:
    """Clone, type the two commands, and print the seconds."""
    with tempfile.TemporaryDirectory() as temporary:
        clone, own = Path(temporary) / "srprof", Path(temporary) / "mine.py"
        own.write_text(NET, encoding="utf-8")
        command = ["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)]
        subprocess.run(command, check=True)
        analyze = f".venv/bin/srprof analyze {own}:Mine --input 256x256"
        total = sum(seconds(each, clone) for each in (install_command(), analyze))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = used.ru_utime + used.ru_stime
    print(f"{total:6.1f} s  from a fresh clone to one's own file; goal under {GOAL:g} s")
    print(f"{busy:6.1f} s  of a processor in that: what tells on a busy machine")


if __name__ == "__main__":
    main()
