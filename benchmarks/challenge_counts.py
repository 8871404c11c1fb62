"""Counts that the NTIRE challenges and entrants published, beside ours of the public code.

    python benchmarks/challenge_counts.py                       # the table of docs/validation.md
    python benchmarks/challenge_counts.py --repositories DIR    # make its record again

Ours are those of reports/challenge/figures.json, which benchmarks/challenge_reports.py makes of the
same folder: parameters, activations and convolutions, and FLOPs by 2022's rules or by what fvcore
counts (`srprof.cost.fvcore`), at 1x3x256x256.

Beside that, of every network fvcore itself is run on the CPU at 1x3x64x64 and held against our
rules for it, without weights, each in a process of its own that is ended after ten minutes. Not of
those whose operators are known by rules alone: of these the published figure is fvcore's. The
record (`records/challenge_counts.json`) has figures alone.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from challenge_entries import ROOT, Challenge, Network, challenges, networks
from challenge_reports import FIGURES, key
from h200_peaks import alone
from latency_tables import table

import srprof
from srprof.challenge.results import Result
from srprof.challenge.script import build
from srprof.figures import find
from srprof.files import read_json
from srprof.operators.imports import standing

RECORD = ROOT / "benchmarks" / "records" / "challenge_counts.json"
#: Seconds that a network has.
LIMIT = 600
#: What is published: what one of its unit is, and decimals as they are printed.
COUNTS: Mapping[str, tuple[float, int]] = {
    "params": (1e6, 3),
    "flops": (1e9, 2),
    "activations": (1e6, 2),
    "convs": (1, 0),
}


def counted(root: Path, network: Network) -> dict[str, Any]:
    """What our rules for fvcore count at 64x64, and what it counts itself."""
    with standing():
        model = build(root / network.folder, network.number, script=network.script)
        analysis = srprof.analyze(model, (1, 3, 64, 64))
        by_rule = find("fvcore_flops").of(analysis.record)
        ruled = sorted({n.ruled.function for n in analysis.trace.nodes if n.ruled is not None})
        if ruled:
            return {"rule": by_rule, "fvcore": f"not run: a rule stands for {', '.join(ruled)}"}
        return {"rule": by_rule, "fvcore": _by_fvcore(model)}


def _by_fvcore(network: Any) -> int | str:
    """What fvcore counts, or why it does not."""
    import torch
    from fvcore.nn import FlopCountAnalysis

    logging.disable()
    try:
        return int(FlopCountAnalysis(network, torch.rand(1, 3, 64, 64)).total())
    except Exception as error:  # of the network's code, or of fvcore's
        return _first_line(error)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]:.120}"


def printed(result: Result) -> dict[str, str]:
    """The published counts as a results.txt has them; {} where none are."""
    values = {name: getattr(result, name) for name in COUNTS}
    return {name: _digits(value, name) for name, value in values.items() if value is not None}


def _digits(value: float, name: str) -> str:
    factor, decimals = COUNTS[name]
    return f"{value / factor:.{decimals}f}"


def all_networks(root: Path) -> Iterator[tuple[Challenge, Network]]:
    """Those of every year."""
    return ((year, network) for year in challenges() for network in networks(year, root))


def record(root: Path, kept: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Write a row for each network: what is published, and ours; or why it has none.

    What is `kept` is not run again. The file is whole after each row.
    """
    figures = read_json(FIGURES)
    found = []
    for challenge, network in all_networks(root):
        name = challenge.name, network.name
        row = {"year": name[0], "number": network.number, "name": name[1]}
        if network.entrant is not None:
            row["repository"] = network.entrant.repository
        row["published"] = printed(network.result)
        answer = figures.get(key(challenge, network), {"failed": "not predicted yet"})
        if answer.get("predicted") is None:
            row["reason"] = answer["failed"]
        else:
            row |= {count: answer["predicted"][count] for count in COUNTS}
        known = kept.get(name, {})
        if "rule" not in known and "reason" not in row:
            known = alone(__file__, root, " ".join(name), LIMIT)
            known = known or {"fvcore": f"not run: took longer than {LIMIT} s"}
            print(_line(row | known), flush=True)
        found.append(row | {part: known[part] for part in ("rule", "fvcore") if part in known})
        RECORD.write_text(json.dumps(found, indent=1) + "\n")


# -- the table -------------------------------------------------------------------------------------


def differing(row: Mapping[str, Any]) -> list[str]:
    """Of a row with published digits: the figures whose digits ours are not."""
    return [
        f"{name} {_digits(row[name], name)} for {digits}"
        for name, digits in row["published"].items()
        if _digits(row[name], name) != digits
    ]


def _line(row: Mapping[str, Any]) -> str:
    equal = "equal" if row["published"] else "nothing published"
    said = row.get("reason") or ", ".join(differing(row)) or equal
    fvcore = "" if _as_fvcore(row) else f"; {row['rule']} {row['fvcore']}"
    return f"{row['year']} {row['number']:3} {row['name']:24} {said}{fvcore}"


def summary(rows: list[dict[str, Any]]) -> str:
    """A row for each year, then what is not equal and what did not run, one line each."""
    found, titles = [], {challenge.name: challenge.year.title for challenge in challenges()}
    for year in dict.fromkeys(row["year"] for row in rows):
        of_year = [row for row in rows if row["year"] == year]
        ran = [row for row in of_year if "reason" not in row]
        known = [row for row in of_year if row["published"]]
        equal = sum("reason" not in row and not differing(row) for row in known)
        asked = [row for row in ran if isinstance(row.get("fvcore"), int)]
        same, tried = sum(map(_as_fvcore, asked)), len(asked)
        found.append(
            (titles[year], len(of_year), len(ran), f"{equal} of {len(known)}",
             f"{same} of {tried}")
        )  # fmt: skip
    head = ("year", "public code", "ran here", "published digits equal", "rule equals fvcore")
    lines = [_line(row) for row in rows if not _as_published(row)]
    return table(head, [tuple(map(str, row)) for row in found]) + "\n\n" + "\n".join(lines)


def _as_published(row: Mapping[str, Any]) -> bool:
    return "reason" not in row and not differing(row) and _as_fvcore(row)


def _as_fvcore(row: Mapping[str, Any]) -> bool:
    """Whether our rule counts what fvcore does, or nobody ran that."""
    return row.get("rule") == row["fvcore"] if isinstance(row.get("fvcore"), int) else True


def main() -> None:
    """Make the record, or print its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repositories", type=Path, help="the folder of the repositories")
    parser.add_argument("--missing", action="store_true", help="run only those that did not before")
    parser.add_argument("--only", metavar="'YEAR NAME'", help="this network by fvcore, as JSON")
    arguments = parser.parse_args()
    root = arguments.repositories and arguments.repositories.resolve()
    if arguments.only:
        by_name = {f"{year.name} {network.name}": network for year, network in all_networks(root)}
        try:
            found = counted(root, by_name[arguments.only])
        except Exception as error:  # of the network's code: it is named, and the others go on
            found = {"fvcore": f"not run: {_first_line(error)}"}
        print(json.dumps(found))
    elif root:
        rows = json.loads(RECORD.read_text()) if arguments.missing else []
        record(root, {(row["year"], row["name"]): row for row in rows})
    else:
        print(summary(json.loads(RECORD.read_text())))


if __name__ == "__main__":
    main()
