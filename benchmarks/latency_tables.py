"""Predicted latency beside FMEN's published runtimes: the tables of docs/latency.md.

    python benchmarks/latency_tables.py

Table 4's eight runtimes, by datasheets alone and by the profile that was fitted to them; runtimes
that no fit saw; and what changes in a network cost, as Tables 1 and 2 have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from fit_ntire2022 import NETWORKS, NOT_FITTED, SIZE
from tabulate import tabulate

from srprof import trace
from srprof.cost.estimate import estimate
from srprof.cost.fitting import mean_error, spearman
from srprof.cost.profiles import load_profile
from srprof.models import ZOO
from srprof.records import Trace

PROFILES = ("gtx1080ti", "titanxp", "ntire2022")

#: What is exchanged, and its published runtimes in ms: with it, and without. Table 1's FMEN with
#: ERBs (40.4) is not Table 2's FMEN (46.13), which has ERBs too; the paper does not say why.
CHANGES = (
    ("CCA (Table 2)", "fmen_baseline(attention='cca')", "fmen_baseline", 50.55, 45.25),
    ("ESA (Table 2)", "fmen_baseline(attention='esa')", "fmen_baseline", 52.11, 45.25),
    ("HFAB (Table 2)", "fmen", "fmen_baseline", 46.13, 45.25),
    (
        "RB for ERB, EDSR-baseline (Table 1)",
        *("edsr_baseline", "edsr_baseline(block='erb')"),
        *(99.8, 90.6),
    ),
    ("RB for ERB, FMEN (Table 1)", "fmen(block='rb')", "fmen", 46.1, 40.4),
)


@cache
def traced(spec: str) -> Trace:
    """A network at the size that the published runtimes are nearest to."""
    return trace(spec, (1, 3, *SIZE))


def milliseconds(spec: str, profile: str) -> float:
    """What a profile predicts."""
    return 1e3 * estimate(traced(spec), load_profile(profile)).seconds


def runtimes(published: dict[str, float]) -> str:
    """Published runtimes with each profile's, and how far off these are."""
    predicted = {p: [milliseconds(spec, p) for spec in published] for p in PROFILES}
    measured = list(published.values())
    rows = [
        (f"`{spec}`", f"{there:.2f}", *(f"{predicted[p][row]:.2f}" for p in PROFILES))
        for row, (spec, there) in enumerate(published.items())
    ]
    errors = (f"{mean_error(predicted[p], measured):.1%}" for p in PROFILES)
    ranks = (f"{spearman(predicted[p], measured):.3f}" for p in PROFILES)
    rows += [("mean error", "", *errors), ("Spearman", "", *ranks)]
    return table(("ms at 339x510", "published", *PROFILES), rows)


def changes() -> str:
    """What a change costs, published and predicted."""
    rows = [
        (
            what,
            f"{after / before - 1:+.1%}",
            *(f"{milliseconds(new, p) / milliseconds(old, p) - 1:+.1%}" for p in PROFILES),
        )
        for what, new, old, after, before in CHANGES
    ]
    return table(("change", "published", *PROFILES), rows)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, with figures as they are given and to the right."""
    align = ("left", *["right"] * (len(headers) - 1))
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True, colalign=align)


def tables() -> tuple[str, str, str]:
    """The three tables, as Markdown."""
    published = {n.name: n.published[4]["runtime_ms"] for n in ZOO if n.name in NETWORKS}
    return runtimes({name: published[name] for name in NETWORKS}), runtimes(NOT_FITTED), changes()


def main() -> None:
    """Print the tables."""
    print(*tables(), sep="\n\n")


if __name__ == "__main__":
    main()
