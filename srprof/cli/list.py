"""`srprof list`: the networks that go by a name."""

from __future__ import annotations

import argparse
from typing import Any

from srprof import registry
from srprof.options import add_output, show
from srprof.output import check_output


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "list",
        help="list the networks of the zoo",
        description="List the networks of every installed zoo; as markdown or html, a page with "
        "published figures beside ours, as json, every field. A package adds its own through the "
        f"entry-point group {registry.GROUP}.",
    )
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the zoo."""
    from srprof.render.views.zoo import document

    check_output(args.output)
    networks = registry.networks()
    registry.index(networks)
    show(args, document(networks))
    return 0
