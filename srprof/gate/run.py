"""Run the checks, each model once, and hold what they give against limits and the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from srprof import figures
from srprof.analysis.record import AnalysisRecord
from srprof.codec import pick
from srprof.errors import InputError, ModelError, user_raised
from srprof.failures import failure
from srprof.gate import baseline as baselines
from srprof.gate.accepting import accepted
from srprof.gate.baseline import Baseline, Entry, described
from srprof.gate.changes import Changes
from srprof.gate.config import Config, Settings
from srprof.gate.environment import versions
from srprof.gate.explaining import explain_now
from srprof.gate.judging import judge, metrics_of
from srprof.gate.record import Report, Result, Row
from srprof.operators.known import using_ops
from srprof.paths import working_in
from srprof.timeout import limited


def check(config: Config, partial: bool = False) -> Report:
    """Run every check and judge it; a model that does not run is a failed check.

    If `partial`, what a baseline of another environment leaves out is no failure. An InputError if
    the baseline that there is to be is missing or damaged.
    """
    baseline = None if config.baseline is None else baselines.load(config.baseline)
    observed, changed = observe_all(config), Changes(config.folder, config.baseline)
    results = []
    for check, seen in zip(config.checks, observed, strict=True):
        if isinstance(seen, Result):
            results.append(seen)
            continue
        result = judge(check, seen, baseline, versions(seen), changed)
        results.append(replace(result, partial=partial))
    names = {check.name for check in config.checks}
    gone = sorted(set(baseline.entries) - names) if baseline is not None else ()
    return Report(tuple(results), tuple(gone))


def update(config: Config) -> Report:
    """Write the baseline anew, unless a model does not run; an InputError if there is none.

    The report says what is accepted by it: what is not as in the baseline before, old and new.
    """
    if config.baseline is None:
        raise InputError(f"{config.file.name} says baseline = false: there is none to update")
    if not config.baseline.parent.is_dir():
        raise InputError(f"there is no folder {str(config.baseline.parent)!r}; make it first")
    observed = observe_all(config)
    failed = tuple(seen for seen in observed if isinstance(seen, Result))
    if failed:
        return Report(failed, updated=f"{config.baseline.name} is as it was")
    root, entries, results = str(config.folder), {}, []
    for check, seen in zip(config.checks, observed, strict=True):
        assert isinstance(seen, AnalysisRecord)
        trace = baselines.excerpt(seen, root)
        entries[check.name] = Entry(described(check.settings), metrics_of(seen), trace)
        results.append(judge(check, seen, None, {}))
        environment = versions(seen)
    new, old = Baseline(environment, entries), _earlier(config.baseline)
    differences = tuple(accepted(old, new, _whys(config, observed, old)))
    baselines.write(new, config.baseline)
    updated = f"{config.baseline.name} has {len(entries)} entries now"
    return Report(tuple(results), updated=updated, accepted=differences)


def _earlier(path: Path) -> Baseline | str:
    """The baseline before; "" if there is none, and why where it cannot be read."""
    if not path.exists():
        return ""
    try:
        return baselines.load(path)
    except InputError as error:
        return str(error).partition(";")[0]


def _whys(
    config: Config, observed: Sequence[AnalysisRecord | Result], old: Baseline | str
) -> dict[str, tuple[str, ...]]:
    """Why the figures of each check are not as in the baseline before, by its name."""
    if isinstance(old, str):
        return {}
    changed = Changes(config.folder, config.baseline)
    strict = [replace(check, growth={}, limits={}) for check in config.checks]
    return {
        check.name: judge(check, seen, old, versions(seen), changed).explanation
        for check, seen in zip(strict, observed, strict=True)
        if isinstance(seen, AnalysisRecord)
    }


def observe_all(config: Config) -> list[AnalysisRecord | Result]:
    """What every check's model gives now, in order, or the check's failed result."""
    traced: dict[Settings, Any] = {}
    observed: list[AnalysisRecord | Result] = []
    with working_in(str(config.folder)), using_ops(*config.ops):
        for check in config.checks:
            try:
                with limited(check.name):
                    observed.append(observe(check.settings, traced))
            except user_raised() as raised:
                error = failure(raised)
                file, line = (error.file, error.line) if isinstance(error, ModelError) else ("", 0)
                text = f"the model does not run: {error}"
                observed.append(Result(check.name, problems=(text,), file=file, line=line))
    return observed


def observe(settings: Settings, traced: dict[Settings, Any]) -> AnalysisRecord:
    """Trace a model, unless it was already for another profile; raises as `analyze` does."""
    from srprof.analysis import analyze

    key = replace(settings, profile=None)
    if key not in traced:
        traced[key] = analyze(settings.call, **pick(settings, "protocol sizes allocator"))
    analysis = traced[key]
    record: AnalysisRecord = analysis.record
    if settings.profile is not None:
        from srprof.analysis.compute import latency_record
        from srprof.cost.estimate import estimate
        from srprof.cost.profiles import load_profile

        latency = latency_record(estimate(analysis.trace, load_profile(settings.profile)))
        record = replace(record, latency=latency)
    return record


def check_model(
    model: Any, inputs: Sequence[Any], memory: str, limit: int, **options: Any
) -> tuple[Row, tuple[str, ...]]:
    """A model's peak against a limit in bytes, with the explanation if it is over."""
    peak = figures.find_peak(memory)
    from srprof.analysis import analyze

    record = analyze(model, *inputs, **options).record
    row = Row(peak.name, None, record.memory.peak[peak.name], limit)
    return row, tuple(explain_now(record, peak.name)) if row.over else ()
