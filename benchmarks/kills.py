"""Kill commands that write with SIGKILL at random moments, and look at what they leave.

    python benchmarks/kills.py                    # 200 kills, some minutes
    python benchmarks/kills.py --kills 60 --only report --only train

Each command runs in a fork of this process, in a copy of a folder in which it has run before, with
another network since. Half of the kills come at a random time of the run; as writing takes a small
part of that, the others come at a random one of its calls that touch files (an audit hook). Then:

- whole: each file is byte for byte as before, or it is whole and new, as the command's own reader,
  or Python's for the format, says. A file that was there still is.
- goes on: the same command, left alone, ends as if nothing had been.
- no litter: after that the folder has the files that it has without a kill, and no other.

Ends with 1 if anything was found. Needs Linux or macOS, `pip install srprof[apply,quality]`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from srprof.cli import COMMANDS
from srprof.cli import main as srprof
from srprof.files import parse_toml
from srprof.sweeping.worker import warm_up
from srprof.weights import read_state_dict

NET = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, nf=4):
        super().__init__()
        self.head = nn.Conv2d(3, nf, 3, padding=1)
        self.body = nn.Conv2d(nf, NF, 3, padding=1)
        self.tail = nn.Conv2d(NF, 3, 3, padding=1)

    def forward(self, x):
        early = self.head(x)
        y = self.body(early)
        y = torch.sigmoid(y)
        return self.tail(y)
"""
FMEN = "fmen(scale=2, n_feats=8, mid_feats=6, up_blocks=(1,))"
TRAINING = f"""\
model = "{FMEN}"
data = ["hr"]
output = "run"
crop = 48
held_out = 16
iterations = 8
batch = 1
patch = 6
log_every = 2
validate_every = 4
checkpoint_every = 2
"""
REPORT = 'title = "t"\nmodels = ["net.py:Net"]\ninput = "16x16"\nsections = ["peaks", "memory"]\n'
CHECKS = '[[check]]\nmodel = "net.py:Net"\ninput = "16x16"\n'
SIZE = ("--input", "16x16")
#: What a calibration says of a machine on which it cannot time anything: no matter here.
_BUSY = "too busy to calibrate"
#: What `init` says once its file is there, which it leaves alone.
_DONE = "is there already"
#: Audit events of calls that touch files.
TOUCHING = ("os.", "shutil.", "tempfile.", "fcntl.")


def _json(path: Path) -> object:
    return json.loads(path.read_text())


def _source(path: Path) -> object:
    return compile(path.read_text(), str(path), "exec")


def _toml(path: Path) -> object:
    return parse_toml(path.read_text())


def _lines(path: Path) -> object:
    """A log: each line but the last is whole; a run that goes on drops half a line."""
    return path.read_text()


def _ends(path: Path) -> object:
    assert path.read_bytes().rstrip().endswith((b">", b"}", b"\\bottomrule", b")", b"|")), path
    return None


#: How it is told that a file is whole, by its ending.
READERS: Mapping[str, Callable[[Path], object]] = {
    ".json": _json,
    ".toml": _toml,
    ".py": _source,
    ".pth": lambda path: read_state_dict(str(path)),
    ".csv": lambda path: path.read_text(),
    ".journal": _lines,
    ".html": _ends,
}


@dataclass(frozen=True)
class Case:
    """A command that writes.

    Attributes:
        again: it runs in the folder that it has made, with another network; else in a fresh one.
        partial: files that may be between two states, which the next run mends.
    """

    arguments: tuple[str, ...]
    again: bool = True
    partial: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)


CASES: Mapping[str, Case] = {
    "analyze": Case(("analyze", "net.py:Net", *SIZE, "-o", "out.json")),
    "diff": Case(("diff", "net.py:Net", "net.py:Net(nf=2)", *SIZE, "-o", "out.json")),
    "rank": Case(("rank", "net.py:Net", *SIZE, "-o", "out.csv")),
    "fit": Case(("fit", "net.py:Net", "--budget", "1MiB", "-o", "out.json")),
    "estimate": Case(("estimate", "net.py:Net", "--dtype", "float32", "-o", "out.json")),
    "lean": Case(("lean", "net.py:Net", *SIZE, "-o", "out.json")),
    "lean --emit": Case(("lean", "net.py:Net", *SIZE, "--emit", "lean.py")),
    "measure": Case(
        ("measure", "net.py:Net", *SIZE, "--device", "cpu", "--repeat", "1", "-o", "out.json")
    ),
    "advise": Case(("advise", "net.py:Net", *SIZE, "-o", "out.json")),
    "advise --apply": Case(("advise", "net.py:Net", *SIZE, "--apply"), again=False),
    "init": Case(("check", "--init", "net.py"), again=False),
    "update": Case(("check", "--config", "checks.toml", "--update"), files={"checks.toml": CHECKS}),
    "report": Case(("report", "report.toml"), files={"report.toml": REPORT}),
    "sweep": Case(
        ("sweep", "net.py:Net", "--inputs", "8..32:8", "--jobs", "1", "-o", "out.csv"),
        partial=("out.csv.journal",),
    ),
    "train": Case(
        ("train", "train.toml"), again=False, files={"train.toml": TRAINING}, partial=("log.csv",)
    ),
    "merge": Case(
        ("merge", "run/checkpoint.pth", "-o", "new.pth", "--model", f"{FMEN[:-1]}, form='train')"),
        again=False,
    ),
    "validate": Case(
        ("validate", "net.py:Net", *SIZE, "--device", "cpu", "--save", "records"), again=False
    ),
    "evaluate": Case(("evaluate", "bicubic(scale=2)", "--hr", "hr", "--save", "sr")),
    "calibrate": Case(("calibrate", "--device", "cpu", "--quick", "-o", "cpu.toml"), again=False),
}


def forked(arguments: tuple[str, ...], folder: Path, touches: int | None = None) -> int:
    """Run a command in a folder, in a process of its own; gives that.

    With `touches` it kills itself at so many calls that touch files. What it says, and how many
    such calls it made, is beside the folder.
    """
    child = os.fork()
    if child:
        return child
    code = 70
    with suppress(BaseException):
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open("../said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        torch.set_num_threads(1)
        touched = _touched(touches)
        code = srprof(list(arguments))
        Path("../touches").write_text(str(touched[0]))
    os._exit(code)


def _touched(kill_at: int | None) -> list[int]:
    """Count calls that touch files, and end the process at one of them."""
    touched = [0]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event.startswith(TOUCHING) or (event == "open" and _writes(arguments[-1])):
            touched[0] += 1
            if touched[0] - 1 == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return touched


def _writes(flags: object) -> bool:
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its path in it, but for what Python makes of sources."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and "__pycache__" not in p.parts)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def litter(folder: Path) -> set[str]:
    """Temporary files and folders of srprof's."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob(".srprof-*")}


def wrong(case: Case, folder: Path, before: Mapping[str, bytes]) -> list[str]:
    """What a killed command has lost, or left half-written."""
    found = []
    there = content(folder)
    found += [f"lost {name}" for name in before if name not in there]
    for name, data in there.items():
        if data == before.get(name) or ".srprof-" in name or Path(name).name in case.partial:
            continue
        try:
            READERS.get(Path(name).suffix, lambda path: path.read_bytes())(folder / name)
        except Exception as error:
            found.append(f"half-written {name}: {type(error).__name__}: {error}")
        if not data:
            found.append(f"empty {name}")
    return found


@dataclass
class Prepared:
    """A case with the folder from which it runs, and what it does when nobody kills it."""

    case: Case
    folder: Path
    seconds: float
    touches: int
    files: frozenset[str]
    code: int


def prepare(name: str, root: Path) -> Prepared:
    """Run a case once, and once more to time it."""
    case, folder = CASES[name], root / name.replace(" ", "_") / "before"
    folder.mkdir(parents=True)
    (folder / "net.py").write_text(NET.replace("NF", "4"))
    for file, text in case.files.items():
        (folder / file).write_text(text)
    _images(folder / "hr")
    if name == "merge":
        (folder / "train.toml").write_text(TRAINING)
        _run(("train", "train.toml"), folder)
        (folder / "run" / "merged.pth").unlink()
    if case.again:
        _run(case.arguments, folder)
        (folder / "net.py").write_text(NET.replace("NF", "6"))
    plain = folder.with_name("plain")
    shutil.copytree(folder, plain)
    began = time.monotonic()
    code = _run(case.arguments, plain)
    seconds = time.monotonic() - began
    touches = int(folder.with_name("touches").read_text())
    return Prepared(case, folder, seconds, touches, frozenset(content(plain)), code)


def _images(folder: Path) -> None:
    from PIL import Image

    folder.mkdir()
    for number in range(2):
        Image.effect_noise((64, 64), 40 + number).convert("RGB").save(folder / f"{number}.png")


def _run(arguments: tuple[str, ...], folder: Path) -> int:
    _, status = os.waitpid(forked(arguments, folder), 0)
    code = os.waitstatus_to_exitcode(status)
    said = (folder.parent / "said.txt").read_text()
    if code not in (0, 1) and _BUSY not in said:
        raise SystemExit(f"{' '.join(arguments)} ends with {code}: {said}")
    return code


def kill(
    prepared: Prepared, *, touches: int | None = None, seconds: float = 0
) -> tuple[bool, list[str]]:
    """Kill a command once, at so many calls that touch files or else after so many seconds.

    Gives whether it was still running, and what is wrong.
    """
    case = prepared.case
    folder = prepared.folder.with_name("killed")
    shutil.copytree(prepared.folder, folder)
    before = content(folder)
    child = forked(case.arguments, folder, touches)
    if touches is None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    found = wrong(case, folder, before)
    with suppress(SystemExit):
        code = None
        code = _run(case.arguments, folder)
    said = (folder.parent / "said.txt").read_text()
    if _BUSY in said or (_DONE in said and not found):
        shutil.rmtree(folder)
        return os.WIFSIGNALED(status), found
    if code != prepared.code:
        found.append(f"the same command then ends with {code}, not {prepared.code}: {said}")
    found += [f"litter: {name}" for name in litter(folder)]
    found += [f"too many: {n}" for n in content(folder).keys() - prepared.files - litter(folder)]
    found += [f"not there: {name}" for name in prepared.files - content(folder).keys()]
    shutil.rmtree(folder)
    return os.WIFSIGNALED(status), found


def load() -> None:
    """Load what commands load, so that a fork has it and its time is its work."""
    warm_up()
    for name in COMMANDS:
        importlib.import_module(f"srprof.cli.{name}")
    for name in ("gate.run", "report.build", "report.figures", "training.run", "quality.run"):
        importlib.import_module(f"srprof.{name}")


def run(kills: int, names: list[str], seed: int) -> int:
    """Kill, and print a table; gives how many kills did harm."""
    chance = random.Random(seed)
    killed: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    harmed: Counter[str] = Counter()
    load()
    with tempfile.TemporaryDirectory() as place:
        prepared = {}
        for name in names:
            prepared[name] = prepare(name, Path(place))
            one = prepared[name]
            print(f"{name}: {one.seconds:.2f} s, {one.touches} calls that touch files", flush=True)
        while killed.total() < kills and not _stopped:
            name = min(names, key=tried.__getitem__)
            one = prepared[name]
            if tried[name] % 2:
                hit, found = kill(one, seconds=chance.uniform(0, one.seconds))
            else:
                hit, found = kill(one, touches=chance.randrange(max(one.touches, 1)))
            tried[name] += 1
            killed[name] += hit
            harmed[name] += bool(found)
            for line in found:
                print(f"{name}: {line}", flush=True)
    print(f"\n{'command':16} kills  held")
    for name in names:
        print(f"{name:16} {killed[name]:5} {tried[name] - harmed[name]:5} of {tried[name]}")
    print(f"{'all':16} {killed.total():5} {tried.total() - harmed.total():5} of {tried.total()}")
    return harmed.total()


#: Whether Ctrl-C has asked for the table of what was done until now.
_stopped: list[object] = []


def main() -> int:
    """Read the options."""
    signal.signal(signal.SIGINT, lambda *_: _stopped.append(None))
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--only", action="append", choices=CASES, help="again for more")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    return int(run(args.kills, args.only or list(CASES), args.seed) > 0)


if __name__ == "__main__":
    sys.exit(main())
