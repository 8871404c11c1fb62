"""`srprof time`: a quick real timing beside the prediction."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from srprof.options import add_output, add_real_run, call_shapes, check_counts, show
from srprof.output import check_output

if TYPE_CHECKING:
    from srprof.cost.profiles import Profile

_DESCRIPTION = """\
Time a model on this machine's GPU or CPU: the median of some passes and their spread, beside what
a device profile predicts. It measures latency alone; srprof measure has memory too, and a record.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "time",
        help="time a network quickly, beside its predicted latency",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_real_run(parser)
    parser.add_argument(
        "--profile",
        metavar="PROFILE",
        help="predict by this one: a name or a .toml (default: the GPU's own, if srprof has it)",
    )
    parser.add_argument(
        "--repeat", metavar="N", type=int, help="timed passes (default 100 on cuda, 10 on cpu)"
    )
    parser.add_argument(
        "--warmup", metavar="N", type=int, help="passes before them (default 10 on cuda, 2 on cpu)"
    )
    parser.add_argument("--threads", metavar="N", type=int, help="CPU threads of torch's pool")
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Time and print."""
    from srprof import spec
    from srprof.cost.profiles import load_profile

    check_output(args.output)
    check_counts(args, repeat=1, warmup=0, threads=1)
    profile = None if args.profile is None else load_profile(args.profile)
    parsed = spec.parse(args.spec)
    shapes = call_shapes(args, parsed)

    from srprof.cost.roofline import estimate
    from srprof.measuring.run import time_model
    from srprof.measuring.timing import Timing
    from srprof.progress import TerminalProgress
    from srprof.tracing.run import run_trace
    from srprof.workload import resolve

    workload = resolve(args.spec, shapes, dtype=args.dtype, channels_last=args.channels_last)
    trace = run_trace(workload, "auto", holders=False)
    predicted = None if profile is None else estimate(trace, profile)
    with TerminalProgress(sys.stderr) as progress:
        device, latency = time_model(
            workload,
            args.device,
            repeat=args.repeat,
            warmup=args.warmup,
            threads=args.threads,
            progress=progress,
        )
    if profile is None and (packaged := _packaged(device.kind, device.name, args.dtype)):
        predicted = estimate(trace, packaged)
    show(args, Timing(trace, device, latency, predicted).document())
    return 0


def _packaged(kind: str, name: str, dtype: str) -> Profile | None:
    """The profile that comes with srprof for this GPU, if it has the dtype."""
    from srprof.cost.profiles import device_like, load_profile

    known = device_like(name) if kind == "cuda" else None
    profile = None if known is None else load_profile(known)
    return profile if profile is not None and dtype in profile.peak else None
