"""The pages of reports/challenge/: every public network of a challenge, published and predicted.

    python benchmarks/challenge_reports.py --repositories DIR

`reports/challenge/entries.toml` says which networks there are, and which folders DIR has: the trees
of the challenges' public repositories. Each network runs in a process of its own, without weights
and without a GPU; what is predicted goes to reports/challenge/figures.json as it comes, and is not
predicted again (--again NAME does, `--again ntire2026` or `--again "ntire2026 18"`). A page for
each year, in HTML and in Markdown with its picture, is made of that.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from srprof.auditing.apart import ask
from srprof.auditing.record import Audit, Predicted
from srprof.auditing.run import audit_table, question
from srprof.challenge.results import Result, Results, SetResult, read_results
from srprof.challenge.years import find
from srprof.codec import decode, encode
from srprof.compare.ranking import METRICS, Entry
from srprof.compare.results import load_reference
from srprof.errors import ModelError
from srprof.files import load_table, read_json
from srprof.output import write
from srprof.render.figures import save
from srprof.render.figures.errors import draw
from srprof.render.writers import render
from srprof.timeout import timeout

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "reports" / "challenge"
DEFINITION = FOLDER / "entries.toml"
FIGURES = FOLDER / "figures.json"
RECORDS = ROOT / "benchmarks" / "records"
#: Of a network that the last run did not come to.
_UNKNOWN = {"failed": "not predicted yet"}
#: Seconds that a network may take.
_SECONDS = 600.0


@dataclass(frozen=True)
class Challenge:
    """A year of the definition.

    Attributes:
        name: of the year. repository: its folder; results: its results file there, "" for the
            table that srprof has.
        measured: a folder of benchmarks/records with peaks of its networks on another GPU.
        entries: numbers in `select_model` by name; {} is the rows of the results file.
        note: what a reader of the page must know.
    """

    name: str
    repository: str
    results: str = ""
    measured: str = ""
    entries: Mapping[str, int] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Definition:
    """The years, in order."""

    year: tuple[Challenge, ...]


@dataclass(frozen=True)
class Answer:
    """What was predicted of a network, or why nothing was."""

    predicted: Predicted | None = None
    failed: str = ""


def predict(challenge: Challenge, folder: Path, known: dict[str, Any]) -> None:
    """Predict the networks of a year that have no figures yet, one after the other."""
    year = find(challenge.name)
    elsewhere = ("h200",) if challenge.measured else ()
    for row in published(challenge, folder).rows:
        name, number, listed = row.name, row.number or 0, row.memory is not None
        key = f"{challenge.name} {number}"
        if key in known:
            continue
        try:
            asked = question(str(folder), number, year, listed=listed, elsewhere=elsewhere)
            answer = Answer(ask(asked))
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


def published(challenge: Challenge, folder: Path) -> Results:
    """What a year published of each network; of some nothing but the name."""
    names = entries(challenge, folder)
    if challenge.results:
        (table,) = read_results(str(folder / challenge.results), challenge.name)
        rows = {row.name: row for row in table.rows}
        digits = table.digits
    else:
        found = {entry.name: entry for entry in load_reference(challenge.name)}
        rows = {name: as_result(found[name], number) for name, number in names.items()}
        digits = {name: m.factor * 10.0**-m.decimals for name, m in METRICS.items()}
    listed = (rows.get(name, Result(name, number, ())) for name, number in names.items())
    return Results(challenge.name, tuple(listed), digits)


def as_result(entry: Entry, number: int) -> Result:
    """A row of a table that only has means."""
    value = {name: cell.value for name, cell in entry.cells.items()}
    images = SetResult(
        "valid", runtime=value["runtime_ms"], psnr=value.get("psnr_dB"), memory=value["memory"]
    )
    counts = {name: value.get(name) for name in ("params", "flops", "activations", "convs")}
    return Result(entry.name, number, (images,), **counts)


def measured(challenge: Challenge, names: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Peaks of a year's networks on another GPU, by name and profile."""
    if not challenge.measured:
        return {}
    peaks = read_json(RECORDS / challenge.measured / "peaks.json")["peaks"]
    keys = {name: f"{challenge.name.removeprefix('ntire')} {n}" for name, n in names.items()}
    return {name: {"h200": peaks[key]["f32_510"]} for name, key in keys.items() if key in peaks}


def report(challenge: Challenge, folder: Path, known: Mapping[str, Any]) -> None:
    """Write a year's pages and its picture."""
    names = entries(challenge, folder)
    keys = {name: f"{challenge.name} {number}" for name, number in names.items()}
    answers = {name: decode(Answer, known.get(key, _UNKNOWN)) for name, key in keys.items()}
    said = {name: answer.predicted or answer.failed for name, answer in answers.items()}
    table = audit_table(published(challenge, folder), said, measured=measured(challenge, names))
    notes = tuple(filter(None, (*table.notes, challenge.note, find(challenge.name).missing)))
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
    known = read_json(FIGURES) if FIGURES.exists() else {}
    for again in arguments.again:
        known = {key: f for key, f in known.items() if again not in (key, key.partition(" ")[0])}
    for challenge in load_table(Definition, DEFINITION, DEFINITION.name).year:
        folder = arguments.repositories.resolve() / challenge.repository
        with timeout(_SECONDS):
            predict(challenge, folder, known)
        report(challenge, folder, known)


if __name__ == "__main__":
    main()
