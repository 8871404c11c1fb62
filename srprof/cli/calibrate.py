"""`srprof calibrate`: a device profile from a short microbenchmark."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from srprof.errors import InputError
from srprof.options import add_format, show
from srprof.output import check_output, write

_DESCRIPTION = """\
Time a short microbenchmark on a device (copies, convolutions of many widths and sizes,
element-wise operations, launches) and fit a profile to it, for analyze --device PROFILE.toml.

On a busy machine, whose timings spread too widely, nothing is written and the exit code is 1.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "calibrate",
        help="make a device profile by a microbenchmark on the device",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--device", metavar="DEVICE", default="cuda", help="cuda, cuda:N or cpu (default cuda)"
    )
    parser.add_argument(
        "-o",
        "--output",
        dest="profile",
        metavar="PROFILE",
        required=True,
        help="the profile to write (.toml)",
    )
    parser.add_argument("--quick", action="store_true", help="one size only, and fewer rounds")
    parser.add_argument("--threads", metavar="N", type=int, help="CPU threads of torch's pool")
    add_format(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Calibrate, write the profile and report."""
    check_output(args.profile)
    if not args.profile.endswith(".toml"):
        raise InputError(f"-o {args.profile}: name a file that ends in .toml")
    if args.threads is not None and args.threads < 1:
        raise InputError(f"--threads {args.threads}: give a whole number of at least 1")

    from srprof.calibration.run import calibrate
    from srprof.cost.profiles import to_toml
    from srprof.progress import TerminalProgress
    from srprof.render.views.calibration import document

    with TerminalProgress(sys.stderr) as progress:
        calibration = calibrate(
            args.device,
            quick=args.quick,
            threads=args.threads,
            name=Path(args.profile).stem,
            progress=progress,
        )
    write(to_toml(calibration.device), args.profile)
    show(args, document(calibration, args.profile))
    return 0
