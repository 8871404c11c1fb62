"""`srprof estimate`: a network's memory as a function of its image's size, in a file."""

from __future__ import annotations

import argparse

from srprof import options
from srprof.output import write

DESCRIPTION = """\
Find a network's peaks as functions of height, width, batch and dtype, from traces at a few sizes,
and write them to a file that a program reads without torch and without srprof: srprof_estimate.py,
one file, gives bytes, the largest tile and the largest batch within a budget from it.

  srprof estimate fmen_s -o fmen_s.estimate.json
  srprof estimate net.py:Net --weights net.pth -o net.estimate.json
  srprof estimate 4x_net.pth --as chainner -o net.estimate.json          as a program runs it
  srprof estimate fmen_s --profile h200 --dtype float16 -o fmen_s.estimate.json    and times

--input is an image of the network's channels; its size does not matter. Without --dtype the
estimate has float32, float16 and bfloat16. Printed is how it compares with every trace.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_call(parser)
    options.add(parser, "--as", "--workspace", "--profile")
    options.add_format(parser)
    options.add_path(parser, (".json",), dest="written")


def run(args: argparse.Namespace) -> int:
    """Trace, write the file and print what was checked."""
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
