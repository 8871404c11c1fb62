"""`srprof measure`: the memory and latency of one model in real runs."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from srprof.options import add_output, add_real_run, call_shapes, check_counts, show
from srprof.output import check_output

_DESCRIPTION = """\
Run a model for real, on a GPU or on the CPU: bytes before, within and after each node, the
scratch that libraries take there, the peaks of whole runs, and the latency with its doubt.

The JSON record holds every raw sample, with the device, versions and flags that they depend on.
Ctrl-C keeps what was measured until then, marked incomplete.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "measure",
        help="run a network for real: memory node by node, workspace, latency",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_real_run(parser)
    parser.add_argument(
        "--protocol",
        choices=("ntire", "strict"),
        default="strict",
        help="latency as the NTIRE challenge takes it (no warm-up, the mean), or after a warm-up, "
        "by the median (default)",
    )
    parser.add_argument(
        "--repeat",
        metavar="N",
        type=int,
        help="timed passes; 0 for memory only (default 100 on cuda, 10 on cpu)",
    )
    parser.add_argument(
        "--warmup",
        metavar="N",
        type=int,
        help="passes before them (default 0 for ntire, else 10 on cuda, 2 on cpu)",
    )
    parser.add_argument(
        "--flush-l2", action="store_true", help="overwrite the GPU's L2 cache before each pass"
    )
    parser.add_argument("--threads", metavar="N", type=int, help="CPU threads of torch's pool")
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from srprof import spec

    check_output(args.output)
    check_counts(args, repeat=0, warmup=0, threads=1)
    parsed = spec.parse(args.spec)
    shapes = call_shapes(args, parsed)

    from srprof.measuring.run import Interrupted, measure
    from srprof.progress import TerminalProgress

    code = 0
    try:
        with TerminalProgress(sys.stderr) as progress:
            measurement = measure(
                args.spec,
                *shapes,
                device=args.device,
                dtype=args.dtype,
                channels_last=args.channels_last,
                protocol=args.protocol,
                repeat=args.repeat,
                warmup=args.warmup,
                flush_l2=args.flush_l2,
                threads=args.threads,
                find_largest=True,
                progress=progress,
            )
    except Interrupted as interrupt:
        measurement, code = interrupt.partial, 130
        print("srprof: interrupted; what was measured is written", file=sys.stderr)
    show(args, measurement.document())
    return code
