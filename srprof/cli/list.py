"""`srprof list`: the networks that go by a name."""

from __future__ import annotations

import argparse
from typing import Any

from srprof import registry
from srprof.output import check_output, write


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "list",
        help="list the networks of the zoo",
        description="List the networks of every installed zoo. A package adds its own through "
        f"the entry-point group {registry.GROUP}.",
    )
    parser.add_argument(
        "--format",
        choices=("text", "json", "markdown"),
        default="text",
        help="json has every field; markdown is a page with published figures beside ours",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write to a file instead of stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the zoo."""
    from srprof.render.zoo import zoo_json, zoo_page, zoo_text

    check_output(args.output)
    networks = registry.networks()
    registry.index(networks)
    forms = {"text": zoo_text, "json": zoo_json, "markdown": zoo_page}
    write(forms[args.format](networks), args.output)
    return 0
