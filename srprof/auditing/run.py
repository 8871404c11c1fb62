"""`srprof.audit`: a results file held against its own lists, and against its networks' code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np

from srprof.auditing import explaining
from srprof.auditing.apart import Question, ask
from srprof.auditing.orders import RESAMPLES, orders, turned
from srprof.auditing.record import (
    Audit,
    MemoryAudit,
    Predicted,
    RowAudit,
    Standing,
    TableAudit,
    TimesAudit,
)
from srprof.auditing.times import FEWEST, slow
from srprof.challenge.results import SETS, Result, Results, SetResult, read_results
from srprof.challenge.script import SCRIPT, check_script
from srprof.challenge.years import LATEST, YEARS, Year
from srprof.errors import InputError, ModelError
from srprof.progress import Progress, silent
from srprof.timeout import limit

Answer = Predicted | str


def audit(
    results: str,
    models: str | None = None,
    *,
    script: str = SCRIPT,
    year: str | None = None,
    only: Sequence[int] = (),
    progress: Progress = silent,
) -> Audit:
    """Hold a results file against its own lists, and against the code of its networks.

    Args:
        results: a results.json of the challenge's, also packed (`.gz`), or one by year.
        models: folder of the repository that made it; None asks the file alone. script: the path
            from there of what has `select_model`.
        year: of which year the file is, `ntire2026`, or which of a file by year.
        only: numbers of networks to run; () is all.

    Raises:
        InputError: the file, the year, the folder or the script is wrong.
    """
    tables = read_results(results, year)
    if models is not None:
        check_script(Path(models), script)
        if len(tables) > 1:
            years = ", ".join(table.year for table in tables)
            raise InputError(f"{results} has {years}: say with --year of which --models is")
    return Audit(
        results, tuple(_audited(table, models, script, only, progress) for table in tables)
    )


def _audited(
    table: Results, models: str | None, script: str, only: Sequence[int], progress: Progress
) -> TableAudit:
    year = YEARS.get(table.year)
    answers: dict[str, Answer] = {}
    if models is not None:
        answers = dict(_answers(table, models, script, year, only, progress))
    return audit_table(table, answers, script)


def _answers(
    table: Results,
    models: str,
    script: str,
    year: Year | None,
    only: Sequence[int],
    progress: Progress,
) -> Iterator[tuple[str, Answer]]:
    """What is predicted of each row, or why nothing is."""
    chosen = [row for row in table.rows if not only or row.number in only]
    if not chosen:
        raise InputError(f"--only {', '.join(map(str, only))}: no row has such a number")
    for done, row in enumerate(chosen):
        progress(row.name, done, len(chosen))
        if row.number is None:
            yield row.name, "its name does not begin with a number of select_model"
            continue
        try:
            yield (
                row.name,
                ask(question(models, row.number, year, script, listed=row.memory is not None)),
            )
        except ModelError as error:
            yield row.name, str(error)


def question(
    repository: str,
    number: int,
    year: Year | None,
    script: str = SCRIPT,
    *,
    listed: bool = False,
    elsewhere: tuple[str, ...] = (),
) -> Question:
    """What is asked of a network, as its year counts, times and measures.

    Without a year no runtime is predicted; counts and images are those of the latest. `listed` runs
    a list of images, and `elsewhere` are profiles whose memory is asked for too.
    """
    of = year or LATEST
    counts, runtime, (height, width) = (size[-2:] for size in of.sizes)
    return Question(
        repository=repository,
        script=script,
        number=number,
        flops=of.flops,
        counts=(counts[0], counts[1]),
        memory=(1, 3, height, width),
        runtime=(runtime[0], runtime[1]),
        profile=None if year is None else year.profile,
        workspace=of.script.workspace,
        listed=listed,
        elsewhere=elsewhere,
        seconds=limit(),
    )


def audit_table(
    table: Results,
    answers: Mapping[str, Answer],
    script: str = SCRIPT,
    measured: Mapping[str, Mapping[str, int]] | None = None,
    rules: Mapping[str, str] | None = None,
    year: Year | None = None,
) -> TableAudit:
    """A table's audit, a pure function.

    Args:
        answers: by name what is predicted, or why nothing is. script: that calls the networks.
        measured: by name peaks of the largest image, by the profile of the device.
        rules: by name, of `Predicted.by_rule`, that of the GPU which the row's peak is of.
        year: whose rules hold; by default the table's.
    """
    year = year or YEARS.get(table.year)
    of_rows = zip(table.rows, _times(table.rows), strict=True)
    told = _Told(year, script, measured or {}, rules or {})
    rows = [_row(row, times, answers.get(row.name), told) for row, times in of_rows]
    found = orders(table.rows, rows, year)
    standings: list[dict[str, Standing]] = [{} for _ in rows]
    for name, order in found.items():
        for row, standing in order.standings.items():
            standings[row][name] = standing
    return TableAudit(
        year=table.year,
        title=table.year if year is None else year.title,
        rows=tuple(replace(row, standings=s) for row, s in zip(rows, standings, strict=True)),
        unsettled=tuple(pair for order in found.values() for pair in order.unsettled),
        turned=tuple(turned(rows, found)),
        profile=year.profile if year is not None and answers else "",
        notes=tuple(_notes(table, rows, year, answers)),
    )


def _times(rows: Sequence[Result]) -> list[tuple[TimesAudit, ...]]:
    """Each row's times, held against those of the rows that ran the same images."""
    found: dict[tuple[int, str], TimesAudit] = {}
    for name in SETS:
        sets = {n: one for n, row in enumerate(rows) for one in row.sets if one.name == name}
        for length in {len(one.times) for one in sets.values()}:
            same = {n: one for n, one in sets.items() if len(one.times) == length}
            found |= {
                (n, name): audited for n, audited in zip(same, _of(same.values()), strict=True)
            }
    return [tuple(found[n, one.name] for one in row.sets) for n, row in enumerate(rows)]


def _of(sets: Iterable[SetResult]) -> Iterator[TimesAudit]:
    """Sets of as many images."""
    sets = list(sets)
    if not sets[0].times:
        yield from (TimesAudit(one.name, 0, one.runtime) for one in sets)
        return
    for one, found in zip(sets, slow(np.array([one.times for one in sets])), strict=True):
        rest = one.times[1:] if found.cold else one.times
        inliers = [t for n, t in enumerate(one.times) if n not in found.outliers]
        yield TimesAudit(
            name=one.name,
            images=len(one.times),
            stated=one.runtime,
            mean=fmean(one.times),
            first=one.times[0],
            expected=found.expected,
            cold=found.cold,
            without_first=fmean(rest or one.times),
            outliers=found.outliers,
            without_outliers=fmean(inliers[found.cold :] or one.times),
        )


class _Told(NamedTuple):
    """What is told beside the rows: the year, the script, peaks elsewhere, rules of scratch."""

    year: Year | None
    script: str
    measured: Mapping[str, Mapping[str, int]]
    rules: Mapping[str, str]


def _row(
    row: Result, times: tuple[TimesAudit, ...], answer: Answer | None, told: _Told
) -> RowAudit:
    predicted = answer if isinstance(answer, Predicted) else None
    memory = None
    if predicted is not None and row.memory is not None:
        digit, rule = row.digits.get("memory", 1.0), told.rules.get(row.name, "")
        memory = explaining.memory(row.memory, predicted, told.script, digit, rule)
    return RowAudit(
        name=row.name,
        number=row.number,
        times=times,
        ranked=_ranked(row, told.year),
        counts=() if predicted is None else explaining.counts(row, predicted),
        memory=memory,
        elsewhere={}
        if predicted is None
        else _elsewhere(told.measured.get(row.name, {}), predicted),
        predicted=predicted,
        failed=answer if isinstance(answer, str) else "",
        findings=tuple(explaining.findings(row, times, predicted, memory)),
    )


def _elsewhere(measured: Mapping[str, int], predicted: Predicted) -> dict[str, MemoryAudit]:
    """Peaks of the largest image on other devices, beside the predicted ones.

    None of a network in tiles: nobody else runs it so.
    """
    return {
        name: MemoryAudit(nbytes, predicted.elsewhere[name], "image")
        for name, nbytes in measured.items()
        if name in predicted.elsewhere and not predicted.tiled
    }


def _ranked(row: Result, year: Year | None) -> bool | None:
    """Whether its PSNR is at the year's floors; None of a year whose table says who is ranked."""
    psnr = {one.name: one.psnr for one in row.sets if one.psnr is not None}
    if year is None or not year.weights or not psnr:
        return None
    return year.admits(psnr)


def _notes(
    table: Results, rows: Sequence[RowAudit], year: Year | None, answers: Mapping[str, Answer]
) -> Iterator[str]:
    if any(row.times and row.times[0].images for row in rows):
        yield (
            "An image should take what that row's other images took which take the other rows as "
            "long; more than twice that, beyond the row's noise, is out of line. A first image is "
            "cold if it exceeds that by more than any other."
        )
        if len(rows) < FEWEST:
            yield (
                f"With fewer than {FEWEST} rows a large image cannot be told from a slow one: each "
                "is held against the row's median."
            )
        yield (
            f"Intervals hold 95 % of {RESAMPLES:,} resamples of the images, drawn alike for all "
            "rows; an order is not settled where more than 2.5 % of them turn it."
        )
    if year is None:
        known = ", ".join(YEARS)
        yield (
            "Which year's results these are is not known, so there are no scores, no floor of "
            f"PSNR and no predicted runtimes: give --year ({known})."
        )
    if answers:
        at = "x".join(map(str, (year or LATEST).sizes.memory))
        yield (
            "Memory is that of a program that runs DIV2K's 100 test images, whose sizes are "
            f"public, and then one of {at}, the largest to be validated; or of what runs while "
            "the script builds the network. It is explained between what the image requests and "
            "what a fresh program allocates for it. Without weights, on no GPU."
        )
