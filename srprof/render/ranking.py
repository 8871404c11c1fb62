"""Rankings in every format: one grid of cells, drawn as text, Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

from tabulate import tabulate

from srprof._version import __version__
from srprof.compare.entries import devices_of
from srprof.compare.ranking import METRICS, Entry, Mark, Metric, Origin, memory_orders
from srprof.compare.scoring import Placement, Standing, find, placements
from srprof.words import mib, one_line

#: Version of the JSON object.
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Shown:
    """What a cell shows: its text, its mark, and the letter of its footnote ("" is none)."""

    text: str
    mark: Mark = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A ranking before it is drawn.

    Attributes:
        head, rows: cells; the second column is the model's name, the rest are numbers.
        footnotes: letter and text of every origin. notes: lines under the table.
    """

    title: str
    head: tuple[Shown, ...]
    rows: tuple[tuple[Shown, ...], ...]
    footnotes: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RankingOptions:
    """How to draw.

    Attributes:
        ranks: the challenge's ranks in brackets, and its tracks. color: for a terminal; width: of
            that terminal, in columns.
    """

    ranks: bool = False
    color: bool = False
    width: int = 100


def grid(found: Standing, options: RankingOptions) -> Grid:
    """The cells of a ranking."""
    table, entries = found.table, found.table.entries
    notes = _Footnotes(entries)
    columns: list[tuple[Shown, list[Shown]]] = []
    places = found.scoring.places(table)
    columns.append((Shown("#"), [Shown(_count(place)) for place in places]))
    names = [Shown(one_line(e.name), note=notes.of_row(e)) for e in entries]
    columns.append((Shown("Model"), names))
    for metric in METRICS.values():
        head = Shown(f"{metric.title} {metric.unit}".strip(), note=notes.of_column(metric.name))
        columns.append((head, _metric_cells(found, metric, notes, options.ranks)))
    for scoring in found.scorings(options.ranks):
        if scoring.name != "main":
            scores = scoring.score(table)
            cells = [
                Shown("-" if s is None else f"{s:.{scoring.decimals}f} ({_count(place)})")
                for s, place in zip(scores, scoring.places(table), strict=True)
            ]
            columns.append((Shown(scoring.title.capitalize()), cells))
    return Grid(
        title=f"{_models(len(entries))} by {found.scoring.title}: {found.scoring.how}",
        head=tuple(head for head, _ in columns),
        rows=tuple(zip(*(cells for _, cells in columns), strict=True)),
        footnotes=notes.listed(),
        notes=tuple(_notes(found, options.ranks)),
    )


def _metric_cells(
    found: Standing, metric: Metric, notes: _Footnotes, with_ranks: bool
) -> list[Shown]:
    table = found.table
    cells = []
    columns = (table.entries, table.ranks(metric.name), table.marks(metric.name))
    for entry, rank, mark in zip(*columns, strict=True):
        cell = entry.cells.get(metric.name)
        text = "-" if cell is None else metric.written(cell.value)
        if with_ranks and metric.ranked and rank is not None:
            text += f" ({rank})"
        cells.append(Shown(text, mark, notes.of_cell(entry, metric.name)))
    return cells


class _Footnotes:
    """Letters for origins, at the row where all of it has one, else at the column or the cell."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._letters: dict[Origin, str] = {}
        self._rows = {
            id(entry): origins.pop()
            for entry in entries
            if len(origins := {cell.origin for cell in entry.cells.values()}) == 1
        }
        self._columns: dict[str, Origin] = {}
        for metric in METRICS:
            origins = {
                entry.cells[metric].origin
                for entry in entries
                if id(entry) not in self._rows and metric in entry.cells
            }
            if len(origins) == 1:
                self._columns[metric] = origins.pop()

    def _letter(self, origin: Origin | None) -> str:
        if origin is None:
            return ""
        return self._letters.setdefault(origin, _letters(len(self._letters)))

    def of_row(self, entry: Entry) -> str:
        return self._letter(self._rows.get(id(entry)))

    def of_column(self, metric: str) -> str:
        return self._letter(self._columns.get(metric))

    def of_cell(self, entry: Entry, metric: str) -> str:
        if id(entry) in self._rows or metric in self._columns or metric not in entry.cells:
            return ""
        return self._letter(entry.cells[metric].origin)

    def listed(self) -> tuple[tuple[str, str], ...]:
        return tuple((letter, origin_text(origin)) for origin, letter in self._letters.items())


def _letters(index: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    head, last = divmod(index, 26)
    return ("" if head == 0 else _letters(head - 1)) + chr(ord("a") + last)


def origin_text(origin: Origin) -> str:
    """An origin in words."""
    kind = {"given": "given by the user"}.get(origin.kind, origin.kind)
    where = (
        f" {'on' if origin.kind == 'measured' else 'for'} {origin.device}" if origin.device else ""
    )
    what = f": {origin.what}" if origin.what else ""
    source = f" ({origin.source})" if origin.source else ""
    return one_line(f"{kind}{where}{what}{source}")


def _notes(found: Standing, with_ranks: bool) -> list[str]:
    """What must be known of the table, one line each."""
    entries = found.table.entries
    notes = []
    if with_ranks:
        notes.append(
            "In brackets: the rank, 1 + the number of strictly better rows. The challenge ranks "
            "neither Convs nor PSNR."
        )
    mixed = devices_of(entries, "runtime_ms")
    if len(mixed) > 1:
        notes.append(f"Runtimes are of different devices ({', '.join(mixed)}) and do not compare.")
    left_out = sum(not entry.ranked for entry in entries)
    if left_out:
        notes.append(f"{left_out} rows without a place take no part, as in their own table.")
    if found.scoring.caution:
        notes.append(f"{found.scoring.title}: {found.scoring.caution}.")
    if found.scoring.name not in ("main", "sub1", "sub2"):
        notes.append(f"Source of the scoring: {found.scoring.source}.")
    notes += [f"{note}." for note in found.notes]
    notes += memory_lines(entries)
    if any(entry.reference for entry in entries):
        ranked = sum(entry.ranked for entry in entries if entry.reference)
        notes += [placement_text(p, ranked) for p in placements(found)]
    return notes


def memory_lines(entries: Sequence[Entry]) -> list[str]:
    """The order of the models by each way of counting memory, if the ways differ."""
    orders = memory_orders(entries)
    if len({tuple(name for name, _ in order) for order in orders.values()}) < 2:
        return []
    return [
        f"By memory, {way}: " + ", ".join(f"{one_line(name)} {mib(size)}" for name, size in order)
        for way, order in orders.items()
    ]


def placement_text(placement: Placement, ranked: int) -> str:
    """`net would be 3rd in memory, 11th in params`."""
    parts = [f"{ordinal(r)} in {_spoken(METRICS[m].title)}" for m, r in placement.ranks.items()]
    parts += [f"{ordinal(r)} in {find(name).title}" for name, r in placement.tracks.items()]
    return f"{one_line(placement.name)} would be {', '.join(parts)}, beside {ranked} ranked rows."


def _spoken(title: str) -> str:
    """A column's title within a sentence."""
    return title if title.isupper() or title == "FLOPs" else title.lower()


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 11th."""
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def _models(count: int) -> str:
    return f"{count} model{'' if count == 1 else 's'}"


def _count(place: int | None) -> str:
    return "-" if place is None else str(place)


# -- formats --------------------------------------------------------------------------------------


def ranking_text(found: Standing, options: RankingOptions) -> str:
    """For a terminal with colour, else aligned columns with `*` and `+` as marks."""
    drawn = grid(found, options)
    if options.color:
        try:
            return _rich(drawn, options.width)
        except ImportError:  # rich is not installed on some GPU machines
            pass
    signs = {"best": "*", "second": "+", "": " "}

    def cell(shown: Shown) -> str:
        return f"{shown.text}{signs[shown.mark]}{f'[{shown.note}]' if shown.note else ''}"

    head = [_noted(shown) for shown in drawn.head]
    rows = [[row[0].text, _noted(row[1]), *map(cell, row[2:])] for row in drawn.rows]
    align = ["right", "left", *["right"] * (len(head) - 2)]
    table = tabulate(rows, headers=head, colalign=align, disable_numparse=True)
    legend = ["* best, + second best. " + _WHERE] if drawn.rows else []
    return "\n".join([drawn.title, "", table, "", *legend, *_under(drawn)]) + "\n"


_WHERE = "Letters, at a value, else its row, else its column, say where it comes from:"


def _noted(shown: Shown) -> str:
    return f"{shown.text} [{shown.note}]" if shown.note else shown.text


def _under(drawn: Grid) -> list[str]:
    lines = [f"[{letter}] {text}" for letter, text in drawn.footnotes]
    return [*lines, *([""] if drawn.notes else []), *drawn.notes]


def _rich(drawn: Grid, width: int) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, highlight=False, markup=False)
    console.print(drawn.title, style="bold")
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for index, head in enumerate(drawn.head):
        table.add_column(Text(_noted(head)), justify="left" if index == 1 else "right")
    styles = {"best": "bold green", "second": "underline cyan", "": ""}
    for row in drawn.rows:
        table.add_row(*(Text(_noted(shown), style=styles[shown.mark]) for shown in row))
    console.print(table)
    best, second = Text("best", styles["best"]), Text("second best", styles["second"])
    console.print(best, second, Text(_WHERE), sep="  ")
    for line in _under(drawn):
        console.print(line, style="dim" if line.startswith("[") else None)
    return out.getvalue()


def ranking_markdown(found: Standing, options: RankingOptions) -> str:
    """A pipe table; the best in bold, the second best underlined."""
    drawn = grid(found, options)
    wrap = {"best": "**{}**", "second": "<u>{}</u>", "": "{}"}

    def cell(shown: Shown) -> str:
        note = f"<sup>{shown.note}</sup>" if shown.note else ""
        return wrap[shown.mark].format(_markdown(shown.text)) + note

    align = ["right", "left", *["right"] * (len(drawn.head) - 2)]
    table = tabulate(
        [list(map(cell, row)) for row in drawn.rows],
        headers=list(map(cell, drawn.head)),
        tablefmt="pipe",
        colalign=align,
        disable_numparse=True,
    )
    where = _WHERE.removesuffix(":")
    lines = [f"**Best**, <u>second best</u>. {where}.", ""]
    lines += [f"- <sup>{letter}</sup> {_markdown(text)}" for letter, text in drawn.footnotes]
    if drawn.notes:
        lines += ["", *(f"- {_markdown(note)}" for note in drawn.notes)]
    return "\n".join([f"### {_markdown(drawn.title)}", "", table, "", *lines]) + "\n"


def _markdown(text: str) -> str:
    """Text that opens no tag, cell or emphasis; `_` within a word is none."""
    safe = escape(text, quote=False)
    for sign in "\\|*`[":
        safe = safe.replace(sign, f"\\{sign}")
    return safe


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def latex_escaped(text: str) -> str:
    """Text without LaTeX's own signs."""
    return "".join(_LATEX.get(sign, sign) for sign in text)


def ranking_latex(found: Standing, options: RankingOptions) -> str:
    r"""A booktabs table (`\usepackage[T1]{fontenc}`, `booktabs`, `graphicx`)."""
    drawn = grid(found, options)
    wrap = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "": "%s"}

    def cell(shown: Shown) -> str:
        note = rf"\textsuperscript{{{shown.note}}}" if shown.note else ""
        return wrap[shown.mark] % latex_escaped(shown.text) + note

    def line(cells: Sequence[Shown]) -> str:
        return "    " + " & ".join(map(cell, cells)) + r" \\"

    notes = [
        rf"  \textsuperscript{{{letter}}}~{latex_escaped(text)}."
        for letter, text in drawn.footnotes
    ]
    parts = [
        r"% \usepackage[T1]{fontenc}, \usepackage{booktabs}, \usepackage{graphicx}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{latex_escaped(drawn.title)}. \textbf{{Best}}, \underline{{second best}}.}}",
        r"  \resizebox{\linewidth}{!}{%",
        rf"  \begin{{tabular}}{{rl{'r' * (len(drawn.head) - 2)}}}",
        r"    \toprule",
        line(drawn.head),
        r"    \midrule",
        *map(line, drawn.rows),
        r"    \bottomrule",
        r"  \end{tabular}}",
        r"  \par\smallskip\raggedright\footnotesize",
        *notes,
        *(f"  {latex_escaped(note)}" for note in drawn.notes),
        r"\end{table}",
    ]
    return "\n".join(parts) + "\n"


def as_rows(found: Standing) -> list[dict[str, Any]]:
    """A mapping for each row: raw values (bytes, ms, plain counts), ranks, marks and origins."""
    table = found.table
    ranks = {m: table.ranks(m) for m, metric in METRICS.items() if metric.ranked}
    marks = {m: table.marks(m) for m in METRICS}
    tracks = {
        scoring.name: (scoring.score(table), scoring.places(table))
        for scoring in found.scorings(tracks=True)
    }
    scores, places = tracks[found.scoring.name]
    return [
        {
            "name": entry.name,
            "reference": entry.reference or None,
            "ranked": entry.ranked,
            "place": places[i],
            "score": scores[i],
            **{m: entry.cells[m].value if m in entry.cells else None for m in METRICS},
            "ranks": {m: column[i] for m, column in ranks.items()},
            "marks": {m: column[i] or None for m, column in marks.items()},
            "tracks": {
                name: {"score": score[i], "place": place[i]}
                for name, (score, place) in tracks.items()
            },
            "origins": {m: asdict(cell.origin) for m, cell in entry.cells.items()},
            "peaks": dict(entry.peaks) or None,
        }
        for i, entry in enumerate(table.entries)
    ]


def ranking_json(found: Standing, options: RankingOptions) -> str:
    """The whole table whatever the options; memory in bytes, runtime in ms, PSNR in dB."""
    scoring = found.scoring
    data = {
        "schema": SCHEMA,
        "kind": "srprof ranking",
        "srprof": __version__,
        "scoring": {"name": scoring.name, "how": scoring.how, "source": scoring.source},
        "notes": _notes(found, options.ranks),
        "placements": [asdict(p) for p in placements(found)]
        if any(entry.reference for entry in found.table.entries)
        else [],
        "rows": as_rows(found),
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def ranking_csv(found: Standing, options: RankingOptions) -> str:
    """One line for each row, in the units of JSON; `srprof rank --from` reads it."""
    rows = as_rows(found)
    names = {m: {"memory": "memory_bytes"}.get(m, m) for m in METRICS}
    ranked = [m for m, metric in METRICS.items() if metric.ranked]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ["place", "name", "reference", "ranked", *names.values(), "score"]
    head += [f"rank_{m}" for m in ranked] + [f"origin_{m}" for m in METRICS]
    writer.writerow(head)
    for row, entry in zip(rows, found.table.entries, strict=True):
        origins = [origin_text(entry.cells[m].origin) if m in entry.cells else "" for m in METRICS]
        values = [row["place"], row["name"], row["reference"], str(row["ranked"]).lower()]
        values += [row[m] for m in names] + [row["score"]]
        values += [row["ranks"][m] for m in ranked]
        writer.writerow(["" if v is None else v for v in [*values, *origins]])
    return out.getvalue()


FORMATS: Mapping[str, Callable[[Standing, RankingOptions], str]] = {
    "text": ranking_text,
    "markdown": ranking_markdown,
    "latex": ranking_latex,
    "json": ranking_json,
    "csv": ranking_csv,
}
