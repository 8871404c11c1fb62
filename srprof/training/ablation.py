"""An ablation study: each variant trained in the same way, and what it costs and gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from srprof.analysis import analyze
from srprof.errors import InputError, SrprofError
from srprof.progress import Progress, silent
from srprof.timeout import limited
from srprof.training.analysis import analyze_training
from srprof.training.plan import scale_of
from srprof.training.record import Ablation, Cost, Outcome
from srprof.training.run import train
from srprof.training.study import Study, Variant


def ablate(study: Study, progress: Progress = silent) -> Ablation:
    """Train every variant, one after the other; finished ones are only validated again.

    Raises as `train` does, with the variant's name; an InputError if the scales differ.
    """
    costs = []
    for variant in study.variants:
        with _naming(variant):
            costs.append(_cost(variant, study.input))
    if len({cost.scale for cost in costs}) > 1:
        named = zip(study.variants, costs, strict=True)
        listed = ", ".join(f"{variant.name} x{cost.scale}" for variant, cost in named)
        raise InputError(f"the variants enlarge differently ({listed}): give all one scale")
    outcomes = []
    for number, (variant, cost) in enumerate(zip(study.variants, costs, strict=True), start=1):
        with _naming(variant):
            say = _prefixed(progress, f"{number}/{len(costs)} {variant.name}: ")
            outcomes.append(Outcome(variant, cost, train(variant.training, say)))
    return Ablation(study, tuple(outcomes))


def _cost(variant: Variant, size: str) -> Cost:
    config = variant.training
    analysis = analyze(config.model, size)
    with limited(config.model):
        step = analyze_training(config.model, (1, 3, config.patch, config.patch))
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
