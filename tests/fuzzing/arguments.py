"""Command lines: of anything, of a command's own options, and good ones with a fault or two."""

from __future__ import annotations

import argparse
import string
from random import Random

from srprof.cli import COMMANDS, build_parser
from tests.fuzzing.values import WORDS

#: Commands that would run for minutes where arguments of their own are good by chance.
_LONG = frozenset({"calibrate", "train", "ablate"})

#: Good commands on the files of `folder.Folder`, each of a second at most.
GOOD = tuple(
    tuple(line.split())
    for line in """\
analyze net.py:Net --input 8x8
analyze net.py:Net --input 1x3x8x8 --train --format json
analyze net.py:Net --input 8x8 --profile gtx1080ti --view nodes --top 3
analyze net.py:Net --input 8x8 --protocol ntire --sizes sizes.txt --rounds 1
analyze fsrcnn --input 1x1x8x8 --workspace w.json --format markdown
analyze net.py:Net --input 8x8 --trace-on cpu --format perfetto
analyze net.py:Net(nf=3) --dtype float16 --channels-last --trace-on cuda-fake --view modules
analyze net.py:Net --weights net.pth --input 8x8 --format html -o out.html
rank net.py:Net fsrcnn(scale=2) --input 16x16 --ranks --format latex
rank --from rows.csv --with ntire2022 --scoring ntire2024
rank net.py:Net --record m.json --input 8x8 --format csv
diff net.py:Net whole.json --input 8x8
diff net.py:Net fsrcnn --input 8x8 --input-b 1x1x8x8 --top 2 --format json
fit net.py:Net --budget 1MiB --aspect 16:9 --memory eager
fit net.py:Net --budget 1MiB --image 64x64
fit net.py:Net --budget 1MiB --batch --input 8x8 --format json
lean net.py:Net --input 8x8 --level equivalent --format json
lean net.py:Net --input 8x8 --emit lean.py
lean net.py:Net --input 8x8 --emit lean.pt2
lean net.py:Net --input 8x8 --tile 16x16
advise net.py:Net --input 8x8 --diff --exact
advise net.py:Net --input 8x8 --apply
advise net.py:Net --input 8x8 --profile h200 --widths nf=1..3
advise net.py:Net --input 8x8 --budget 1MiB --lower allocated --format json
measure net.py:Net --input 8x8 --device cpu --repeat 1 --warmup 0 --threads 1 --format json
time net.py:Net --input 8x8 --device cpu --repeat 1 --warmup 0
validate net.py:Net --inputs 8x8 --device cpu --tolerance 1% --save saved
validate --all --inputs 16x16 --device cpu
validate --record m.json --format json
sweep net.py:Net --inputs 8..16:8 --jobs 1 --metric eager,params
sweep net.py:Net --inputs 8x8 --set nf=1,2 --jobs 1 --restart -o s.csv
check --config net.toml --format json
check --config net.toml --update
check --config net.toml --partial --format junit
check --init n.py --config new.toml
report r.toml -o pages
train t.toml
ablate a.toml --format json
spectrum net.py:Net --image 0.png --module body --range 255 --format csv
evaluate bicubic(scale=2) --hr images --scale 2 --save sr --device cpu
evaluate bicubic(scale=2) --hr images --tile 16x16 --halo 2 --format json
merge fmen.pth -o merged.pth
merge fmen.pth -o merged.pth --model fmen(scale=2,n_feats=8,form='train')
calibrate --device cuda --quick -o cal.toml
list --format json
devices gtx1080ti --format csv
devices p.toml""".splitlines()
)
#: Values that an option by this name takes; how many passes there are is not left to chance.
_TAKEN = {
    "input": ("8x8", "9", "1x3x8x8", "2x3x4x5", "1x1x8x8", "1x3x0x8", "x=1x3x8x8", "0x0", "1"),
    "repeat": ("0", "1", "2"), "warmup": ("0", "1"), "threads": ("1", "2", "0"),
    "jobs": ("1", "0"), "batch": ("1", "3", "999999999999"), "profile": ("gtx1080ti", "p.toml"),
    "weights": ("w.pth", "fmen.pth", "w.safetensors", "0.png"), "workspace": ("w.json", "none"),
    "record": ("m.json", "saved", "."), "config": ("net.toml", "srprof.toml", "missing.toml"),
    "budget": ("1MiB", "1KiB", "1TiB", "0"), "image": ("0.png", "64x64", "images", "3x3"),
    "output": ("out.json", "out.csv", "out.md", "out.html", "net.py", "net.toml", "images"),
    "top": ("0", "1", "99999999999999999999"), "device": ("cuda", "cuda:1"),
    "sizes": ("sizes.txt", "images"), "hr": ("images", "0.png", "."), "lr": ("images", "0.png"),
    "scale": ("2", "3", "0"), "tile": ("16", "8x9", "1"), "halo": ("0", "1", "99"),
    "set": ("nf=1,2", "nf=0..2", "nf='a'", "x=1"), "metric": ("eager", "latency_ms", "params"),
    "tolerance": ("1%", "0", "1e300"), "figure": ("f.svg",), "emit": ("lean.py", "lean.pt2"),
    "timeout": ("9s",), "granularity": ("1", "512", "0"), "module": ("body", "*", "."),
    "alloc_conf": ("max_split_size_mb:128", "expandable_segments:True"),
    "model": ("net.py:Net", "fmen_s"), "aspect": ("1:1", "99:1"), "tiles": ("8x8", "1x1"),
}  # fmt: skip
#: Options of which any text may be put in, as none of it takes long.
_COUNTS = frozenset({"repeat", "warmup", "threads", "jobs", "timeout"})


def arguments(random: Random) -> tuple[str, ...]:
    """A good command line with some faults, one of a command's own options, or of anything."""
    what = random.random()
    if what < 0.05:
        return tuple(random.choice((*WORDS, *COMMANDS)) for _ in range(random.randrange(4)))
    return _own(random) if what < 0.35 else _nearly_good(random)


def _nearly_good(random: Random) -> tuple[str, ...]:
    argv = list(random.choice(GOOD))
    for _ in range(random.choice((1, 1, 2, 3))):
        at, what = random.randrange(1, len(argv) + 1), random.random()
        if what < 0.15:
            del argv[at:][:1]
        elif what < 0.3:
            argv[at:at] = argv[at : at + random.randrange(3)]
        elif what < 0.55:
            argv[at : at + 1] = [_word_for(random, argv[at - 1])]
        else:
            argv += _option(random, random.choice(_options(argv[0])))
    return tuple(argv)


def _word_for(random: Random, before: str) -> str:
    """A value for the option before it, or any word where it may have no length."""
    name = before.lstrip("-").replace("-", "_")
    if name in _TAKEN and (name in _COUNTS or random.random() < 0.5):
        return random.choice(_TAKEN[name])
    return random.choice(WORDS)


def _own(random: Random) -> tuple[str, ...]:
    command = random.choice([name for name in COMMANDS if name not in _LONG])
    argv = [command]
    actions = _options(command)
    for action in random.sample(actions, min(len(actions), random.randrange(6))):
        argv += _option(random, action)
    if random.random() < 0.5:
        argv.append(random.choice(("missing.py:Net", "whole.json", *WORDS)))
    if random.random() < 0.02:
        argv.append("--help")
    return tuple(argv)


def _option(random: Random, action: argparse.Action) -> list[str]:
    """An option, or a positional argument, with a value if it takes one."""
    option = [random.choice(action.option_strings)] if action.option_strings else []
    return option if action.nargs == 0 else [*option, _value(random, action)]


def _value(random: Random, action: argparse.Action) -> str:
    if action.choices and random.random() < 0.8:
        return str(random.choice(list(action.choices)))
    if random.random() < 0.1:
        return "".join(random.choices(string.printable, k=random.randrange(1, 9)))
    return _word_for(random, action.dest)


def _options(command: str) -> list[argparse.Action]:
    parser = build_parser(command)
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    found: argparse.ArgumentParser = commands.choices[command]
    return [a for a in found._actions if not isinstance(a, argparse._HelpAction)]
