"""The memory that the NTIRE 2022 challenge published, beside what is predicted for its networks.

    python benchmarks/ntire2022_peaks.py --repositories DIR

DIR has `ntire2022`, the tree of ofsoundof/NTIRE2022_ESR, whose code is run to build the networks,
without weights. Published is `max_memory_allocated` over DIV2K's validation images, the largest of
510x510; predicted what the program requests there, and what the allocator's simulation gives if it
is a fresh program's only image, for `--profile ntire2022`, and without the rule for Winograd's
kernels. A published figure should lie between requested and allocated: what ran before moves it.
The last column is the error of what is allocated. Some entries import einops, timm or torchvision.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

from h200_peaks import alone, repositories

import srprof
from srprof.challenge.script import build
from srprof.files import read_toml
from srprof.words import MIB

RESULTS = Path(srprof.__file__).parent / "data" / "ntire2022.json"
_ENTRIES = Path(__file__).parents[1] / "reports" / "challenge" / "entries.toml"
#: The challenge's number of each team whose code is public.
NUMBERS: dict[str, int] = next(
    year["entries"] for year in read_toml(_ENTRIES)["year"] if year["name"] == "ntire2022"
)
#: Half of the last digit that is published.
_DIGIT = 0.005 * MIB
#: Errors that are counted.
_NEAR = (0.003, 0.01, 0.02)


def predicted(root: Path, number: int) -> tuple[int, int, int]:
    """Bytes requested; allocated with Winograd's filters; and without."""
    trace = srprof.trace(build(root / "ntire2022", number), (1, 3, 510, 510))
    with_, without = (
        srprof.analyze(trace, profile="ntire2022", workspace=workspace)
        for workspace in (None, "none")
    )
    peaks = with_.cold.peak_allocated, without.cold.peak_allocated
    return without.cold.peak_requested, *peaks


def main() -> None:
    """Print a row for each network, how many are between the two, and how near they are."""
    root = repositories(__doc__, predicted)
    if root is None:
        return
    published = {row["team"]: row["memory_MiB"] for row in json.loads(RESULTS.read_text())["rows"]}
    between, errors = [0, 0], list[tuple[float, float]]()
    heads = ("published", "requested", "allocated", "no Winograd", "error")
    print(f"{'team':20}{''.join(f'{head:>13}' for head in heads)}")
    for team, number in NUMBERS.items():
        found = alone(__file__, root, number)
        if found is None:
            continue
        requested, *allocated = found
        value = published[team] * MIB
        within = [requested - _DIGIT <= value <= peak + _DIGIT for peak in allocated]
        between = [count + hit for count, hit in zip(between, within, strict=True)]
        errors.append((requested / value - 1, allocated[0] / value - 1))
        figures = "".join(f"{n / MIB:>13.2f}" for n in (value, requested, *allocated))
        mark = "" if within[0] else "  outside"
        print(f"{team:20}{figures}{errors[-1][1]:>+13.2%}{mark}", flush=True)
    ran = f"of {len(errors)} that ran, of {len(NUMBERS)}"
    print(f"between: {between[0]} {ran}; without Winograd's filters {between[1]}")
    for what, those in zip(("requested", "allocated"), zip(*errors, strict=True), strict=True):
        sizes = [abs(error) for error in those]
        near = ", ".join(f"{sum(e <= most for e in sizes)} within {most:.1%}" for most in _NEAR)
        print(f"error of what is {what}: median {median(sizes):.2%}, {near}")


if __name__ == "__main__":
    main()
