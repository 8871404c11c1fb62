"""`srprof calibrate`: a device profile from a short microbenchmark, or from measured operations."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from srprof.errors import InputError
from srprof.options import (
    add,
    add_format,
    add_older,
    add_path,
    duration,
    given,
    progress_line,
    show,
)
from srprof.output import write

if TYPE_CHECKING:
    from srprof.calibration.table import Tabulated
    from srprof.cost.profiles import Profile
    from srprof.progress import Progress

DESCRIPTION = """\
Time a short microbenchmark on a device (copies, convolutions of many widths and sizes,
element-wise operations, launches) and fit a profile to it, for analyze --profile PROFILE.toml.

With --table the GPU's kernels of some thousand operations are measured too, and the profile names
them: a table that corrects each estimate by its nearest measured operations. What is timed is kept
as PROFILE_operations.jsonl, and a second call goes on from there. --operations makes the table from
such a file. --host measures what this machine needs to launch work, and puts that into the profile
named by --profile.

On a busy machine, whose timings spread too widely, or on a GPU that is held down, nothing is
written and the exit code is 1.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add(parser, "--device")
    # fmt: off
    add_path(parser, (".toml",), dest="written", required=True)
    parser.add_argument("--quick", action="store_true", help="one size only, and fewer rounds")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--table", action="store_true",
        help="measure a table of operations too (CUDA)")
    ways.add_argument("--operations", dest="lines", metavar="FILE",
        help="make the table from measured operations (.jsonl, .jsonl.gz), for --profile")
    add_older(ways, "--from", "--operations")
    ways.add_argument("--host", action="store_true",
        help="measure what this machine's processor needs, for --profile")
    add(parser, "--profile")
    parser.add_argument("--time", metavar="TIME", type=duration, default=90.0,
        help="for --table: how long to measure, 90s unless given")
    add(parser, "--threads")
    add_format(parser)
    # fmt: on


def run(args: argparse.Namespace) -> int:
    """Calibrate, write the profile and report."""
    if (args.lines or args.host) and args.profile is None:
        raise InputError("--operations and --host need a profile to start from: add --profile h200")

    from srprof.measuring.settings import usual_device

    args.device = usual_device(args.device)
    if args.host:
        return _host(args)
    if args.lines:
        return _from(args)
    from srprof.calibration.run import calibrate
    from srprof.render.views.calibration import document

    with progress_line() as progress:
        name, how = Path(args.written).stem, given(args, "quick threads")
        if args.table and args.device == "cpu":
            raise InputError("--table measures CUDA kernels: give --device cuda, or leave it out")
        calibration = calibrate(args.device, name=name, progress=progress, **how)
        table = _measured(args, calibration.profile, progress) if args.table else None
    if table is None:
        from srprof.cost.profiles import to_toml

        write(to_toml(calibration.profile), args.written)
    else:
        _write(table, calibration.profile, args.written)
    show(args, document(calibration, args.written, table))
    return 0


def _measured(args: argparse.Namespace, profile: Profile, progress: Progress) -> Tabulated:
    """The table of this GPU."""
    from srprof.calibration.table import measure_here

    journal = Path(args.written).with_name(f"{Path(args.written).stem}_operations.jsonl")
    return measure_here(args.device, profile, journal, args.time, progress)


def _from(args: argparse.Namespace) -> int:
    """A profile with the table that a file of measured operations makes."""
    from srprof.calibration.table import read_lines, tabulated
    from srprof.cost.profiles import load_profile
    from srprof.render.views.tabulated import document

    profile = load_profile(args.profile)
    command = f"srprof calibrate --operations {Path(args.lines).name} --profile {args.profile}"
    table = tabulated(*read_lines(args.lines), profile, command)
    _write(table, profile, args.written)
    show(args, document(table, args.written))
    return 0


def _host(args: argparse.Namespace) -> int:
    """The named profile in this machine."""
    from dataclasses import replace

    from srprof.calibration.host import host_times
    from srprof.cost.profiles import load_profile, to_toml
    from srprof.render.views.tabulated import host_document

    base = load_profile(args.profile)
    found = host_times(args.device)
    source = {
        **base.source,
        "host": f"Measured here: srprof calibrate --host --device {args.device}",
    }
    profile = replace(base, host={**base.host, **found}, source=source, name=args.written)
    write(to_toml(profile), args.written)
    show(args, host_document(profile, found, args.written))
    return 0


def _write(table: Tabulated, profile: Profile, written: str) -> None:
    """The table beside the profile that names it."""
    from dataclasses import replace

    from srprof.cost.profiles import to_toml
    from srprof.cost.tables import table_bytes

    beside = Path(written).with_suffix(".operations.json.gz")
    write(table_bytes(table.record, packed=True), str(beside))
    write(to_toml(replace(profile, table=beside.name)), written)
