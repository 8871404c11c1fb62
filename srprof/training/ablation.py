"""An ablation study: each variant trained in the same way, and what it costs and gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from srprof.analysis import Analysis, analyze
from srprof.call import call_of
from srprof.errors import InputError, SrprofError
from srprof.progress import Progress, silent
from srprof.tracing.run import trace_call
from srprof.training.plan import memory_of_step, prepare, scale_of
from srprof.training.record import Ablation, Cost, Outcome, TrainingAnalysis
from srprof.training.run import run
from srprof.training.study import Study, Variant


def ablate(study: Study, progress: Progress = silent) -> Ablation:
    """Train every variant, one after the other; finished ones are only validated again.

    Raises as `train` does, with the variant's name; an InputError if the scales differ.
    """
    costs, steps = [], []
    for variant in study.variants:
        with _naming(variant):
            call = call_of(variant.training.model, (study.input,))
            analysis = analyze(trace_call(call, holders=False))
            steps.append(memory_of_step(variant.training))
            costs.append(_cost(analysis, steps[-1]))
    if len({cost.scale for cost in costs}) > 1:
        named = zip(study.variants, costs, strict=True)
        listed = ", ".join(f"{variant.name} x{cost.scale}" for variant, cost in named)
        raise InputError(f"the variants enlarge differently ({listed}): give all one scale")
    outcomes = []
    known = zip(study.variants, costs, steps, strict=True)
    for number, (variant, cost, step) in enumerate(known, start=1):
        with _naming(variant):
            say = _prefixed(progress, f"{number}/{len(costs)} {variant.name}: ")
            outcomes.append(Outcome(variant, cost, run(prepare(variant.training, say, step), say)))
    return Ablation(study, tuple(outcomes))


def _cost(analysis: Analysis, step: TrainingAnalysis) -> Cost:
    counts, peak = analysis.complexity, analysis.memory.eager.nbytes
    return Cost(counts.parameters, counts.flops_ntire, peak, scale_of(step))


@contextmanager
def _naming(variant: Variant) -> Iterator[None]:
    """Errors begin with the variant's name."""
    try:
        yield
    except SrprofError as error:
        raise type(error)(f"variant {variant.name!r}: {error}") from error


def _prefixed(progress: Progress, prefix: str) -> Progress:
    return lambda what, done, total: progress(prefix + what, done, total)
