"""`srprof time`: a quick real timing beside the prediction."""

from __future__ import annotations

import argparse

from srprof.options import add, add_call, add_output, given, progress_line, read_call, show

DESCRIPTION = """\
Time a model on this machine's GPU or CPU: the median of some passes and their spread, beside what
a device profile predicts: --profile, or the GPU's own, if srprof has it. It measures latency alone;
srprof measure has memory too, and a record.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_call(parser, "--trace-on")
    add(parser, "--device", "--profile", "--repeat", "--warmup", "--threads")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Time and print."""
    call = read_call(args)

    from srprof.measuring.run import time_call

    with progress_line() as progress:
        how = given(args, "device profile repeat warmup threads")
        timing = time_call(call, progress=progress, **how)
    show(args, timing.document())
    return 0
