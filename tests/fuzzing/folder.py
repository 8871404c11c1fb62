"""The files that commands find, whole and of every kind, and cases made of them."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from unittest import mock

from srprof.cli import main
from srprof.memory.workspace import WorkspaceTable
from tests.fuzzing.arguments import arguments
from tests.fuzzing.case import Case
from tests.fuzzing.networks import network
from tests.fuzzing.spoiling import spoilt

#: A network for the files that name one; it is run in some cases.
NETWORK = """\
from torch import nn


class Net(nn.Module):
    def __init__(self, nf=2):
        super().__init__()
        self.body = nn.Conv2d(3, nf, 3, padding=1)

    def forward(self, x):
        return self.body(x).relu()
"""

CSV = "name,params_M,flops_G,runtime_ms,memory_MiB,activations_M\na,1,2,3,4,5\nb,1,2,,4,5\n"

CHECKS = """\
growth = "1%"
[[check]]
model = "missing.py:Net"
input = "8x8"
name = "one"
eager = "1 MiB"
growth.eager = "5 MiB"
metrics = ["eager", "params"]
[[check]]
model = "missing.py:Other"
input = ["8x8", "8x8"]
dtype = "float16"
profile = "gtx1080ti"
latency = "30 ms"
"""
REPORT = """\
title = "T"
note = "N"
models = [{ name = "mine", spec = "missing.py:Net" }, "missing.py:Other"]
input = "8x8"
profiles = ["gtx1080ti"]
references = ["ntire2022"]
sections = ["ranking", "memory"]
"""
TRAINING = """\
model = "missing.py:Net"
data = ["images"]
output = "run"
iterations = 1
batch = 1
patch = 6
lr = 1e-3
betas = [0.9, 0.999]
eps = 1e-8
seed = 0
held_out = 16
crop = 48
"""
STUDY = """\
title = "S"
output = "study"
input = "8x8"
[training]
data = ["images"]
iterations = 1
patch = 6
held_out = 16
crop = 48
[[variants]]
name = "a"
model = "missing.py:Net"
training = { batch = 1 }
"""

#: A network that is small enough to be trained.
FMEN = "fmen(scale=2, n_feats=8, mid_feats=6, up_blocks=(1,))"
#: Files that name folders of images, of which a message may be.
_NAMING = frozenset({"training", "study"})
#: Files whose networks may be there: what is wrong in those is seen late, and takes no long run.
_RUNNING = frozenset({"checks", "pyproject", "report"})

#: By kind of file: what it is called, and the commands that read it.
READERS: Mapping[str, tuple[str, tuple[tuple[str, ...], ...]]] = {
    "analysis": ("a.json", (("diff", "a.json", "whole.json"), ("diff", "whole.json", "a.json"))),
    "measurement": ("m.json", (("validate", "--record", "m.json"),)),
    "baseline": (
        "srprof-baseline.json",
        (("check", "--config", "missing.toml"), ("check", "--config", "net.toml")),
    ),
    "rows": ("rows.json", (("rank", "--from", "rows.json"),)),
    "csv": (
        "rows.csv",
        (("rank", "--from", "rows.csv"), ("rank", "--from", "rows.csv", "--ranks")),
    ),
    "sizes": (
        "sizes.txt",
        (("analyze", "net.py:Net", "--protocol", "ntire", "--sizes", "sizes.txt"),),
    ),
    "workspace": (
        "w.json",
        (("analyze", "net.py:Net", "--input", "8x8", "--workspace", "w.json"),),
    ),
    "checks": ("srprof.toml", (("check",), ("check", "--update"))),
    "pyproject": ("pyproject.toml", (("check", "--config", "pyproject.toml"),)),
    "report": ("report.toml", (("report", "report.toml", "-o", "pages"),)),
    "training": ("train.toml", (("train", "train.toml"),)),
    "study": ("study.toml", (("ablate", "study.toml"),)),
    "profile": ("p.toml", (("devices", "p.toml"),)),
    "journal": (
        "s.csv.journal",
        (("sweep", "net.py:Net", "--inputs", "8x8", "--jobs", "1", "-o", "s.csv"),),
    ),
    "checkpoint": ("w.pth", (("merge", "w.pth", "-o", "merged.pth"), ("analyze", "w.pth"))),
    "safetensors": ("w.safetensors", (("merge", "w.safetensors", "-o", "merged.pth"),)),
    "source": ("n.py", (("check", "--init", "n.py", "--config", "new.toml"),)),
}


class Folder:
    """The current folder's whole files, made once, and cases made from them."""

    def __init__(self) -> None:
        pyproject = CHECKS.replace("[[check]]", "[[tool.srprof.check]]")
        pyproject = pyproject.replace("growth = ", "[tool.srprof]\ngrowth = ", 1)
        written = {
            "checks": CHECKS, "pyproject": pyproject, "report": REPORT, "training": TRAINING,
            "study": STUDY, "csv": CSV, "rows": _as_json(CSV), "sizes": "8x8\n9x9\n",
            "source": NETWORK, "profile": 'title = "mine"\nbase = "gtx1080ti"\nbandwidth = 100.0\n',
        }  # fmt: skip
        self.whole = {kind: text.encode() for kind, text in written.items()}
        net = '[[check]]\nmodel = "net.py:Net"\ninput = "8x8"\n'
        beside = {
            "net.py": NETWORK, "net.toml": net, "missing.toml": net.replace("net.py", "missing.py"),
            "r.toml": 'title = "T"\nmodels = ["net.py:Net"]\ninput = "8"\nsections = ["memory"]\n',
            "t.toml": TRAINING.replace("missing.py:Net", FMEN),
            "a.toml": STUDY.replace("missing.py:Net", FMEN),
        }  # fmt: skip
        for name, text in beside.items():
            Path(name).write_text(text)
        self._made()
        self.files = {READERS[kind][0]: content for kind, content in self.whole.items()}
        kept = (*beside, "whole.json", "fmen.pth", "net.pth", "0.png")
        self.files.update({name: Path(name).read_bytes() for name in kept})
        self.files.update({f"images/{n}.png": Path(f"{n}.png").read_bytes() for n in range(2)})

    def _made(self) -> None:
        """Files that srprof itself writes, and foreign ones of bytes."""
        import torch
        from PIL import Image

        from srprof.models import fmen

        size = ("net.py:Net", "--input", "8x8", "--format", "json", "-o")
        self.whole["analysis"] = _result("whole.json", "analyze", *size, "whole.json")
        self.whole["measurement"] = _result(
            "m.json", "measure", *size, "m.json", "--device", "cpu", "--repeat", "0"
        )
        _result("srprof-baseline.json", "check", "--update", "--config", "net.toml")
        self.whole["baseline"] = Path("srprof-baseline.json").read_bytes()
        table = WorkspaceTable("a GPU", "cuda", {"conv2d 1x3x8x8 float32": 512})
        self.whole["workspace"] = table.to_json().encode()
        Path("n.py").write_text(NETWORK)  # the journal knows the files beside the network's
        with mock.patch("srprof.sweeping.journal.Journal.remove"):
            self.whole["journal"] = _result("s.csv.journal", *READERS["journal"][1][0])
        state = {"body.weight": torch.zeros(2, 3, 3, 3)}
        torch.save(state, "w.pth")
        self.whole["checkpoint"] = Path("w.pth").read_bytes()
        torch.save({**state, "body.bias": torch.zeros(2)}, "net.pth")
        torch.save(fmen(scale=2, n_feats=8, form="train").state_dict(), "fmen.pth")
        header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
        self.whole["safetensors"] = len(header).to_bytes(8, "little") + header + b"\0" * 4
        for number in range(2):
            Image.effect_noise((48, 48), 40 + number).convert("RGB").save(f"{number}.png")

    def case(self, random: Random, kinds: Sequence[str] = ()) -> Case:
        """A case of one of the kinds; by default files most, then arguments, and few networks."""
        kind = random.choice(kinds or (*READERS, *READERS, *["arguments"] * 8))
        if kind == "network":
            argv, source = network(random)
            return Case(kind, argv, {**self.files, "odd.py": source.encode()})
        if kind == "arguments":
            return Case(kind, arguments(random), self.files)
        name, commands = READERS[kind]
        content = self.whole[kind]
        if kind in _RUNNING and random.random() < 0.5:
            content = content.replace(b"missing.py:Other", b"net.py:Net")
            content = content.replace(b"missing.py", b"net.py")
        files = {**self.files, name: spoilt(random, name, content)}
        return Case(kind, random.choice(commands), files, "" if kind in _NAMING else name)


def _as_json(table: str) -> str:
    names, *rows = (line.split(",") for line in table.split())
    return json.dumps([dict(zip(names, row, strict=True)) for row in rows])


def _result(file: str, *argv: str) -> bytes:
    """What a command writes into a file."""
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(argv) == 0, argv
    return Path(file).read_bytes()
