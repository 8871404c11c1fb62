"""`srprof devices`: the profiles by which latency is predicted."""

from __future__ import annotations

import argparse
from typing import Any

from srprof.output import check_output, write


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "devices",
        help="list the device profiles, or show one with the source of each figure",
        description="List the devices whose latency can be predicted, or show all figures of one "
        "with their sources.",
    )
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="a device, or a profile of your own (.toml)"
    )
    parser.add_argument(
        "--format", choices=("text", "json", "markdown"), default="text", help="default text"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write to a file instead of stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the profiles."""
    from srprof.cost.profiles import device_names, device_titles, load_profile, needs_calibration
    from srprof.render.devices import devices_report

    check_output(args.output)
    names = device_names() if args.name is None else (args.name,)
    without = {name: device_titles()[name] for name in names if needs_calibration(name)}
    devices = [load_profile(name) for name in names if name not in without]
    write(
        devices_report(devices, without, args.format, detailed=args.name is not None), args.output
    )
    return 0
