"""`srprof devices`: the profiles by which latency is predicted."""

from __future__ import annotations

import argparse
from typing import Any

from srprof.options import add_output, show
from srprof.output import check_output


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
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the profiles."""
    from srprof.cost.profiles import device_names, device_titles, load_profile, needs_calibration
    from srprof.render.views.devices import overview, without_figures

    check_output(args.output)
    if args.name is None:
        without = {n: title for n, title in device_titles().items() if needs_calibration(n)}
        profiles = [load_profile(name) for name in device_names() if name not in without]
        show(args, overview(profiles, without))
    elif needs_calibration(args.name):
        show(args, without_figures(args.name, device_titles()[args.name]))
    else:
        show(args, load_profile(args.name).document())
    return 0
