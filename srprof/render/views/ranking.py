"""A ranking: the challenge's table, each value with its mark and where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from srprof._version import __version__
from srprof.codec import encode, pick
from srprof.compare.ranking import METRICS, Entry, Metric, Origin, RankTable, memory_orders
from srprof.compare.scoring import TRACKS, Placement, Scoring, Standing, find, placements
from srprof.render.document import Cell, Column, Document, Section, Table
from srprof.words import mib, one_line, some

#: Version of the JSON object.
SCHEMA = 1
#: What a narrow terminal can do without first: what says least of how a network runs.
_SPARE = {"convs": 4, "activations": 3, "flops": 2, "params": 1}


def document(standing: Standing, ranks: bool = False) -> Document:
    """The table; `ranks` has the challenge's ranks in brackets, and its tracks.

    JSON is the whole ranking whatever the options; memory in bytes, runtime in ms, PSNR in dB. CSV
    is in these units too, and `srprof rank --from` reads it.
    """
    main = _flat(standing)
    places = places_in_field(standing)
    sections = (section(standing, ranks), *([] if places is None else [places]))
    return Document(sections, lambda: _data(standing, ranks), main=main)


def section(standing: Standing, ranks: bool) -> Section:
    """The ranking as a person reads it."""
    table, entries = standing.table, standing.table.entries
    notes = _Footnotes(entries)
    metrics, scorings = METRICS.values(), [s for s in standing.scorings(ranks) if s.name != "main"]
    cells = [
        _places(standing),
        [Cell(one_line(entry.name), note=notes.of_row(entry)) for entry in entries],
        *(_metric_cells(standing, metric, notes, ranks) for metric in metrics),
        *(_score_cells(table, scoring) for scoring in scorings),
    ]
    columns = (
        Column("#", "number"),
        Column("Model"),
        *(
            Column(
                f"{metric.title} {metric.unit}".strip(), "number", spare=_SPARE.get(metric.name, 0)
            )
            for metric in metrics
        ),
        *(Column(_headed(scoring), "number", spare=5) for scoring in scorings),
    )
    count = "1 model" if len(entries) == 1 else f"{len(entries)} models"
    letters = ("", "", *map(notes.of_column, METRICS), *("" for _ in scorings))
    return Section(
        f"{count} by {standing.scoring.title}: {standing.scoring.how}",
        table=Table(columns, tuple(zip(*cells, strict=True)), letters),
        after=tuple(_notes(standing, ranks)),
        footnotes=notes.listed(),
    )


def _headed(scoring: Scoring) -> str:
    return scoring.title[0].upper() + scoring.title[1:]


def by_cost(entry: Entry) -> bool:
    """Whether nobody knows its quality, so that its place is one by cost alone."""
    return "psnr_dB" not in entry.cells


def _places(standing: Standing) -> list[Cell | None]:
    """Each row's place; of one whose quality is not known it says that it is by cost."""
    rows = zip(standing.scoring.places(standing.table), standing.table.entries, strict=True)
    return [
        None if place is None else Cell(place, f"{place} by cost" if by_cost(entry) else str(place))
        for place, entry in rows
    ]


def _metric_cells(
    standing: Standing, metric: Metric, notes: _Footnotes, with_ranks: bool
) -> list[Cell]:
    table = standing.table
    cells = []
    columns = (table.entries, table.ranks(metric.name), table.marks(metric.name))
    for entry, rank, mark in zip(*columns, strict=True):
        known = entry.cells.get(metric.name)
        text = "-" if known is None else metric.written(known.value)
        if with_ranks and metric.ranked and rank is not None:
            text += f" ({rank})"
        note = notes.of_cell(entry, metric.name)
        cells.append(Cell(known and known.value, text, mark, note))
    return cells


def _score_cells(table: RankTable, scoring: Scoring) -> list[Cell]:
    scored = zip(scoring.score(table), scoring.places(table), strict=True)
    return [
        Cell(score, None if score is None else f"{score:.{scoring.decimals}f} ({place or '-'})")
        for score, place in scored
    ]


class _Footnotes:
    """Letters for origins, at the row where all of it has one, else at the column or the cell."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._letters: dict[Origin, str] = {}
        self._rows = {id(e): _only(cell.origin for cell in e.cells.values()) for e in entries}
        rest = [entry.cells for entry in entries if self._rows[id(entry)] is None]
        self._columns = {m: _only(c[m].origin for c in rest if m in c) for m in METRICS}

    def _letter(self, origin: Origin | None) -> str:
        if origin is None:
            return ""
        return self._letters.setdefault(origin, _letters(len(self._letters)))

    def of_row(self, entry: Entry) -> str:
        return self._letter(self._rows[id(entry)])

    def of_column(self, metric: str) -> str:
        return self._letter(self._columns[metric])

    def of_cell(self, entry: Entry, metric: str) -> str:
        if metric not in entry.cells or self._rows[id(entry)] or self._columns[metric]:
            return ""
        return self._letter(entry.cells[metric].origin)

    def listed(self) -> tuple[tuple[str, str], ...]:
        return tuple((letter, origin_text(origin)) for origin, letter in self._letters.items())


def _only(origins: Iterable[Origin]) -> Origin | None:
    """The origin of all, if they have one."""
    different = set(origins)
    return different.pop() if len(different) == 1 else None


def _letters(index: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    head, last = divmod(index, 26)
    return ("" if head == 0 else _letters(head - 1)) + chr(ord("a") + last)


def origin_text(origin: Origin) -> str:
    """An origin in words."""
    kind = "given by the user" if origin.kind == "given" else origin.kind
    on = "on" if origin.kind == "measured" else "for"
    where = f" {on} {origin.device}" if origin.device else ""
    what = f": {origin.what}" if origin.what else ""
    source = f" ({origin.source})" if origin.source else ""
    return one_line(f"{kind}{where}{what}{source}")


def _notes(standing: Standing, with_ranks: bool) -> list[str]:
    """What must be known of the table, one line each."""
    entries = standing.table.entries
    notes = []
    if with_ranks:
        notes.append(
            "In brackets: the rank, 1 + the number of strictly better rows. The challenge ranks "
            "neither Convs nor PSNR."
        )
    runtimes = (entry.cells[m] for entry in entries for m in ("runtime_ms",) if m in entry.cells)
    mixed = dict.fromkeys(cell.origin.device for cell in runtimes if cell.origin.device)
    if len(mixed) > 1:
        notes.append(f"Runtimes are of different devices ({', '.join(mixed)}) and do not compare.")
    unknown = [one_line(entry.name) for entry in entries if by_cost(entry)]
    if unknown:
        notes.append(
            f"The quality of {some(unknown, 6)} is not known: by cost alone. `srprof evaluate "
            "--format json -o FILE` measures it, and --record FILE puts it in."
        )
    left_out = sum(not entry.ranked for entry in entries)
    if left_out:
        notes.append(f"{left_out} rows without a place take no part, as in their own table.")
    if standing.scoring.caution:
        notes.append(f"{standing.scoring.title}: {standing.scoring.caution}.")
    if standing.scoring.name not in TRACKS:
        notes.append(f"Source of the scoring: {standing.scoring.source}.")
    notes += [f"{note}." for note in standing.notes]
    return notes + memory_lines(entries)


def places_in_field(standing: Standing) -> Section | None:
    """Where each of the user's rows would stand among the published ones; None without any."""
    entries = standing.table.entries
    if not any(entry.reference for entry in entries):
        return None
    ranked = sum(entry.ranked for entry in entries if entry.reference)
    by_costs = {entry.name for entry in entries if by_cost(entry)}
    placed = placements(standing)
    metrics = dict.fromkeys(m for placement in placed for m in placement.ranks)
    tracks = dict.fromkeys(name for placement in placed for name in placement.tracks)
    table = Table.build(
        placed,
        (Column("Model"), lambda placement: _named(placement, by_costs)),
        *((Column(_headed(find(name)), "number"), _place_of("tracks", name)) for name in tracks),
        *(
            (Column(METRICS[m].title, "number", spare=_SPARE.get(m, 0)), _place_of("ranks", m))
            for m in metrics
        ),
    )
    line = f"the place that each would have beside {ranked} ranked rows"
    return Section("Places in the field", (line,), table)


def _named(placement: Placement, by_costs: Collection[str]) -> str:
    """A row's name, and that its quality is not known."""
    name = one_line(placement.name)
    return f"{name} (by cost)" if placement.name in by_costs else name


def _place_of(kind: str, name: str) -> Callable[[Placement], Cell | None]:
    """How a column of places takes one from a placement."""

    def place(placement: Placement) -> Cell | None:
        number = getattr(placement, kind).get(name)
        return None if number is None else Cell(number, ordinal(number))

    return place


def memory_lines(entries: Sequence[Entry]) -> list[str]:
    """The order of the models by each way of counting memory, if the ways differ."""
    orders = memory_orders(entries)
    if len({tuple(name for name, _ in order) for order in orders.values()}) < 2:
        return []
    return [
        f"By memory, {way}: " + ", ".join(f"{one_line(name)} {mib(size)}" for name, size in order)
        for way, order in orders.items()
    ]


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 11th."""
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


# -- for programs ---------------------------------------------------------------------------------


def as_rows(standing: Standing) -> list[dict[str, object]]:
    """A mapping for each row: raw values (bytes, ms, plain counts), ranks, marks and origins."""
    table = standing.table
    ranks = {m: table.ranks(m) for m, metric in METRICS.items() if metric.ranked}
    marks = {m: table.marks(m) for m in METRICS}
    tracks = {
        scoring.name: (scoring.score(table), scoring.places(table))
        for scoring in standing.scorings(tracks=True)
    }
    scores, places = tracks[standing.scoring.name]
    return [
        {
            "name": entry.name,
            "reference": entry.reference or None,
            "ranked": entry.ranked,
            "place": places[i],
            "by_cost": by_cost(entry),
            "score": scores[i],
            **{m: entry.cells[m].value if m in entry.cells else None for m in METRICS},
            "ranks": {m: column[i] for m, column in ranks.items()},
            "marks": {m: column[i] or None for m, column in marks.items()},
            "tracks": {
                name: {"score": score[i], "place": place[i]}
                for name, (score, place) in tracks.items()
            },
            "origins": {m: encode(cell.origin) for m, cell in entry.cells.items()},
            "peaks": dict(entry.peaks) or None,
        }
        for i, entry in enumerate(table.entries)
    ]


def _data(standing: Standing, ranks: bool) -> dict[str, object]:
    references = any(entry.reference for entry in standing.table.entries)
    return {
        "schema": SCHEMA,
        "kind": "srprof ranking",
        "srprof": __version__,
        "scoring": pick(standing.scoring, "name how source"),
        "notes": _notes(standing, ranks),
        "placements": encode(placements(standing)) if references else [],
        "rows": as_rows(standing),
    }


def _flat(standing: Standing) -> Table:
    """One line for each row, with ranks and origins in columns of their own."""
    table = standing.table
    names = {metric: {"memory": "memory_bytes"}.get(metric, metric) for metric in METRICS}
    ranks = {f"rank_{m}": table.ranks(m) for m, metric in METRICS.items() if metric.ranked}
    return Table.of(
        [
            {
                **{key: row[key] for key in ("place", "name", "reference")},
                "ranked": str(row["ranked"]).lower(),
                **{name: row[metric] for metric, name in names.items()},
                "score": row["score"],
                **{name: column[i] for name, column in ranks.items()},
                **{f"origin_{metric}": _origin(entry, metric) for metric in METRICS},
            }
            for i, (row, entry) in enumerate(zip(as_rows(standing), table.entries, strict=True))
        ]
    )


def _origin(entry: Entry, metric: str) -> str | None:
    return origin_text(entry.cells[metric].origin) if metric in entry.cells else None
