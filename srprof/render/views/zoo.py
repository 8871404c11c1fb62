"""The zoo: its networks, and as a page (docs/zoo.md) their published figures beside ours."""

from __future__ import annotations

from collections.abc import Sequence

from srprof.codec import encode
from srprof.registry import Network
from srprof.render.document import Column, Document, Section, Table


def document(networks: Sequence[Network]) -> Document:
    """One line a network; JSON has every field of every entry."""
    lines = tuple(f"`{n.name}`: {n.notes}" for n in networks if n.notes)
    return Document(
        (_networks(networks),),
        lambda: encode(networks),
        lambda: (Section("Notes", lines), _figures(networks)),
    )


def _networks(networks: Sequence[Network]) -> Section:
    lines = (
        "`srprof analyze NAME` takes a name or an alias; `NAME(scale=2)` another scale, and each "
        "network's other hyper-parameters go there too. From Python, `srprof.models.NAME(scale=2)` "
        "is the module.",
    )
    table = Table.build(
        networks,
        (Column("name"), lambda network: network.name),
        (Column("aliases"), lambda network: ", ".join(network.aliases)),
        (Column("scales"), lambda network: " ".join(f"x{scale}" for scale in network.scales)),
        (Column("published in", spare=1), lambda network: network.row),
        (Column("network"), lambda network: network.title),
    )
    return Section("The zoo", lines, table)


def _figures(networks: Sequence[Network]) -> Section:
    """Traces every network that has published figures: a few seconds."""
    from srprof.compare.published import compare
    from srprof.render.views.published import row

    lines = (
        "Made by `srprof list --format markdown -o docs/zoo.md`; every figure of ours is computed "
        "then.",
        "Each is compared with ours at the input and by the convention that its table used; both "
        'stand in the last column. "The same digits" means that ours prints as the published '
        'figure; "not reproducible", that no known convention or variant gives it. Memory on a GPU '
        "contains the allocator's slack, and ours, the eager peak, does not.",
    )
    rows = tuple(
        (f"`{network.name}`", f"x{scale}", *row(comparison))
        for network in networks
        for scale in network.published
        for comparison in compare(network, scale)
    )
    columns = (
        *map(Column, ("network", "scale", "figure")),
        Column("published", "number"),
        Column("ours", "number"),
        *map(Column, ("agreement", "counted")),
    )
    return Section("Published figures", lines, Table(columns, rows))
