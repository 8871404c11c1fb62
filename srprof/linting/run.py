"""`srprof.lint`: what an entrant wants to know of an entry before it is sent."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from srprof.advising.run import advise
from srprof.analysis import Analysis
from srprof.blame import first_line
from srprof.call import Call
from srprof.challenge.years import LATEST, Year, find
from srprof.cost.profiles import load_profile
from srprof.errors import InputError, SrprofError, user_raised
from srprof.linting import checks, trial, worth
from srprof.linting.checks import Code, Trial
from srprof.linting.entry import Entry, read_entry
from srprof.linting.imports import Need, needs, operators
from srprof.linting.record import Check, Finding, Lint, Standing, passed, skipped
from srprof.progress import Progress, silent
from srprof.quality.record import FILE, Evaluation
from srprof.words import one_line

if TYPE_CHECKING:
    from torch import nn

#: Of the challenges' images.
SCALE = 4
#: LR images that a network must take: one of a challenge's, and one smaller than any window.
SIZES = ((339, 510), (5, 7))
#: What is done, as a progress line says it.
_STEPS = (
    "building it without a GPU and without network",
    "running it on meta tensors",
    "loading its weights",
    "running it at odd sizes",
    "running it on a picture",
    "pricing what srprof advise finds",
)


def lint(
    entry: str,
    *,
    weights: str | None = None,
    script: str | None = None,
    team: int | None = None,
    year: str | None = None,
    scale: int | None = None,
    records: Sequence[str] = (),
    edits: bool = True,
    progress: Progress = silent,
) -> Lint:
    """Hold an entry against what a challenge asks of one, before it is sent.

    Args:
        entry: a SPEC; or a file of a challenge's repository alone, with
        script: the repository's program that builds it (`test_demo.py`), and
        team: its number there, where that is not clear from the file.
        weights: a checkpoint for a SPEC.
        year: whose rules, floors and score are meant (`srprof.challenge.years`); None is the last.
        scale: of the images, 4 by default.
        records: files that `srprof evaluate --format json` wrote of the entry.
        edits: price what `srprof.advise` finds.
        progress: called with what is being done, and how many parts are done, of how many.

    Raises:
        InputError: the entry, the script, the year or a record is wrong; what the entry's own code
            does wrong is a finding.
    """
    rules = LATEST if year is None else find(year)
    factor = SCALE if scale is None else scale
    if factor < 1:
        raise InputError(f"scale {factor}: give a whole number of at least 1")
    read = read_entry(entry, weights, script, team)
    evaluations = {path: FILE.load(path) for path in records}

    steps = enumerate(_STEPS)

    def begin() -> None:
        done, what = next(steps)
        progress(what, done, len(_STEPS))

    notes: list[str] = []
    begin()
    tried = _built(read, notes)
    begin()
    counts, timed = _analyses(read, rules, tried, notes)
    if timed is not None and (built := timed.record.memory.allocator.constructor) is not None:
        tried = replace(tried, held=built.passes)
    begin()
    model, loading = _weights(read, tried)
    begin()
    size = _size(read, tried, factor)
    begin()
    trained = all(finding.status == "passed" for finding in loading)
    values = _values(read, tried, model, factor, trained)
    ran = None if counts is None else counts.trace
    measured = [(path, _images(e, rules), e.psnr_of(ran, path)) for path, e in evaluations.items()]
    begin()
    standing, unscored = _standing(read, rules, counts, timed, edits, notes)
    return Lint(
        entry=entry,
        name=read.name,
        file="" if read.source is None else read.source.file,
        script="" if read.program is None else read.program.source.file,
        team=None if read.program is None else read.program.team,
        year=rules.name,
        scale=factor,
        checks=(
            *_of_source(read, rules, tried),
            Check("weights", "weights load strictly", tuple(loading)),
            size,
            Check("values", "finite values of 0 to 1 or 255", (values,)),
            checks.quality(rules, measured),
        ),
        standing=standing,
        unscored=unscored,
        notes=tuple(dict.fromkeys(notes)),
    )


def _built(entry: Entry, notes: list[str]) -> Trial:
    """What came of building it without a GPU, and then with a stand-in for one."""
    alone = trial.build_alone(entry)
    error = alone.error
    if error is not None:
        where = getattr(error, "file", ""), getattr(error, "line", 0)
        return Trial(one_line(error), *where, alone.missing, alone.refused)
    try:
        passes = trial.constructor_passes(entry)
    except SrprofError as raised:
        notes.append(f"with a stand-in for a GPU it is not built: {one_line(raised)}")
        return Trial(refused=alone.refused)
    return Trial(refused=alone.refused, followed=True, passes=passes)


def _analyses(
    entry: Entry, year: Year, tried: Trial, notes: list[str]
) -> tuple[Analysis | None, Analysis | None]:
    """At the image of the year's counts, and at that of its runtime; None if it does not run."""
    if tried.error:
        return None, None
    try:
        counts = trial.analyzed(entry, year.sizes.counts)
        timed = trial.analyzed(entry, year.sizes.runtime, load_profile(year.profile))
    except SrprofError as error:
        notes.append(f"it does not run: {one_line(error)}")
        return None, None
    notes += [part.text for part in timed.trace.unseen]
    return counts, timed


def _of_source(entry: Entry, year: Year, tried: Trial) -> Iterator[Check]:
    """What its file says, together with what came of it."""
    source, program = entry.source, entry.program
    code = None
    found: list[Need] = []
    if source is not None:
        by_script = () if program is None else (program.source, program.part)
        code, found = Code(source, entry.parts, *by_script), needs(source, entry.folders)
        yield checks.one_file(code, found)
        yield checks.packages(code, found)
    yield checks.builds(code, tried, found)
    yield checks.without_gpu(code, tried)
    yield checks.without_network(code, tried)
    yield checks.constructor(code, tried, year)
    if code is None or source is None:
        return
    if program is not None:
        yield checks.script(code, tried, year)
    known = trial.operator_namespaces() | {n.module.top for n in found if n.kind == "package"}
    unknown = dict.fromkeys(n.module.top for n in found if n.kind == "missing")
    yield checks.operators(code, operators(source, found, known), list(unknown))


def _weights(entry: Entry, tried: Trial) -> tuple[nn.Module | None, list[Finding]]:
    """How the checkpoint fits; of an entry of a script with the network that it is loaded into."""
    if tried.error:
        return None, [checks.NOT_BUILT]
    if entry.program is not None:
        try:
            model, loadings = trial.build_by_script(entry)
        except user_raised() as error:
            what = f"the script does not load them: {first_line(error)}"
            return None, [Finding("failed", one_line(what), "load what the checkpoint holds")]
        return model, list(map(_loaded, loadings)) or [skipped("the script loads none")]
    if entry.weights is None:
        return None, [skipped("no --weights were given")]
    wrong = trial.load_spec(entry)
    if wrong:
        return None, [Finding("failed", one_line(wrong), _REBUILD)]
    return None, [passed(f"{os.path.basename(entry.weights)}: every key, and every shape")]


_REBUILD = "build it with the checkpoint's arguments, or save the network's own state_dict()"


def _loaded(loading: trial.Loading) -> Finding:
    if loading.wrong:
        lax = "" if loading.strict else " (the script loads with strict=False, and goes on)"
        mend = _REBUILD if loading.there else "send it with the entry"
        return Finding("failed", one_line(f"{loading.file}: {loading.wrong}{lax}"), mend)
    lax = "" if loading.strict else ", though the script does not ask for it (strict=False)"
    return passed(f"{loading.file}: every key, and every shape{lax}")


def _size(entry: Entry, tried: Trial, scale: int) -> Check:
    """The result's size, for odd ones too."""
    results: dict[tuple[int, int], tuple[int, ...] | str] = {}
    for size in () if tried.error else SIZES:
        try:
            results[size] = trial.result_of(entry, size)
        except SrprofError as error:
            results[size] = one_line(error)
    return checks.size(results, scale)


def _values(
    entry: Entry, tried: Trial, model: nn.Module | None, scale: int, trained: bool
) -> Finding:
    """Whether the result is finite and, with weights, of the range that the image was given in."""
    if tried.error:
        return checks.NOT_BUILT
    call = entry.call(trial.PICTURE, weights=trained)
    if entry.program is not None:
        if model is None:
            return skipped("the script could not load its weights")
        call = Call(model, call.inputs)
    try:
        with entry.at_home():
            found = trial.run_on_picture(call, scale, trained)
    except SrprofError as error:
        mend = "images are of 0 to 1, or of 0 to 255 where the script says so"
        return Finding("failed", one_line(error), mend)
    said = None if entry.program is None else entry.program.data_range
    return checks.values(found, said, trained)


def _images(evaluation: Evaluation, year: Year) -> str:
    """The set of images that an evaluation is of, as its folders are called; "" if of none."""
    folders = f"{evaluation.hr} {evaluation.lr}".lower()
    fitting = [name for name in year.floors if name in folders]
    same = ("lsdir" in folders) == ("LSDIR" in year.psnr_of)
    return fitting[0] if same and len(fitting) == 1 else ""


def _standing(
    entry: Entry,
    year: Year,
    counts: Analysis | None,
    timed: Analysis | None,
    edits: bool,
    notes: list[str],
) -> tuple[Standing | None, str]:
    """The score, or why there is none."""
    if counts is None or timed is None:
        return None, "the network could not be run"
    why = worth.unknown_figure(year, counts, timed)
    if why:
        return None, why
    found = worth.standing(year, counts, timed)
    if not edits:
        return found, ""
    try:
        with entry.at_home():
            advice = advise(entry.call(year.sizes.runtime), profile=year.profile)
    except SrprofError as error:
        notes.append(f"nothing is advised: {one_line(error)}")
        return found, ""

    def count(spec: str) -> Analysis:
        return trial.analyzed(replace(entry, spec=spec), year.sizes.counts)

    return worth.with_prices(year, found, advice, count), ""
