"""`srprof devices`: the profiles by which latency is predicted."""

from __future__ import annotations

import argparse

from srprof.options import add_output, show

DESCRIPTION = """\
List the devices whose latency can be predicted, or show all figures of one with their sources.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="a device, or a profile of your own (.toml)"
    )
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Print the profiles."""
    from srprof.cost.profiles import load_profile, needs_calibration, profile_names, profile_titles
    from srprof.render.views.devices import overview, without_figures

    if args.name is None:
        without = {n: title for n, title in profile_titles().items() if needs_calibration(n)}
        profiles = [load_profile(name) for name in profile_names() if name not in without]
        show(args, overview(profiles, without))
    elif needs_calibration(args.name):
        show(args, without_figures(args.name, profile_titles()[args.name]))
    else:
        show(args, load_profile(args.name).document())
    return 0
