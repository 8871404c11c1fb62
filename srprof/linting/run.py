"""`srprof.lint`: what an entrant wants to know of an entry before it is sent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from srprof.advising.run import advise
from srprof.analysis import Analysis
from srprof.blame import first_line
from srprof.call import Call
from srprof.challenge.years import Year, find
from srprof.cost.profiles import load_profile
from srprof.errors import InputError, ModelError, SrprofError
from srprof.linting import checks, trial, worth
from srprof.linting.checks import Code, Trial
from srprof.linting.entry import Entry, read_entry
from srprof.linting.imports import Need, needs, operators
from srprof.linting.record import Check, Finding, Lint, Standing, passed, skipped
from srprof.measuring.record import fingerprint
from srprof.progress import Progress, silent
from srprof.quality.record import FILE, Evaluation
from srprof.words import one_line

#: LR images that a network must take: one of a challenge's, and one smaller than any window.
SIZES = ((339, 510), (5, 7))
#: Of the challenges' images.
SCALE = 4


def lint(
    entry: str,
    *,
    weights: str | None = None,
    script: str | None = None,
    team: int | None = None,
    year: str = "ntire2026",
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
        year: whose rules, floors and score are meant (`srprof.challenge.years`).
        scale: of the images, 4 by default.
        records: files that `srprof evaluate --format json` wrote of the entry.
        edits: price what `srprof.advise` finds.
        progress: called with what is being done, and how many parts are done, of how many.

    Raises:
        InputError: the entry, the script, the year or a record is wrong; what the entry's own code
            does wrong is a finding.
    """
    rules = find(year)
    scale = SCALE if scale is None else scale
    if scale < 1:
        raise InputError(f"scale {scale}: give a whole number of at least 1")
    read = read_entry(entry, weights, script, team)
    evaluations = [(path, FILE.load(path)) for path in records]
    work = _Work(read, rules, scale, progress)
    found, tried = work.source(), work.build()
    counts, timed = work.analyze(tried)
    shown = [
        *work.of_source(found, tried),
        work.weights(tried),
        work.size(tried),
        work.values(tried),
        *work.passes(tried),
        *work.operators(found),
    ]
    measured = [(path, _images(e, rules), _psnr(e, path, counts)) for path, e in evaluations]
    shown.append(checks.quality(rules, measured))
    standing, unscored = work.standing(counts, timed, edits)
    return Lint(
        entry=entry,
        name=read.name,
        file="" if read.source is None else read.source.file,
        script="" if read.program is None else read.program.source.file,
        team=None if read.program is None else read.program.team,
        year=rules,
        scale=scale,
        checks=tuple(shown),
        standing=standing,
        unscored=unscored,
        notes=tuple(dict.fromkeys(work.notes)),
    )


@dataclass
class _Work:
    """One entry that is looked at, part by part; each runs once."""

    entry: Entry
    year: Year
    scale: int
    progress: Progress
    notes: list[str] = field(default_factory=list)
    _done: int = 0

    def _at(self, what: str) -> None:
        self.progress(what, self._done, 6)
        self._done += 1

    @property
    def code(self) -> Code | None:
        source, program = self.entry.source, self.entry.program
        if source is None:
            return None
        if program is None:
            return Code(source, self.entry.parts)
        return Code(source, self.entry.parts, program.source, program.part)

    def source(self) -> list[Need]:
        """What the file imports."""
        self._at("reading the source")
        source = self.entry.source
        return [] if source is None else needs(source, self.entry.folders)

    def build(self) -> Trial:
        """The network, built without a GPU and then with a stand-in for one."""
        self._at("building it without a GPU and without network")
        alone = trial.build_alone(self.entry)
        error = alone.error
        if error is not None:
            file, line = getattr(error, "file", ""), getattr(error, "line", 0)
            return Trial(one_line(error), alone.missing, alone.refused, False, (), (), file, line)
        try:
            passes = trial.constructor_passes(self.entry)
        except SrprofError as raised:
            self.notes.append(f"it is not built on a GPU's stand-in: {one_line(raised)}")
            return Trial(refused=alone.refused)
        return Trial(refused=alone.refused, built_on_gpu=True, passes=passes)

    def analyze(self, tried: Trial) -> tuple[Analysis | None, Analysis | None]:
        """At the size of the year's counts, and at that of its runtime."""
        self._at("running it on meta tensors")
        if tried.error:
            return None, None
        profile = load_profile(self.year.profile)
        try:
            counts = trial.analyzed(self.entry, self.year.sizes.counts)
            timed = trial.analyzed(self.entry, self.year.sizes.runtime, profile)
            _ = timed.latency
        except SrprofError as error:
            self.notes.append(f"it does not run: {one_line(error)}")
            return None, None
        self.notes += [part.text for part in timed.trace.unseen]
        self._timed = timed
        return counts, timed

    _timed: Analysis | None = None

    def of_source(self, found: list[Need], tried: Trial) -> list[Check]:
        """What the file imports, and how it is built."""
        code = self.code
        rest = [
            checks.builds(code, tried),
            checks.without_gpu(code, tried),
            checks.without_network(code, tried),
        ]
        if code is None:
            return rest
        return [checks.one_file(code, found), checks.packages(code, found), *rest]

    def weights(self, tried: Trial) -> Check:
        """The checkpoint loads, every key of it."""
        return Check("weights", "weights load strictly", tuple(self._weights(tried)))

    def _weights(self, tried: Trial) -> list[Finding]:
        if tried.error:
            return [skipped("the network could not be built")]
        if self.entry.program is None:
            if self.entry.weights is None:
                return [skipped("no --weights were given")]
            wrong = trial.load_spec(self.entry)
            name = os.path.basename(self.entry.weights)
            if not wrong:
                return [passed(f"{name}: every key, and every shape")]
            return [Finding("failed", one_line(wrong), "build it with the checkpoint's arguments")]
        try:
            self._model, loadings = trial.build_by_script(self.entry)
        except Exception as error:
            return [Finding("failed", f"the script does not load them: {first_line(error)}")]
        lost = {loading.file for loading in loadings if not loading.there}
        found = [Finding("failed", f"{file}: there is no such file", "send it with the entry")
                 for file in lost]  # fmt: skip
        for loading in loadings:
            if loading.file in lost:
                continue
            found.append(_loaded(loading))
        return found or [skipped("the script loads none")]

    _model: Any = None

    def size(self, tried: Trial) -> Check:
        """The result's size, for odd ones too."""
        self._at("running it at odd sizes")
        if tried.error:
            why = skipped("the network could not be built")
            return Check("size", f"x{self.scale} of any size", (why,))
        results: dict[tuple[int, int], tuple[int, ...] | str] = {}
        for size in SIZES:
            try:
                results[size] = trial.result_of(self.entry, size)
            except SrprofError as error:
                results[size] = one_line(error)
        return checks.size(results, self.scale, self.year)

    def values(self, tried: Trial) -> Check:
        """The result is finite, and of the range that the image was given in."""
        self._at("running it on a picture")
        return Check("values", "finite values of 0 to 1 or 255", (self._values(tried),))

    def _values(self, tried: Trial) -> Finding:
        entry = self.entry
        if tried.error:
            return skipped("the network could not be built")
        call = entry.call((64, 64), weights=True)
        if entry.program is not None:
            if self._model is None:
                return skipped("the script could not build it with its weights")
            call = Call(self._model, call.inputs)
        elif entry.weights is not None and trial.load_spec(entry):
            call = entry.call((64, 64))
        try:
            with entry.at_home():
                range_ = trial.run_on_image(call, self.scale)
        except (InputError, ModelError) as error:
            mend = "the challenge's images are of 0 to 1, or of 0 to 255 where the script says so"
            return Finding("failed", one_line(error), mend)
        return _range(range_, entry)

    def passes(self, tried: Trial) -> list[Check]:
        """Calls of modules while it is built."""
        code = self.code
        if self._timed is not None:
            built = self._timed.record.memory.allocator.constructor
            held = () if built is None else built.passes
            tried = replace(tried, held=held)
        found = [checks.constructor(code, tried, self.year)]
        if code is not None and code.script is not None:
            found.append(checks.script(code, tried, self.year))
        return found

    def operators(self, found: list[Need]) -> list[Check]:
        """Kernels of its own."""
        code = self.code
        if code is None:
            return []
        known = trial.operator_namespaces() | {n.module.top for n in found if n.kind == "package"}
        unknown = dict.fromkeys(n.module.top for n in found if n.kind == "missing")
        return [checks.operators(code, operators(code.source, found, known), list(unknown))]

    def standing(
        self, counts: Analysis | None, timed: Analysis | None, edits: bool
    ) -> tuple[Standing | None, str]:
        """The score, and why there is none."""
        self._at("pricing edits")
        if counts is None or timed is None:
            return None, "the network could not be run"
        why = worth.unknown_figure(self.year, counts, timed)
        if why:
            return None, why
        found = worth.standing(self.year, counts, timed)
        if not edits:
            return found, ""
        with self.entry.at_home():
            call = self.entry.call(self.year.sizes.runtime)
            advice = advise(call, profile=self.year.profile)
        return worth.with_prices(self.year, found, advice, self._counted), ""

    def _counted(self, spec: str) -> Analysis:
        return trial.analyzed(replace(self.entry, spec=spec), self.year.sizes.counts)


def _loaded(loading: trial.Loading) -> Finding:
    what = loading.file
    if loading.wrong:
        mend = "build it with the checkpoint's arguments, or save the network's own state_dict()"
        lax = "" if loading.strict else " (the script loads with strict=False, and goes on)"
        return Finding("failed", one_line(f"{what}: {loading.wrong}{lax}"), mend)
    lax = "" if loading.strict else ", though the script does not ask for it (strict=False)"
    return passed(f"{what}: every key, and every shape{lax}")


def _range(found: trial.Found, entry: Entry) -> Finding:
    said = None if entry.program is None else entry.program.data_range
    trained = entry.program is not None or entry.weights is not None
    if not found.sure or not found.note:
        if not trained:
            return passed("finite; without weights nothing is known of its range")
        if not found.note:
            return passed("finite, and the same image from 0 to 1 and from 0 to 255")
        mend = "its weights may be of another network, or of a range of their own"
        return Finding("warned", one_line(found.note.partition("; --range")[0]), mend)
    if said is not None and said != found.pixel_range:
        what = f"the script gives it values of 0 to {said:g}, and {found.note}"
        return Finding("failed", one_line(what.partition("; --range")[0]), "correct data_range")
    return passed(one_line(found.note.partition("; --range")[0]))


def _images(evaluation: Evaluation, year: Year) -> str:
    """The set of images that an evaluation is of, as its folder is called; "" if of none."""
    folder = f"{evaluation.hr} {evaluation.lr}".lower()
    fitting = [name for name in year.floors if name in folder]
    return fitting[0] if len(fitting) == 1 else ""


def _psnr(evaluation: Evaluation, path: str, counts: Analysis | None) -> float:
    """PSNR of an evaluation; an InputError if it is of another network, or has none."""
    if counts is not None:
        trace = counts.trace
        if evaluation.network != fingerprint(trace.externals, trace.nodes).network:
            raise InputError(
                f"--record {path} is of {evaluation.spec}, which is another network (its "
                "parameters differ): evaluate this one"
            )
    psnr: float | None = evaluation.mean.rgb.psnr_dB
    if psnr is None:
        raise InputError(f"--record {path} has no finite PSNR: evaluate with other images")
    return psnr
