"""What a check's model gives, held against limits and the baseline: a pure function of figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from srprof import figures
from srprof.analysis.record import AnalysisRecord
from srprof.gate.baseline import Baseline
from srprof.gate.changes import Changes, NoChanges
from srprof.gate.config import Check
from srprof.gate.environment import depends, differences, left_out, patch_only
from srprof.gate.explaining import explained
from srprof.gate.record import UPDATE, Result, Row
from srprof.quantities import Growth


def judge(
    check: Check,
    record: AnalysisRecord,
    baseline: Baseline | None,
    environment: Mapping[str, str],
    changed: Changes | None = None,
) -> Result:
    """Hold what a check's model gives against the check's limits and the baseline's entry.

    The explanation begins with the lines that `changed`.
    """
    metrics = metrics_of(record)
    entry = baseline.entries.get(check.name) if baseline is not None else None
    problems: tuple[str, ...] = ()
    differing: dict[str, tuple[str, str]] = {}
    if baseline is not None and entry is None:
        problems = (f"it has no entry in the baseline: {UPDATE}",)
    if baseline is not None and entry is not None:
        differing = differences(check.settings, record, entry, baseline.environment, environment)
    apart = {name for key in differing for name in depends().get(key, figures.names())}
    names = [n for n in check.metrics if n in metrics]
    released = {k: v for k, v in differing.items() if k == "torch" and patch_only(*v)}
    others = {k: v for k, v in differing.items() if k not in released}
    recorded = {} if entry is None else entry.metrics
    rows = tuple(
        Row(
            metric=name,
            baseline=recorded.get(name) if name in check.metrics else None,
            now=value,
            limit=check.limits.get(name),
            allowed=check.growth.get(name, Growth()).allowed(recorded.get(name, 0)),
            compared=name not in apart,
        )
        for name, value in metrics.items()
        if name in check.metrics or name in check.limits
    )
    problems += tuple(_unsaid(check, record, {**recorded, **check.limits}.keys() - metrics))
    notes = tuple(part.text for part in record.unseen)
    result = Result(
        check.name,
        rows,
        problems,
        tuple(left_out(others, names)),
        notes=notes,
        released=tuple(left_out(released, names)),
    )
    before = None if entry is None or baseline is None else (entry, baseline.environment)
    return explained(result, record, before, changed or NoChanges())


def metrics_of(record: AnalysisRecord) -> dict[str, int]:
    """The figures that are known, in the smallest unit of each: bytes, counts, nanoseconds."""
    unknown = {name for part in record.unseen for name in part.figures}
    known = ((f, f.of(record)) for f in figures.FIGURES if f.name not in unknown)
    factors = {"time": 1e6}
    return {f.name: round(v * factors.get(f.kind, 1)) for f, v in known if v is not None}


def _unsaid(check: Check, record: AnalysisRecord, missing: Set[str]) -> Iterator[str]:
    """A sentence for each figure that is limited or recorded and cannot be said of this run."""
    for part in record.unseen:
        names = [
            n for n in part.figures if n in missing and (n in check.metrics or n in check.limits)
        ]
        if names:
            titles = ", ".join(figures.find(name).title for name in names)
            yield f"{titles} cannot be checked: {part.text}"
