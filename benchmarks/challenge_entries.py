"""The networks that reports/challenge/entries.toml lists: which figures there are, and which code.

DIR, the folder of the repositories, has the tree of each year's (`ntire2022`) and, under
`entrants`, those of entrants' own copies (`OWNER+NAME`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from srprof.challenge.results import Result, Results, SetResult, parse_results, read_results
from srprof.challenge.script import SCRIPT
from srprof.challenge.years import Year, find
from srprof.compare.ranking import METRICS, Entry
from srprof.compare.results import REFERENCES, load_reference
from srprof.files import load_table

ROOT = Path(__file__).parents[1]
DEFINITION = ROOT / "reports" / "challenge" / "entries.toml"
#: What entrants published, made by benchmarks/entrants.py.
ENTRANTS = ROOT / "benchmarks" / "records" / "entrants.json"


@dataclass(frozen=True)
class Entrant:
    """A network whose entrant published figures of it.

    Attributes:
        name: as the year's list has it, or its own. number: in `select_model`.
        repository: on GitHub. file: of it, with the figures. row: the network's name there.
        code: the folder of DIR that has its code; by default the entrant's. script: in that.
        flops: by which its script counted, where not as the year's does.
        baseline: the row of the file that was run on the same GPU, if one was.
        not_of: why its runtime and memory are not those of the validation images on a GPU.
    """

    name: str
    number: int
    repository: str
    file: str
    row: str
    code: str = ""
    script: str = SCRIPT
    flops: str = ""
    baseline: str = ""
    not_of: str = ""

    @property
    def folder(self) -> str:
        """Of DIR, that of its repository."""
        return f"entrants/{self.repository.replace('/', '+')}"


@dataclass(frozen=True)
class Challenge:
    """A year of the definition.

    Attributes:
        name: of the year. repository: its folder; results: its results file there, "" for the
            table that srprof has, or none.
        rules: the year by whose rules it counts and measures, if its own are not known.
        measured: a folder of benchmarks/records with peaks of its networks on another GPU.
        entries: numbers in `select_model` by name; {} is the rows of the results file.
        entrant: those who published figures.
        note: what a reader of the page must know.
    """

    name: str
    repository: str = ""
    results: str = ""
    rules: str = ""
    measured: str = ""
    entries: Mapping[str, int] = field(default_factory=dict)
    entrant: tuple[Entrant, ...] = ()
    note: str = ""

    @property
    def year(self) -> Year:
        """Its rules."""
        if not self.rules:
            return find(self.name)
        title = f"NTIRE {self.name.removeprefix('ntire')}"
        return replace(find(self.rules), name=self.name, title=title)


@dataclass(frozen=True)
class Definition:
    """The years, in order."""

    year: tuple[Challenge, ...]


@dataclass(frozen=True)
class Network:
    """A network of a year, and where its code is.

    Attributes:
        result: what is published of it, at least its name.
        folder: of DIR. script: in that. number: in its `select_model`.
        entrant: who published the figures; None if the challenge did, or nobody.
    """

    result: Result
    folder: str
    script: str
    number: int
    entrant: Entrant | None = None

    @property
    def name(self) -> str:
        """As the year's list has it."""
        return self.result.name


def challenges() -> tuple[Challenge, ...]:
    """The years of the definition."""
    return load_table(Definition, DEFINITION, DEFINITION.name).year


def networks(challenge: Challenge, root: Path) -> Iterator[Network]:
    """The networks of a year: an entrant's figures and code stand in its place of the list."""
    entrants = {one.name: one for one in challenge.entrant}
    own = {row.name: row for row in _own(challenge).rows} if entrants else {}
    for result in _of_the_year(challenge, root):
        entrant = entrants.pop(result.name, None)
        if entrant is None:
            yield Network(result, challenge.repository, SCRIPT, result.number or 0)
        else:
            yield _of(entrant, own)
    yield from (_of(entrant, own) for entrant in entrants.values())


def _of(entrant: Entrant, own: Mapping[str, Result]) -> Network:
    result = own[entrant.name]
    # on another GPU than the others' of the table
    sets = tuple(replace(one, runtime=None, psnr=None) for one in result.sets)
    result = replace(result, number=entrant.number, sets=sets)
    folder = entrant.code or entrant.folder
    return Network(result, folder, entrant.script, entrant.number, entrant)


def _own(challenge: Challenge) -> Results:
    """What a year's entrants published."""
    (table,) = parse_results(json.loads(ENTRANTS.read_text()), ENTRANTS.name, challenge.name)
    return table


def baselines(challenge: Challenge) -> Mapping[str, float]:
    """Bytes of the year's baseline on the GPU of an entrant's network, by the network's name."""
    if not challenge.entrant:
        return {}
    rows = json.loads(ENTRANTS.read_text())[challenge.name]
    key = "baseline_memory"
    return {name: row[key] * METRICS["memory"].factor for name, row in rows.items() if key in row}


def _of_the_year(challenge: Challenge, root: Path) -> Iterator[Result]:
    """The year's list, with what the challenge published of each network; of some their names."""
    if challenge.results:
        file = root / challenge.repository / challenge.results
        (table,) = read_results(str(file), challenge.name)
        rows = {row.name: row for row in table.rows}
    elif challenge.name in REFERENCES:
        found = {entry.name: entry for entry in load_reference(challenge.name)}
        rows = {name: _as_result(found[name], n) for name, n in challenge.entries.items()}
    else:
        rows = {}
    names = challenge.entries or {name: row.number or 0 for name, row in rows.items()}
    for name, number in names.items():
        yield rows.get(name, Result(name, number, ()))


def _as_result(entry: Entry, number: int) -> Result:
    """A row of a table that only has means, as they are printed."""
    value = {name: cell.value for name, cell in entry.cells.items()}
    images = SetResult(
        "valid", runtime=value["runtime_ms"], psnr=value.get("psnr_dB"), memory=value["memory"]
    )
    counts = {name: value.get(name) for name in ("params", "flops", "activations", "convs")}
    digits = {name: m.factor * 10.0**-m.decimals for name, m in METRICS.items()}
    return Result(entry.name, number, (images,), **counts, digits=digits)
