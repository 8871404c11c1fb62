"""An entry's score by its year's formula, what each figure is worth there, and edits priced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from srprof import figures
from srprof.advising.record import Advice, Widths
from srprof.advising.wording import words
from srprof.analysis import Analysis
from srprof.challenge.years import Year, score
from srprof.errors import SrprofError
from srprof.linting.record import Price, Standing, Term

#: What one more of each figure is said of: 1 ms, 1 G, 1 K of parameters.
UNITS = {"runtime_ms": 1.0, "flops": 1e9, "params": 1e3}


def terms(year: Year, values: dict[str, float]) -> tuple[Term, ...]:
    """What each metric adds to the score, and its derivative there."""
    found = []
    for metric, weight in year.weights.items():
        value, baseline = values[metric], year.baseline[metric]
        alone = replace(year, weights={metric: weight})
        part = score(alone, **values)
        found.append(
            Term(
                metric=metric,
                value=value,
                baseline=baseline,
                score=part,
                worth=part * 2 / baseline * UNITS[metric],
                unit=UNITS[metric],
            )
        )
    return tuple(found)


def unknown_figure(year: Year, counts: Analysis, timed: Analysis) -> str:
    """Why there is no score, "" if there is one."""
    if not year.weights:
        return f"{year.title} sums ranks: a score is of a table, which `srprof rank` makes"
    for name in (year.flops, "params"):
        if counts.value(name) is None:
            return f"{figures.find(name).title} are not known"
    if "latency_ms" in timed.trace.unknown:
        return "the runtime is not known: " + "; ".join(part.text for part in timed.trace.unseen)
    return ""


def standing(year: Year, counts: Analysis, timed: Analysis) -> Standing:
    """The score of a network, from its counts and its predicted runtime."""
    latency = timed.latency
    assert latency is not None
    values = _values(year, counts, 1e3 * latency.seconds)
    parts = terms(year, values)
    slope = {term.metric: term.worth for term in parts}
    return Standing(
        score=score(year, **values),
        uncertainty=slope["runtime_ms"] * 1e3 * latency.uncertainty,
        profile=latency.profile.name,
        image=timed.trace.inputs[0].info.shape,
        runtime_ms=values["runtime_ms"],
        uncertainty_ms=1e3 * latency.uncertainty,
        terms=parts,
    )


def _values(year: Year, counts: Analysis, runtime_ms: float) -> dict[str, float]:
    flops, params = counts.value(year.flops), counts.value("params")
    assert flops is not None
    assert params is not None
    return {"runtime_ms": runtime_ms, "flops": float(flops), "params": float(params)}


def with_prices(
    year: Year, found: Standing, advice: Advice, count: Callable[[str], Analysis]
) -> Standing:
    """The score with what is advised; `count` analyzes a SPEC at the size of the counts."""
    widths = (price for each in advice.widths for price in _widths(year, found, each, count))
    return replace(found, edits=tuple(_edits(year, found, advice)), widths=tuple(widths))


def _edits(year: Year, found: Standing, advice: Advice) -> Iterator[Price]:
    """Each edit, with all above it: one changes what runs, and neither FLOPs nor parameters."""
    values = {term.metric: term.value for term in found.terms}
    before = found.score
    for step, runtime in zip(advice.steps, advice.latency_ms[1:], strict=True):
        if runtime is None:
            continue  # not without the next
        values["runtime_ms"] = runtime
        now, edit = score(year, **values), step.candidate
        what, change = words(edit.rewrite), now - before
        yield Price(edit.kind, what, edit.file, edit.line, score=now, change=change, **values)
        before = now


def _widths(
    year: Year, found: Standing, widths: Widths, count: Callable[[str], Analysis]
) -> Iterator[Price]:
    """Other widths of the network."""
    for row in widths.built:
        if row.value == widths.present or not row.same_size:
            continue
        try:
            values = _values(year, count(row.spec), row.latency_ms)
        except SrprofError:
            continue  # it is not built at that size
        now, what = score(year, **values), f"{widths.name}={row.value}"
        yield Price("width", what, "", 0, **values, score=now, change=now - found.score)
