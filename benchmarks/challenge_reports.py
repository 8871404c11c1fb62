"""The pages of reports/challenge/: every public network of a challenge, published and predicted.

    python benchmarks/challenge_reports.py                       # the pages, of what was predicted
    python benchmarks/challenge_reports.py --repositories DIR    # predict the networks again

`reports/challenge.toml` says which networks, and which folders DIR has. Each runs in a process of
its own, without weights and without a GPU; what is predicted goes to reports/challenge/figures.json
as it comes. A network that is there is not run again: delete the file, or its row, first.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from srprof.audit.apart import ask
from srprof.audit.record import Predicted
from srprof.audit.run import question
from srprof.challenge.results import read_results
from srprof.challenge.script import SCRIPT
from srprof.challenge.years import find
from srprof.codec import encode
from srprof.errors import ModelError
from srprof.files import load_table, read_json
from srprof.output import write
from srprof.timeout import timeout

ROOT = Path(__file__).parents[1]
DEFINITION = ROOT / "reports" / "challenge.toml"
FOLDER = ROOT / "reports" / "challenge"
FIGURES = FOLDER / "figures.json"
#: Seconds that a network may take.
_SECONDS = 300.0


@dataclass(frozen=True)
class Challenge:
    """A year of the definition.

    Attributes:
        name: of the year. repository: its folder; results: its results file there, "" for the
            table that srprof has.
        measured: a folder of benchmarks/records with peaks of its networks on another GPU.
        entries: numbers in `select_model` by name; {} is the rows of the results file.
    """

    name: str
    repository: str
    results: str = ""
    measured: str = ""
    entries: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Definition:
    """The years, in order."""

    year: tuple[Challenge, ...]


@dataclass(frozen=True)
class Answer:
    """What was predicted of a network, or why nothing was."""

    predicted: Predicted | None = None
    failed: str = ""


def predict(definition: Definition, repositories: Path) -> None:
    """Predict the networks that have no figures yet, one after the other."""
    known = read_json(FIGURES) if FIGURES.exists() else {}
    for challenge in definition.year:
        year = find(challenge.name)
        elsewhere = ("h200",) if challenge.measured else ()
        folder = str(repositories.resolve() / challenge.repository)
        for name, number in entries(challenge, Path(folder)).items():
            key = f"{challenge.name} {number}"
            if key in known:
                continue
            try:
                answer = Answer(ask(question(folder, number, year, SCRIPT, *elsewhere)))
            except ModelError as error:
                answer = Answer(failed=str(error))
            print(key, name, answer.failed or "done", flush=True)
            known[key] = encode(answer)
            write(json.dumps(known, indent=1) + "\n", str(FIGURES))


def entries(challenge: Challenge, folder: Path) -> Mapping[str, int]:
    """The networks of a year by name; without a list those of the results file."""
    if challenge.entries:
        return challenge.entries
    (table,) = read_results(str(folder / challenge.results))
    return {row.name: row.number for row in table.rows if row.number is not None}


def main() -> None:
    """Predict, if the repositories are there."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repositories", type=Path, help="the folder of the public repositories")
    arguments = parser.parse_args()
    definition = load_table(Definition, DEFINITION, DEFINITION.name)
    if arguments.repositories:
        with timeout(_SECONDS):
            predict(definition, arguments.repositories)


if __name__ == "__main__":
    main()
