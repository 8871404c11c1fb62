"""`srprof measure`: the memory and latency of one model in real runs."""

from __future__ import annotations

import argparse

from srprof.errors import Interrupted
from srprof.options import (
    add,
    add_call,
    add_older,
    add_output,
    given,
    progress_line,
    read_call,
    show,
)
from srprof.output import say

DESCRIPTION = """\
Run a model for real, on a GPU or on the CPU: bytes before, within and after each node, the
scratch that libraries take there, the peaks of whole runs, and the latency with its doubt.

The JSON record holds every raw sample, with the device, versions and flags that they depend on.
Ctrl-C keeps what was measured until then, marked incomplete. With --repeat 0 it is memory only.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_call(parser, "--trace-on")
    add(parser, "--device")
    # fmt: off
    parser.add_argument("--timing", choices=("ntire", "strict"), default="strict",
        help="latency as the NTIRE challenge takes it (no warm-up, the mean), or after a warm-up, "
             "by the median (default)")
    add_older(parser, "--protocol", "--timing")
    add(parser, "--repeat", "--warmup")
    parser.add_argument("--flush-l2", action="store_true",
        help="overwrite the GPU's L2 cache before each pass")
    add(parser, "--threads")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    call = read_call(args)

    from srprof.measuring.run import measure

    code = 0
    try:
        with progress_line() as progress:
            how = given(args, "device repeat warmup flush_l2 threads")
            measurement = measure(
                call, protocol=args.timing, find_largest=True, progress=progress, **how
            )
    except Interrupted as interrupt:
        measurement, code = interrupt.partial, 130
        say("srprof: interrupted; what was measured is written")
    show(args, measurement.document())
    return code
