"""A ranking: models, records of them, tables of results and published fields, in one standing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from srprof.compare import scoring as scorings
from srprof.compare.entries import CHALLENGE, Sizes, evaluated, measured, predicted, trace_model
from srprof.compare.ranking import Entry
from srprof.compare.results import load_reference, load_results
from srprof.cost.profiles import load_profile
from srprof.errors import InputError
from srprof.failures import Failures
from srprof.inputs import parse_size
from srprof.measuring.record import Measurement

if TYPE_CHECKING:
    from srprof.compare.scoring import Standing
    from srprof.quality.record import Evaluation

#: What is ranked if nothing is named.
DEFAULT = ("fmen", "fmen_s", "e_rfdn", "imdn")
#: The card of the challenge, whose runtimes are published.
CARD = "ntire2022"


def rank(
    specs: Sequence[str] = (),
    *,
    input: str | None = None,  # noqa: A002 - as the option and the files call it
    profile: str | None = None,
    memory: str = "allocated",
    scoring: str = "main",
    reference: str | None = None,
    results: Sequence[str] = (),
    records: Mapping[str, Measurement | Evaluation] | None = None,
) -> Standing:
    """Rank models, tables of results and a published field.

    Args:
        specs: SPECs; without any, those of the records, else some of the zoo.
        input: size at which every figure is taken; None is the challenge's own for each.
        profile: name or path of the one by which runtime is predicted; None is its card.
        memory: the peak that the memory column counts.
        scoring, reference: names of an order, and of a published table.
        results: files with rows of the user's own.
        records: what was measured of the models, by the files that it was read from.

    Raises:
        InputError: a name, a file or a SPEC is wrong, or a record is of none of the models.
        ModelError: every model raised; one that does so alone is left out (`Standing.failed`).
    """
    how, records, profile = scorings.find(scoring), records or {}, profile or CARD
    given = [entry for path in results for entry in load_results(path)]
    field = load_reference(reference) if reference else ()
    specs = specs or list(dict.fromkeys(record.spec for record in records.values()))
    specs = specs or (() if given else DEFAULT)
    failures = Failures()
    own = _entries(specs, records, _sizes(input), profile, memory, failures)
    failures.unless_any(own)
    notes = _beside_published(input, profile, memory) if field else []
    notes += [f"{entry.name}: {note}" for entry in own for note in entry.notes]
    standing = scorings.standing([*own, *given, *field], how, [*notes, *failures.lines()])
    return replace(standing, failed=failures.lines())


def _sizes(text: str | None) -> Sizes:
    """Where figures are taken; HxW without channels, which are the model's."""
    if text is None:
        return CHALLENGE
    shape = parse_size(text)
    return Sizes(*[shape if text.count("x") > 1 else shape[-2:]] * 3)


def _beside_published(size: str | None, profile: str, memory: str) -> list[str]:
    """In what the user's rows are not counted as the published ones are."""
    notes = []
    if memory != "allocated":
        what = "Published memory is torch.cuda.max_memory_allocated()"
        notes.append(f"{what}, predicted is {memory}")
    if size is not None:
        notes.append(f"Published figures are of the challenge's images, predicted at {size}")
    if profile != CARD:
        notes.append(f"Published runtimes are of the challenge's card, predicted for {profile}")
    return notes


def _entries(
    specs: Sequence[str],
    records: Mapping[str, Measurement | Evaluation],
    sizes: Sizes,
    profile: str,
    memory: str,
    failures: Failures,
) -> list[Entry]:
    """A row for each SPEC that runs, with what the records of it measured."""
    loaded = load_profile(profile)
    entries: dict[str, Entry] = {}
    unused = dict(records)
    for text in specs:
        with failures.alone(text):
            model = trace_model(text, sizes)
        if text in failures:
            unused = {path: record for path, record in unused.items() if record.spec != text}
            continue
        if model.name in entries:
            raise InputError(f"two models are called {model.name!r}: leave one out")
        entry = predicted(model, loaded, memory)
        for path, record in records.items():
            if record.spec not in (text, model.name):
                continue
            unused.pop(path, None)
            if isinstance(record, Measurement):
                entry = measured(entry, model, record, path, memory)
            else:
                entry = evaluated(entry, model, record, path)
        entries[model.name] = entry
    for path, record in unused.items():
        raise InputError(
            f"--record {path} is of {record.spec}, which is not among the models: name it, or "
            "leave the record out"
        )
    return list(entries.values())
