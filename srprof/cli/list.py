"""`srprof list`: the networks that go by a name."""

from __future__ import annotations

import argparse

from srprof import registry
from srprof.options import add_output, show

DESCRIPTION = f"""\
List the networks of every installed zoo; as markdown or html, a page with published figures beside
ours, as json, every field. A package adds its own through the entry-point group {registry.GROUP}.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Print the zoo."""
    from srprof.render.views.zoo import document

    networks = registry.networks()
    registry.index(networks)
    show(args, document(networks))
    return 0
