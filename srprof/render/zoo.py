"""The zoo as text, JSON and the page of the docs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from srprof.registry import Network

_PAGE = """\
# The zoo

Made by `srprof list --format markdown -o docs/zoo.md`; every figure of ours is computed then.

`srprof analyze NAME` takes a name or an alias; `NAME(scale=2)` another scale, and each network's
other hyper-parameters go there too. From Python, `srprof.models.NAME(scale=2)` is the module.
"""

_FIGURES = """\
## Published figures

Each is compared with ours at the input and by the convention that its table used; both stand in the
last column. "The same digits" means that ours prints as the published figure; *not reproducible*,
that no known convention or variant gives it. Memory on a GPU contains the allocator's slack, and
ours, the eager peak, does not.
"""


def zoo_json(networks: Sequence[Network]) -> str:
    """Every field of every entry."""
    return json.dumps([_as_dict(network) for network in networks], indent=1) + "\n"


def _as_dict(network: Network) -> dict[str, Any]:
    plain = dataclasses.replace(network, published={}, conventions=())
    return dataclasses.asdict(plain) | {
        "published": {scale: dict(figures) for scale, figures in network.published.items()},
        "conventions": [dataclasses.asdict(c) for c in network.conventions],
    }


def zoo_text(networks: Sequence[Network]) -> str:
    """One line a network."""
    return _table(networks, "simple") + "\n"


def zoo_page(networks: Sequence[Network]) -> str:
    """The page: the networks, their notes, and their published figures beside ours.

    Traces every network that has any: a few seconds.
    """
    from srprof.compare.published import compare
    from srprof.render.tables import published_row

    notes = [f"- `{n.name}`: {n.notes}" for n in networks if n.notes]
    rows = [
        (f"`{network.name}`", f"x{scale}", *published_row(found))
        for network in networks
        for scale in network.published
        for found in compare(network, scale)
    ]
    headers = ("network", "scale", "figure", "published", "ours", "agreement", "counted")
    figures = tabulate(rows, headers, tablefmt="github", disable_numparse=True, missingval="-")
    blocks = [_PAGE, _table(networks, "github") + "\n", "## Notes\n", "\n".join(notes) + "\n"]
    return "\n".join([*blocks, _FIGURES, figures + "\n"])


def _table(networks: Sequence[Network], style: str) -> str:
    rows = [
        (
            network.name,
            ", ".join(network.aliases),
            " ".join(f"x{scale}" for scale in network.scales),
            network.row,
            network.title,
        )
        for network in networks
    ]
    headers = ("name", "aliases", "scales", "published in", "network")
    return tabulate(rows, headers, tablefmt=style, disable_numparse=True)
