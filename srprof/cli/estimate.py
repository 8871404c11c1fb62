"""`srprof estimate`: a network's memory as a function of its image's size, in a file."""

from __future__ import annotations

import argparse
from pathlib import Path

from srprof import options
from srprof.errors import InputError
from srprof.output import write

DESCRIPTION = """\
Find a network's peaks as functions of height, width, batch and dtype, from traces at a few sizes,
and write them to a file that a program reads without torch and without srprof: srprof_estimate.py,
one file, gives bytes, the largest tile and the largest batch within a budget from it.

  srprof estimate fmen_s -o fmen_s.estimate.json
  srprof estimate net.py:Net --weights net.pth -o net.estimate.json
  srprof estimate 4x_net.pth --as chainner     as a program runs it
  srprof estimate fmen_s --profile h200        and times
  srprof estimate --all spandrel -o pack.json  of a library's networks

--input is an image of the network's channels; its size does not matter. Without --dtype the
estimate has float32, float16 and bfloat16. Printed is how it compares with every trace. With --all
each network has a process of its own, for --timeout at most; what is in the file is not made again.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_call(parser)
    options.add(parser, "--all")
    options.add(parser, "--as", "--workspace", "--profile")
    options.add_format(parser)
    options.add_path(parser, (".json",), dest="written")


def run(args: argparse.Namespace) -> int:
    """Trace, write the file and print what was checked."""
    if args.all:
        return _pack(args)
    from srprof.estimating.run import estimate

    with options.progress_line() as progress:
        found = estimate(
            options.read_call(args),
            progress=progress,
            **options.given(args, "run_as workspace profile"),
        )
    if args.written is not None:
        write(found.to_json(), args.written)
    options.show(args, found.document())
    return 0


#: Options that are of one network.
_OF_ONE = ("input", "weights", "dtype", "channels_last", "workspace", "profile")


def _pack(args: argparse.Namespace) -> int:
    """Make what the file has not yet; 3 if a network is missing."""
    given = [f"--{name.replace('_', '-')}" for name in _OF_ONE if getattr(args, name)]
    if given:
        raise InputError(f"{', '.join(given)}: of one network, and not of --all")
    if args.written is None:
        raise InputError("--all writes a pack: name the file, -o pack.json")
    from srprof.adapters.pack import make_pack

    with options.progress_line() as progress:
        found = make_pack(args.spec, Path(args.written), args.run_as, args.timeout, progress)
    options.show(args, found.document())
    return options.said([f"{name}: {why}" for name, why in found.missing.items()])
