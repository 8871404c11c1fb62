"""The pages of reports/challenge/: every public network of a challenge, published and predicted.

    python benchmarks/challenge_reports.py --repositories DIR

`reports/challenge/entries.toml` says which networks there are, and which folders DIR has: the trees
of the challenges' public repositories, and of entrants' own copies of these. Each network runs in
a process of its own, without weights and without a GPU; what is predicted goes to
reports/challenge/figures.json as it comes, and is not predicted again (--again NAME does,
`--again ntire2026` or `--again "ntire2026 18"`; a network whose entrant published its figures goes
by its name, `"ntire2025 44_SPAN"`). A page for each year, in HTML and in Markdown with its picture,
is made of that.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from challenge_entries import ROOT, Challenge, Network, baselines, challenges, networks

from srprof.auditing.apart import RULES, Question, ask
from srprof.auditing.explaining import rule_of
from srprof.auditing.record import Audit, Predicted
from srprof.auditing.run import audit_table, question
from srprof.challenge.results import Results
from srprof.codec import decode, encode
from srprof.errors import ModelError
from srprof.files import read_json
from srprof.output import write
from srprof.render.figures import save
from srprof.render.figures.errors import draw
from srprof.render.writers import render
from srprof.timeout import timeout

FOLDER = ROOT / "reports" / "challenge"
FIGURES = FOLDER / "figures.json"
RECORDS = ROOT / "benchmarks" / "records"
#: Of a network that the last run did not come to.
_UNKNOWN = {"failed": "not predicted yet"}
#: Seconds that a network may take.
_SECONDS = 1800.0
#: By which libraries may take memory on a GPU that is not named.
_RULES = tuple(RULES)


@dataclass(frozen=True)
class Answer:
    """What was predicted of a network, or why nothing was."""

    predicted: Predicted | None = None
    failed: str = ""


def key(challenge: Challenge, network: Network) -> str:
    """As figures.json names a network: by its number in the year's own repository, or by name."""
    return f"{challenge.name} {network.name if network.entrant else network.number}"


def asked(challenge: Challenge, network: Network, root: Path) -> Question:
    """What is asked of a network; of one on an entrant's GPU no runtime, and more than one scratch.

    The baseline is asked so too: it tells the scratch.
    """
    elsewhere = ("h200",) if challenge.measured else ()
    listed = network.result.memory is not None
    found = question(
        str(root / network.folder),
        network.number,
        challenge.year,
        network.script,
        listed=listed,
        elsewhere=elsewhere,
    )
    if network.entrant is not None:
        found = replace(found, profile=None, workspace="none", rules=_RULES, runtime=found.counts)
        return replace(found, flops=network.entrant.flops or found.flops)
    return replace(found, rules=_RULES if challenge.entrant and not network.number else ())


def predict(challenge: Challenge, root: Path, known: dict[str, Any]) -> None:
    """Predict the networks of a year that have no figures yet, one after the other."""
    for network in networks(challenge, root):
        name = key(challenge, network)
        if name in known:
            continue
        try:
            answer = Answer(ask(asked(challenge, network, root)))
        except ModelError as error:
            answer = Answer(failed=str(error))
        print(name, network.name, answer.failed or "done", flush=True)
        known[name] = encode(answer)
        write(json.dumps(known, indent=1) + "\n", str(FIGURES))


def measured(challenge: Challenge, all_of: Sequence[Network]) -> dict[str, dict[str, int]]:
    """Peaks of a year's networks on another GPU, by name and profile."""
    if not challenge.measured:
        return {}
    peaks = read_json(RECORDS / challenge.measured / "peaks.json")["peaks"]
    year = challenge.name.removeprefix("ntire")
    numbers = {network.name: challenge.entries.get(network.name) for network in all_of}
    keys = {name: f"{year} {number}" for name, number in numbers.items()}
    return {name: {"h200": peaks[key]["f32_510"]} for name, key in keys.items() if key in peaks}


def scratch(challenge: Challenge, said: Mapping[str, Predicted | str]) -> dict[str, str]:
    """By which rule libraries take scratch on entrants' GPUs, told by the year's baseline there."""
    baseline = next((p for p in said.values() if isinstance(p, Predicted) and p.by_rule), None)
    peaks = baselines(challenge)
    return {} if baseline is None else {n: rule_of(peak, baseline) for n, peak in peaks.items()}


def report(challenge: Challenge, root: Path, known: Mapping[str, Any]) -> None:
    """Write a year's pages and its picture."""
    all_of = list(networks(challenge, root))
    answers = {n.name: decode(Answer, known.get(key(challenge, n), _UNKNOWN)) for n in all_of}
    said = {name: answer.predicted or answer.failed for name, answer in answers.items()}
    table = audit_table(
        Results(challenge.name, tuple(network.result for network in all_of)),
        said,
        measured=measured(challenge, all_of),
        rules=scratch(challenge, said),
        year=challenge.year,
    )
    missing = "" if challenge.entrant else challenge.year.missing
    notes = tuple(filter(None, (*table.notes, challenge.note, missing)))
    audit = Audit(challenge.name, (replace(table, notes=notes),))
    document, page = audit.document(), FOLDER / challenge.name
    write(render(document, "html", 100), f"{page}.html")
    picture = f"![How many predictions are how near]({challenge.name}.svg)\n"
    write(f"{render(document, 'markdown', 100)}\n{picture}", f"{page}.md")
    save(lambda: draw(audit.errors()), f"{page}.svg")


def main() -> None:
    """Predict what is not there, and make the pages."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repositories", type=Path, required=True, help="the repositories' folder")
    parser.add_argument("--again", action="append", default=[], help="predict this year or network")
    arguments = parser.parse_args()
    root = arguments.repositories.resolve()
    known = read_json(FIGURES) if FIGURES.exists() else {}
    for again in arguments.again:
        known = {key: f for key, f in known.items() if again not in (key, key.partition(" ")[0])}
    for challenge in challenges():
        with timeout(_SECONDS):
            predict(challenge, root, known)
        report(challenge, root, known)


if __name__ == "__main__":
    main()
