"""`srprof list`: the networks that go by a name."""

from __future__ import annotations

import argparse
import dataclasses
import json
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
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text")
    parser.add_argument("-o", "--output", metavar="FILE", help="write to a file instead of stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the zoo."""
    check_output(args.output)
    networks = registry.networks()
    registry.index(networks)
    if args.format == "json":
        text = json.dumps([_as_dict(network) for network in networks], indent=1) + "\n"
    else:
        text = _table(networks, "github" if args.format == "markdown" else "simple") + "\n"
    write(text, args.output)
    return 0


def _as_dict(network: registry.Network) -> dict[str, Any]:
    fields = dataclasses.asdict(dataclasses.replace(network, published={}))
    return fields | {"published": dict(network.published)}


def _table(networks: tuple[registry.Network, ...], style: str) -> str:
    from tabulate import tabulate

    rows = [
        (
            network.name,
            ", ".join(network.aliases),
            f"x{network.scale}" if network.scale else "",
            network.title,
            network.source,
        )
        for network in networks
    ]
    headers = ("name", "aliases", "scale", "network", "published in")
    return tabulate(rows, headers=headers, tablefmt=style, disable_numparse=True)
