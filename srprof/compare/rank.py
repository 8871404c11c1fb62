"""A ranking: models, records of them, tables of results and published fields, in one standing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from srprof.challenge import years
from srprof.challenge.years import YEARS, Sizes, Year
from srprof.compare import scoring as scorings
from srprof.compare.entries import evaluated, measured, predicted, trace_model
from srprof.compare.ranking import METRICS, Entry
from srprof.compare.results import load_reference, load_results
from srprof.cost.profiles import load_profile
from srprof.errors import InputError
from srprof.failures import Failures
from srprof.inputs import parse_size
from srprof.measuring.record import Measurement

if TYPE_CHECKING:
    from srprof.compare.scoring import Scoring, Standing
    from srprof.quality.record import Evaluation

#: What is ranked if nothing is named.
DEFAULT = ("fmen", "fmen_s", "e_rfdn", "imdn")


def rank(
    specs: Sequence[str] = (),
    *,
    input: str | None = None,  # noqa: A002 - as the option and the files call it
    profile: str | None = None,
    memory: str = "allocated",
    scoring: str | None = None,
    reference: str | None = None,
    results: Sequence[str] = (),
    records: Mapping[str, Measurement | Evaluation] | None = None,
) -> Standing:
    """Rank models, tables of results and a published field.

    A year's rules say how FLOPs and memory are counted, where runtime is predicted and which PSNR a
    row must have: those of the published table, else of the scoring, else of 2022.

    Args:
        specs: SPECs; without any, those of the records, else some of the zoo.
        input: size at which every figure is taken; None is the challenge's own for each.
        profile: name or path of the one by which runtime is predicted; None is the year's card.
        memory: the peak that the memory column counts.
        scoring: name of an order; None is the year's main track.
        reference: name of a published table.
        results: files with rows of the user's own.
        records: what was measured of the models, by the files that it was read from.

    Raises:
        InputError: a name, a file or a SPEC is wrong, or a record is of none of the models.
        ModelError: every model raised; one that does so alone is left out (`Standing.failed`).
    """
    given = [entry for path in results for entry in load_results(path)]
    field = load_reference(reference) if reference else ()
    year = years.chosen(reference, scoring)
    how, records = scorings.find(scoring or year.scoring), records or {}
    specs = specs or list(dict.fromkeys(record.spec for record in records.values()))
    specs = specs or (() if given else DEFAULT)
    failures = Failures()
    taken = _Taken(year, _sizes(input, year), profile or year.profile, memory)
    own = _entries(specs, records, taken, failures)
    failures.unless_any(own)
    notes = _beside_published(input, taken) if field else []
    notes += _of_year(year, how) if how.name in YEARS or field else []
    notes += [f"{entry.name}: {note}" for entry in own for note in entry.notes]
    standing = scorings.standing([*own, *given, *field], how, [*notes, *failures.lines()])
    tracks = standing.tracks if year is years.DEFAULT else ()
    return replace(standing, failed=failures.lines(), tracks=tracks)


class _Taken(NamedTuple):
    """How a table's figures are taken."""

    year: Year
    sizes: Sizes
    profile: str
    memory: str


def _sizes(text: str | None, year: Year) -> Sizes:
    """Where figures are taken; HxW without channels, which are the model's."""
    if text is None:
        return year.sizes
    shape = parse_size(text)
    return Sizes(*[shape if text.count("x") > 1 else shape[-2:]] * 3)


def _beside_published(size: str | None, taken: _Taken) -> list[str]:
    """In what the user's rows are not counted as the published ones are."""
    notes = []
    if taken.memory != "allocated":
        what = "Published memory is torch.cuda.max_memory_allocated()"
        notes.append(f"{what}, predicted is {taken.memory}")
    if size is not None:
        notes.append(f"Published figures are of the challenge's images, predicted at {size}")
    if taken.profile != taken.year.profile:
        card = "the challenge's card" if taken.year is years.DEFAULT else f"an {taken.year.gpu}"
        notes.append(f"Published runtimes are of {card}, predicted for {taken.profile}")
    return notes


def _of_year(year: Year, how: Scoring) -> list[str]:
    """What a year asks for, and whether its table is ordered by another's formula."""
    notes = []
    if year.strict:
        floors = " and ".join(f"{value:.2f} dB ({name})" for name, value in year.floors.items())
        notes.append(f"{year.title} ranks what has a PSNR of at least {floors} on DIV2K_LSDIR")
    if how.name in YEARS and how.name != year.name:
        asked = YEARS[how.name]
        if asked.flops != year.flops:
            notes.append(f"FLOPs are those of {year.title}, and {asked.title} counts others")
    return notes


def _entries(
    specs: Sequence[str],
    records: Mapping[str, Measurement | Evaluation],
    taken: _Taken,
    failures: Failures,
) -> list[Entry]:
    """A row for each SPEC that runs, with what the records of it measured."""
    loaded = load_profile(taken.profile)
    entries: dict[str, Entry] = {}
    unused = dict(records)
    for text in specs:
        with failures.alone(text):
            model = trace_model(text, taken.sizes)
        if text in failures:
            unused = {path: record for path, record in unused.items() if record.spec != text}
            continue
        if model.name in entries:
            raise InputError(f"two models are called {model.name!r}: leave one out")
        entry = predicted(model, loaded, taken.memory, taken.year)
        for path, record in records.items():
            if record.spec not in (text, model.name):
                continue
            unused.pop(path, None)
            if isinstance(record, Measurement):
                entry = measured(entry, model, record, path, taken.memory)
            else:
                entry = evaluated(entry, model, record, path)
        entries[model.name] = _admitted(entry, taken.year)
    for path, record in unused.items():
        raise InputError(
            f"--record {path} is of {record.spec}, which is not among the models: name it, or "
            "leave the record out"
        )
    return list(entries.values())


def _admitted(entry: Entry, year: Year) -> Entry:
    """The row, without a place if its PSNR is known and below the year's floor."""
    psnr = entry.cells.get("psnr_dB")
    if psnr is None or year.admits({"valid": psnr.value}):
        return entry
    value, floor = METRICS["psnr_dB"].written(psnr.value), f"{year.floors['valid']:.2f}"
    note = f"no place, its {value} dB are below {floor}, which {year.title} asks for on"
    return replace(entry, ranked=False, notes=(*entry.notes, f"{note} {year.psnr_of}"))
