"""`srprof calibrate`: a device profile from a short microbenchmark."""

from __future__ import annotations

import argparse
from pathlib import Path

from srprof.options import add, add_format, ending, given, progress_line, show
from srprof.output import write

DESCRIPTION = """\
Time a short microbenchmark on a device (copies, convolutions of many widths and sizes,
element-wise operations, launches) and fit a profile to it, for analyze --profile PROFILE.toml.

On a busy machine, whose timings spread too widely, nothing is written and the exit code is 1.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add(parser, "--device")
    # fmt: off
    parser.add_argument("-o", "--output", dest="profile", metavar="PROFILE", type=ending(".toml"),
        required=True, help="the profile to write (.toml)")
    parser.add_argument("--quick", action="store_true", help="one size only, and fewer rounds")
    add(parser, "--threads")
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Calibrate, write the profile and report."""
    from srprof.calibration.run import calibrate
    from srprof.cost.profiles import to_toml
    from srprof.render.views.calibration import document

    with progress_line() as progress:
        name, how = Path(args.profile).stem, given(args, "quick threads")
        calibration = calibrate(args.device, name=name, progress=progress, **how)
    write(to_toml(calibration.profile), args.profile)
    show(args, document(calibration, args.profile))
    return 0
