"""Hostile input for `srprof.cli.main`: arguments, files, and networks of misbehaving parts.

A `Folder` has whole files of each kind, small enough that a command on one takes milliseconds; a
case is one command on a copy of one of them that has been spoilt. `tests/integration/bad_input/
test_fuzz.py` runs some of each kind, and `benchmarks/fuzz.py` as many as one likes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import shutil
import string
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from srprof.cli import COMMANDS, build_parser, main

#: Exit codes that a command may have.
CODES = frozenset({0, 1, 2, 3, 130})

#: Values in place of what a file has.
HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 7, 1.5, -0.0, 1e308, 5e-324, 2**31, 2**63, 2**64, -(2**63),
    10**30, 10**31, 10**400, -(10**400), math.nan, math.inf, -math.inf, "", " ", "\0", "a\0b", "x",
    "1", "-1", "NaN", "1e999", "\x1b[2J", "\u202e", "\ud800", "\ufeff", "é", "😀", "a" * 5000, "..",
    "/", "/dev/null", "net.py", "net.py:Net", "fmen_s", "8x8", "0x0", "1x3x8x8",
    "99999999x99999999", "1 MiB", "1%", "float16", "gtx1080ti", "=cmd", "$x$", "%s", "{}", "{0}",
    "::error::x", "\r\n", [], {}, [[]], [{}], [None], [0], ["x"], [1, 2, 3], {"": 0}, {"x": {}},
    {"a\x1b": None}, {"0": []},
)  # fmt: skip

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

#: Statements that networks are assembled from, of the constructor and of `forward`.
CONSTRUCTED = (
    "pass", "self.body = 3", "self.body = None", "del self._modules", "self._parameters = None",
    "self.training = 'yes'", "self.add_module('a\\x1b[2J', nn.ReLU())", "self.me = [self]",
    "self.add_module('$x$', nn.ReLU())", "self.lambda_ = lambda: 3", "raise SystemExit(0)",
    "raise ValueError('\\x1b[31m')", "raise BaseException", "raise Odd", "self.train = None",
    "self.eval = 3", "self.to = print", "self.parameters = lambda: [1]", "self._buffers = {1: 2}",
    "self.register_buffer('n', torch.tensor(float('nan')))",
    "self.weight = nn.Parameter(torch.ones(3))", "self.state_dict = None",
    "self.named_modules = lambda: 1 / 0", "self.__dict__['forward'] = 3",
    "torch.set_default_dtype(torch.float64)", "torch.manual_seed('x')",
    "sys.setrecursionlimit(10000)", "import os; os._exit(0)", "sys.stdout.close()",
    "sys.stdout = sys.stderr = None", "print('x' * 9)",
    "self.register_forward_hook(lambda *_: 1 / 0)", "self.half()", "self.double()",
    "self.requires_grad_(False)",
)  # fmt: skip
RUN = (
    "pass", "x = x.relu()", "x = x + 1", "x = self.body(x)", "x = x[..., :0]", "x = x[:, :, ::2]",
    "x = x.reshape(-1)", "x = x.to(torch.float64)", "x = x.tolist()", "x = None", "x = [x, [x]]",
    "x = {'a': x, 1: x}", "x = {1, 2}", "x = self", "x = lambda: x", "x = iter([x])",
    "x = x.item()", "x = x.sum().item()", "x = torch.zeros(2 ** 40)", "x = torch.zeros(-1)",
    "x = x.cuda()", "x = x.numpy()", "x = float('nan')", "x = 10 ** 400", "raise SystemExit(0)",
    "raise GeneratorExit", "raise Odd", "raise StopIteration", "raise MemoryError",
    "raise RecursionError", "raise OSError(28, 'No space')", "raise KeyError('\\0\\x1b\\u202e')",
    "return self.forward(x)", "return self(x)", "yield x", "1 / 0", "x.resize_(0)",
    "x.data = x.data[:1]", "x.fill_(float('nan'))", "del x", "x = x.to_sparse()",
    "x = torch.compile(lambda y: y)", "x = nn.Parameter(x)", "x = x.requires_grad_()",
    "x.backward()", "self.body = nn.ReLU()", "self.add_module('new', nn.ReLU())", "self.cache = x",
    "x = x.numel()", "x = torch.nonzero(x)", "x = x.nonexistent", "torch.cuda.synchronize()",
    "import os; os.close(2); os.open(os.devnull, 1)", "warnings.warn('\\x1b')",
    "threading.Thread(target=print).start()", "sys.exit('\\x1b[2J')", "assert 0, x",
)  # fmt: skip
HEAD = """\
import sys, threading, warnings
import torch
from torch import nn


class Odd(BaseException):
    def __str__(self):
        raise self


class Net(nn.Module):
    def __init__(self, nf=2):
        super().__init__()
        self.body = nn.Conv2d(3, 3, 3, padding=1)
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
patch = 8
lr = 1e-3
betas = [0.9, 0.999]
eps = 1e-8
seed = 0
held_out = 1
"""
STUDY = """\
title = "S"
output = "study"
input = "8x8"
[training]
data = ["images"]
iterations = 1
[[variants]]
name = "a"
model = "missing.py:Net"
training = { batch = 1 }
"""


@dataclass(frozen=True)
class Case:
    """A command, and the files that it finds in the current folder."""

    kind: str
    argv: tuple[str, ...]
    files: Mapping[str, bytes]

    def run(self) -> Outcome:
        """Run the command in the current folder, in which nothing but the files is left."""
        for entry in os.scandir():
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry)
            elif entry.name not in self.files:
                os.unlink(entry)
        for name, content in self.files.items():
            Path(name).write_bytes(content)
        out, err, code, wrong = io.StringIO(), io.StringIO(), -1, ""
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(list(self.argv))
            except BaseException:
                wrong = traceback.format_exc()
        said = err.getvalue()
        if not wrong and code not in CODES:
            wrong = f"exit code {code}"
        if not wrong and "fault of srprof itself" in said:
            wrong = "a fault of srprof itself"
        name = READERS[self.kind][0] if self.kind in READERS.keys() - _NAMING else ""
        if not wrong and code == 2 and name and (name not in said or said.count("\n") != 1):
            wrong = "not one line that names the file"
        # a network may print what it likes
        if (
            not wrong
            and self.kind != "network"
            and not said.replace("\n", "").isprintable()
            and said
        ):
            wrong = "control characters"
        return Outcome(code, said, wrong)


#: Files that name folders of images, of which a message may be.
_NAMING = frozenset({"training", "study"})


@dataclass(frozen=True)
class Outcome:
    """How a case ended: its exit code, what it said on stderr, what is wrong with that, or ""."""

    code: int
    said: str
    wrong: str


#: By kind of file: what it is called, and the commands that read it.
READERS: Mapping[str, tuple[str, tuple[tuple[str, ...], ...]]] = {
    "analysis": ("a.json", (("diff", "a.json", "whole.json"), ("diff", "whole.json", "a.json"))),
    "measurement": ("m.json", (("validate", "--record", "m.json"),)),
    "baseline": ("srprof-baseline.json", (("check", "--config", "missing.toml"),)),
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
        (("sweep", "net.py:Net", "--input", "8x8", "--jobs", "1", "-o", "s.csv"),),
    ),
    "checkpoint": ("w.pth", (("merge", "w.pth", "-o", "merged.pth"), ("analyze", "w.pth"))),
    "safetensors": ("w.safetensors", (("merge", "w.safetensors", "-o", "merged.pth"),)),
    "source": ("n.py", (("check", "--init", "n.py", "--config", "new.toml"),)),
}


class Folder:
    """The current folder's whole files, made once, and cases made from them."""

    def __init__(self) -> None:
        Path("net.py").write_text(NETWORK)
        whole: dict[str, bytes] = {
            "checks": CHECKS.encode(),
            "pyproject": CHECKS.replace("[[check]]", "[[tool.srprof.check]]")
            .replace("growth = ", "[tool.srprof]\ngrowth = ", 1)
            .encode(),
            "report": REPORT.encode(),
            "training": TRAINING.encode(),
            "study": STUDY.encode(),
            "csv": CSV.encode(),
            "sizes": b"8x8\n9x9\n",
            "source": NETWORK.encode(),
        }
        names, *rows = (line.split(",") for line in CSV.split())
        whole["rows"] = json.dumps([dict(zip(names, row, strict=True)) for row in rows]).encode()
        self._made(whole)
        self.whole = whole
        self._files = {READERS[kind][0]: content for kind, content in whole.items()}
        kept = ("net.py", "whole.json", "missing.toml")
        self._files.update({name: Path(name).read_bytes() for name in kept})

    def _made(self, whole: dict[str, bytes]) -> None:
        """Files that srprof itself writes."""
        import torch

        for kind, argv in {
            "analysis": ("analyze", "net.py:Net", "--input", "8x8"),
            "measurement": (
                "measure", "net.py:Net", "--input", "8x8", "--device", "cpu", "--repeat", "0",
            ),
        }.items():  # fmt: skip
            assert main([*argv, "--format", "json", "-o", "made.json"]) == 0
            whole[kind] = Path("made.json").read_bytes()
        Path("whole.json").write_bytes(whole["analysis"])
        toml = '[[check]]\nmodel = "net.py:Net"\ninput = "8x8"\n'
        Path("srprof.toml").write_text(toml)
        assert main(["check", "--update", "-o", os.devnull]) == 0
        whole["baseline"] = Path("srprof-baseline.json").read_bytes()
        Path("missing.toml").write_text(toml.replace("net.py", "missing.py"))
        assert (
            main(["validate", "--record", "made.json", "--save", "saved", "-o", os.devnull])
            in CODES
        )
        tables = sorted(Path("saved").glob("*workspace*")) if Path("saved").is_dir() else []
        whole["workspace"] = (
            tables[0].read_bytes()
            if tables
            else b'{"schema": 1, "kind": "srprof workspace", "device": "x", "rows": []}'
        )
        Path("n.py").write_text(NETWORK)  # the journal knows the files beside the network's
        with mock.patch("srprof.sweeping.journal.Journal.remove"):
            assert main([*READERS["journal"][1][0]]) == 0
        whole["journal"] = Path("s.csv.journal").read_bytes()
        torch.save({"body.weight": torch.zeros(2, 3, 3, 3)}, "w.pth")
        whole["checkpoint"] = Path("w.pth").read_bytes()
        header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
        whole["safetensors"] = len(header).to_bytes(8, "little") + header + b"\0" * 4
        whole["profile"] = b'title = "mine"\nbase = "gtx1080ti"\nbandwidth = 100.0\n'

    def case(self, random: Random, kinds: Sequence[str] = ()) -> Case:
        """A case of one of the kinds; by default files most, then arguments, and few networks."""
        kind = random.choice(kinds or (*READERS, *READERS, *["arguments"] * 8))
        if kind == "network":
            return Case(kind, *self._network(random))
        if kind == "arguments":
            return Case(kind, arguments(random), self._files)
        name, commands = READERS[kind]
        content = spoilt(random, name, self.whole[kind])
        return Case(kind, random.choice(commands), {**self._files, name: content})

    def _network(self, random: Random) -> tuple[tuple[str, ...], Mapping[str, bytes]]:
        argv, source = network(random)
        return argv, {**self._files, "odd.py": source.encode()}


# -- files ----------------------------------------------------------------------------------------


def spoilt(random: Random, name: str, content: bytes) -> bytes:
    """A file's content with one or a few faults: of what it says, or of its bytes."""
    structured = {".json": _json, ".toml": _toml}.get(Path(name).suffix)
    if structured is not None and random.random() < 0.75:
        return structured(random, content)
    if name.endswith((".csv", ".txt")) and random.random() < 0.75:
        return _cells(random, content)
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        content = random.choice(_BYTES)(random, content)
    return content


def _cut(random: Random, content: bytes) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _flipped(random: Random, content: bytes) -> bytes:
    at = random.randrange(len(content) + 1)
    return content[:at] + bytes([random.randrange(256)]) + content[at + 1 :]


def _inserted(random: Random, content: bytes) -> bytes:
    at = random.randrange(len(content) + 1)
    return content[:at] + random.choice(_PIECES) + content[at:]


def _doubled(random: Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    at = random.randrange(len(lines))
    return b"".join([*lines[: at + 1], *lines[at:]])


def _without(random: Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    del lines[random.randrange(len(lines))]
    return b"".join(lines)


def _replaced(random: Random, content: bytes) -> bytes:
    return random.choice(_PIECES)


_BYTES: tuple[Callable[[Random, bytes], bytes], ...] = (
    _cut, _flipped, _inserted, _doubled, _without, _replaced,
)  # fmt: skip
_PIECES = (
    b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n", b'"', b"'", b"[", b"{", b"," * 50,
    b"[" * 5000, b'{"a":' * 3000, b"9" * 5000, b"1e999", b"NaN", b"-Infinity", b"null", b"true",
    b"0x1F", b"1979-05-27", b"\x1b[2J", "\u202e\u2028".encode(), b"=", b"]]", b"[[check]]\n",
    b"a.b.c = 1\n", b'"""', b"#", b"\\", b"\\ud800", b"import os\n",
    b"class Net(nn.Module): pass\n", b"def f(", b"PK\x03\x04", b"\x80\x02}q\x00.",
)  # fmt: skip


def _json(random: Random, content: bytes) -> bytes:
    value = json.loads(content)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        value = _changed(random, value)
    return json.dumps(value).encode()


def _toml(random: Random, content: bytes) -> bytes:
    """The file with the values of some keys replaced, line by line."""
    lines = content.decode().splitlines()
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(lines))
        key, equals, _ = lines[at].partition(" = ")
        if not equals:
            lines[at] = random.choice((lines[at][:-1], f"{lines[at]}x", "", "[x]", "[[x]]"))
            continue
        name = key if random.random() < 0.8 else random.choice(_KEYS)
        lines[at] = f"{name} = {_toml_value(random.choice(HOSTILE))}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


_KEYS = ("x", '"a b"', '"\\u001b"', "a.b", "growth.x", "eager.x", "model.x", "schema", '""', "é")


def _toml_value(value: Any) -> str:
    if value is None:
        return "1979-05-27T07:32:00Z"
    if isinstance(value, float) and not math.isfinite(value):
        return {"inf": "inf", "-inf": "-inf"}.get(str(value), "nan")
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)} = {_toml_value(item)}" for key, item in value.items())
        return f"{{ {', '.join(pairs)} }}"
    return json.dumps(value)


def _changed(random: Random, value: Any) -> Any:
    """The value with something at a random place in it changed."""
    if not isinstance(value, (dict, list)) or not value or random.random() < 0.08:
        return random.choice(HOSTILE)
    if isinstance(value, list):
        at = random.randrange(len(value))
        what = random.random()
        if what < 0.1:
            return [*value[:at], *value[at + 1 :]]
        if what < 0.2:
            return [*value, value[at]]
        return [*value[:at], _changed(random, value[at]), *value[at + 1 :]]
    key, what = random.choice(list(value)), random.random()
    if what < 0.1:
        return {k: v for k, v in value.items() if k != key}
    if what < 0.2:
        return {**value, random.choice(("x", "", "\x1b", "schema", "kind", key.upper())): 1}
    return {**value, key: _changed(random, value[key])}


def _cells(random: Random, content: bytes) -> bytes:
    rows = [line.split(",") for line in content.decode().splitlines()]
    for _ in range(random.choice((1, 1, 2, 4))):
        row = random.choice(rows)
        at = random.randrange(len(row) + 1)
        row[at : at + random.randrange(3)] = [str(random.choice(_CELLS))]
        if not row:
            row.append("")
    return "\n".join(map(",".join, rows)).encode("utf-8", "surrogatepass")


_CELLS = (
    *(v for v in HOSTILE if isinstance(v, (str, float, bool))), "9" * 400, "9" * 5000, '"',
    '"a\nb"',
)  # fmt: skip


# -- arguments and networks ------------------------------------------------------------------------

#: Values of options and positional arguments beside the hostile ones that are text.
WORDS = (
    *(value for value in HOSTILE if isinstance(value, str) and "\ud800" not in value),
    "net.py:Net(nf=2)", "net.py:Net(nf=10**9)", "net.py:Net(nf=-1)", "net.py:Net(nf='x')",
    "net.py:Net(", "net.py:Net(**{})", "net.py:Net(nf=" + "(" * 200, "net.py:" + "N" * 300,
    "missing.py:Net", "a.b.c:d", ":", "::", "os:system('true')", "HEAD:net.py:Net",
    "HEAD~9:x.py:Net", "whole.json", "srprof.toml", "missing.toml", ".",
    "net.py:Net(nf=[" + "1," * 99 + "])", "--", "-", "-x", "--format", "x" * 300 + ".json",
    "a/b/c.csv", "a\nb", "8x8:int64", "x=8x8", "8", "8x", "x8", "-1x3", "1x1x1x1x1x1", "1e3x1",
    "٣x٣", "8x8,9x9", "8..9", "8..9:0", "9..8", "nf=1,2", "nf=1..3", "nf=", "=", "nf", "4GiB",
    "-4GiB", "nanGiB", "0", "1e400", "main", "ntire2022", "eager", "W:H", "16:9", "0:1",
    "max_split_size_mb:1", "max_split_size_mb:x", "json", "csv", "junit", "cuda:99", "cuda:x",
    "meta", "tcp://", "params:max", "tensor-cores", "none", "out.svg", "out.txt", "/proc/self/mem",
    "/nonexistent/x", "\x7f",
)  # fmt: skip
#: Commands that would run for minutes where their arguments are good by chance.
_LONG = frozenset({"calibrate", "train", "ablate"})


def arguments(random: Random) -> tuple[str, ...]:
    """A command line of a command's own options with any values, or of anything."""
    if random.random() < 0.1:
        return tuple(random.choice((*WORDS, *COMMANDS)) for _ in range(random.randrange(4)))
    command = random.choice([name for name in COMMANDS if name not in _LONG])
    argv = [command]
    actions = [
        action for action in _actions(command) if not isinstance(action, argparse._HelpAction)
    ]
    for action in random.sample(actions, min(len(actions), random.randrange(6))):
        argv += [random.choice(action.option_strings)] if action.option_strings else []
        if action.nargs != 0:
            argv.append(_value(random, action))
    if random.random() < 0.5:
        argv.append(random.choice(("missing.py:Net", "whole.json", *WORDS)))
    if random.random() < 0.02:
        argv.append("--help")
    return tuple(argv)


def _value(random: Random, action: argparse.Action) -> str:
    if action.choices and random.random() < 0.6:
        return str(random.choice(list(action.choices)))
    if random.random() < 0.1:
        return "".join(random.choices(string.printable, k=random.randrange(1, 9)))
    return random.choice(WORDS)


def _actions(command: str) -> list[argparse.Action]:
    parser = build_parser(command)
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    found: argparse.ArgumentParser = commands.choices[command]
    return list(found._actions)


def network(random: Random) -> tuple[tuple[str, ...], str]:
    """A command that runs a network, and its source: statements that each may be wrong."""
    lines = [f"        {random.choice(CONSTRUCTED)}" for _ in range(random.choice((0, 1, 1, 2)))]
    lines += ["", "    def forward(self, x):"]
    lines += [f"        {random.choice(RUN)}" for _ in range(random.choice((1, 1, 2, 3)))]
    source = HEAD + "\n".join([*lines, "        return x", ""])
    spec, size = "odd.py:Net", ("--input", "1x3x8x8")
    argv = random.choice(
        (
            ("analyze", spec, *size),
            ("analyze", spec, *size, "--format", random.choice(("json", "markdown", "perfetto"))),
            ("analyze", spec, *size, "--train"),
            ("analyze", spec, *size, "--profile", "gtx1080ti"),
            ("diff", spec, "net.py:Net", *size),
            ("rank", spec, "net.py:Net", *size),
            ("advise", spec, *size),
            ("lean", spec, *size),
            ("fit", spec, "--budget", "1MiB"),
            ("measure", spec, *size, "--device", "cpu", "--repeat", "1", "--warmup", "0"),
        )
    )
    return argv, source
