"""A report from its definition: the record, and the folder that it becomes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from srprof.codec import encode, made_of
from srprof.compare.scoring import Standing
from srprof.errors import InputError
from srprof.failures import Failures
from srprof.files import read_json
from srprof.progress import Progress, silent
from srprof.render.document import Document, Section
from srprof.render.writers import render
from srprof.report import tables
from srprof.report.definition import Definition
from srprof.report.record import KIND, RankedCell, Ranking, ReportRecord, make_record
from srprof.temporary import clear, replace_folder, temporary

#: Files that every report has; figures come on top.
PAGE, DATA, MARKDOWN, LATEX = "index.html", "data.json", "table.md", "table.tex"


@dataclass(frozen=True)
class Report:
    """A report before it is written: its record, and the ranking as it is shown if it has one.

    `places` are those of its models in the field, if it has published rows too.
    """

    record: ReportRecord
    ranking: Section | None
    places: Section | None = None


def build(definition: Definition, command: str, progress: Progress = silent) -> Report:
    """Say all that the report shows, as `make_record` does; raises if every model did."""
    failures = Failures()
    record = make_record(definition, command, failures, progress)
    failures.unless_any(record.models)
    shown = places = None
    if "ranking" in definition.sections:
        from srprof.render.views.ranking import as_rows, places_in_field, section

        standing = _standing(definition, failures, progress)
        shown, places = section(standing, ranks=True), places_in_field(standing)
        record = replace(record, ranking=_ranking(shown, as_rows(standing)))
    return Report(replace(record, failed=failures.lines()), shown, places)


def _ranking(shown: Section, values: Sequence[Mapping[str, object]]) -> Ranking:
    assert shown.table is not None
    cells = [
        tuple(made_of(RankedCell, cell, text=cell.text or "") for cell in row)
        for row in (shown.table.heads(), *shown.table.cells())
    ]
    return made_of(
        Ranking,
        shown,
        head=cells[0],
        rows=tuple(cells[1:]),
        notes=shown.after,
        values=tuple(values),
    )


def _standing(definition: Definition, failures: Failures, progress: Progress) -> Standing:
    """The challenge's table of the report's models and references; raises if it has no model."""
    from srprof.challenge.years import chosen
    from srprof.compare import scoring
    from srprof.compare.entries import predicted, trace_model
    from srprof.compare.results import load_reference
    from srprof.cost.profiles import load_profile

    year = chosen(*definition.references)
    profile = load_profile(definition.profiles[0] if definition.profiles else year.profile)
    own, models = [], [model for model in definition.models if model.spec not in failures]
    for done, model in enumerate(models):
        progress(f"ranking {model.name}", done, len(models))
        with failures.alone(model.spec):
            entry = predicted(trace_model(model.spec, year.sizes), profile, "allocated", year)
            own.append(replace(entry, name=model.name))
    failures.unless_any(own)
    field = [entry for name in definition.references for entry in load_reference(name)]
    return scoring.standing([*own, *field], scoring.find(year.scoring))


def _document(report: Report) -> Document:
    """The report's tables, for a README and for a paper."""
    record = report.record
    ranking = filter(None, (report.ranking, report.places))
    peaks = Section(f"Peak memory at {record.input}", table=tables.peaks(record))
    return Document(
        (
            Section(
                record.title, (*filter(None, (record.note, tables.facts(record))), *record.failed)
            ),
            *ranking,
            *map(tables.comparison, record.shown_tables),
            *((peaks,) if "peaks" in record.sections else ()),
        )
    )


def markdown(report: Report) -> str:
    """The report's tables and figures for a README."""
    from srprof.report.figures import drawings

    names = drawings(report.record)
    pictures = "\n".join(f"![{name.replace('_', ' ')}]({name}.svg)\n" for name in names)
    return render(_document(report), "markdown") + (f"\n## Figures\n\n{pictures}" if names else "")


def latex(report: Report) -> str:
    """The report's tables for a paper."""
    return render(_document(report), "latex")


def data_json(record: ReportRecord) -> str:
    """The record, one line for each node and each row, so that a change can be read."""
    return _lines(encode(record), 0) + "\n"


def _lines(value: Any, depth: int) -> str:
    """JSON whose lists of plain values stay on one line."""
    nested = isinstance(value, (dict, list)) and any(
        isinstance(item, (dict, list))
        for item in (value.values() if isinstance(value, dict) else value)
    )
    if not nested:
        return json.dumps(value, allow_nan=False)
    pad, end = " " * (depth + 1), " " * depth
    if isinstance(value, dict):
        items = [f"{pad}{json.dumps(key)}: {_lines(v, depth + 1)}" for key, v in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{end}}}"
    return "[\n" + ",\n".join(pad + _lines(item, depth + 1) for item in value) + f"\n{end}]"


# -- the folder -----------------------------------------------------------------------------------


def check_folder(folder: Path) -> None:
    """An InputError if a folder is somebody else's, or cannot be made, before any work is done."""
    parent = folder.absolute().parent
    if not parent.is_dir():
        raise InputError(f"-o {folder}: there is no folder {str(parent)!r}; make it first")
    if not os.access(parent, os.W_OK):
        raise InputError(f"-o {folder}: no permission to write in {str(parent)!r}")
    clear(parent)
    if not (folder.exists() or folder.is_symlink()):
        return
    if not folder.is_dir() or folder.is_symlink():
        raise InputError(f"-o {folder}: that is no folder; choose another name")
    there = {path.name for path in folder.iterdir()}
    if not there:
        return
    written = _files_of(folder / DATA)
    if written is None:
        raise InputError(f"-o {folder}: in use by something that is no report; choose another name")
    strange = sorted(there - written)
    if strange:
        what = f"it holds {strange[0]!r}, which is not of the report there"
        raise InputError(f"-o {folder}: {what}; move it away, or choose another name")


def _files_of(data: Path) -> set[str] | None:
    """The files that a report's data names as its own; None if it is no report."""
    try:
        record = read_json(data)
        return set(record["files"]) if record["kind"] == KIND else None
    except (InputError, KeyError, TypeError):
        return None


def write_report(report: Report, folder: Path) -> tuple[str, ...]:
    """Write a report into a temporary folder beside its place, and put it there (`replace_folder`).

    Gives the names of the files; an InputError if it is in use, or the system refuses.
    """
    from srprof.report.figures import drawings, save
    from srprof.report.page import page

    check_folder(folder)
    figures = drawings(report.record)
    names = [PAGE, DATA, MARKDOWN, LATEX]
    names += [f"{name}.{ending}" for name in figures for ending in ("svg", "png")]
    texts = {
        PAGE: page(report),
        DATA: data_json(replace(report.record, files=tuple(names))),
        MARKDOWN: markdown(report),
        LATEX: latex(report),
    }
    target = folder.absolute()
    try:
        with temporary(target.parent, is_folder=True) as place:
            fresh = place / "report"
            fresh.mkdir()  # with the permissions of any folder, which a temporary one has not
            for name, content in texts.items():
                (fresh / name).write_text(content, encoding="utf-8", errors="backslashreplace")
            for name, drawing in figures.items():
                save(drawing, fresh / name)
            replace_folder(fresh, target)
    except OSError as error:
        raise InputError(f"-o {folder}: cannot be written: {error.strerror}") from error
    return tuple(names)
