"""An ablation study: each variant trained in the same way, and what it costs and gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from srprof._version import __version__
from srprof.analysis import SCHEMA, analyze
from srprof.errors import InputError, SrprofError
from srprof.progress import Progress, silent
from srprof.shown import Shown
from srprof.training.analysis import analyze_training
from srprof.training.plan import scale_of
from srprof.training.run import Merged, TrainingResult, train
from srprof.training.study import Study, Variant
from srprof.training.validation import Score, score_dict


@dataclass(frozen=True)
class Cost:
    """What a variant costs in its inference form; bytes and FLOPs at the study's input.

    `scale` is by how much it enlarges.
    """

    params: int
    flops: int
    peak: int
    scale: int


@dataclass(frozen=True)
class Outcome:
    """A variant, what it costs, and what training it gave."""

    variant: Variant
    cost: Cost
    result: TrainingResult

    @property
    def score(self) -> Score:
        """On the validation images."""
        return self.result.score

    @property
    def below_bicubic(self) -> bool:
        """Whether its L1 on the validation images is below bicubic enlargement's."""
        return self.score.l1 < self.result.bicubic.l1

    @property
    def merged(self) -> Merged | None:
        """The merged network; None if there is nothing to merge."""
        return self.result.merged


@dataclass(frozen=True, repr=False)
class Ablation(Shown):
    """A study that was run."""

    view = "ablation"

    study: Study
    outcomes: tuple[Outcome, ...]

    @property
    def bicubic(self) -> Score:
        """The baseline: the same for all variants."""
        return self.outcomes[0].result.bicubic

    @property
    def scale(self) -> int:
        """By which all variants enlarge."""
        return self.outcomes[0].result.plan.data.scale

    def to_dict(self) -> dict[str, Any]:
        """The object of `srprof ablate --format json`; sizes in bytes."""
        return {
            "schema": SCHEMA,
            "srprof": __version__,
            "title": self.study.title,
            "input": self.study.input,
            "scale": self.scale,
            "bicubic": score_dict(self.bicubic),
            "variants": [
                {
                    "name": outcome.variant.name,
                    "model": outcome.variant.training.model,
                    "params": outcome.cost.params,
                    "flops_ntire": outcome.cost.flops,
                    "peak": outcome.cost.peak,
                    "training_peak": outcome.result.plan.memory.peak,
                    "validation": score_dict(outcome.score),
                    "below_bicubic": outcome.below_bicubic,
                    "run": outcome.result.to_dict(),
                }
                for outcome in self.outcomes
            ],
        }


def ablate(study: Study, progress: Progress = silent) -> Ablation:
    """Train every variant, one after the other; finished ones are only validated again.

    Raises:
        InputError, ModelError: as `train`, with the variant's name; or the scales differ.
    """
    costs = []
    for variant in study.variants:
        with _naming(variant):
            costs.append(_cost(variant, study.input))
    _check_scales(study, [cost.scale for cost in costs])
    outcomes = []
    for number, (variant, cost) in enumerate(zip(study.variants, costs, strict=True), start=1):
        with _naming(variant):
            say = _prefixed(progress, f"{number}/{len(costs)} {variant.name}: ")
            outcomes.append(Outcome(variant, cost, train(variant.training, say)))
    return Ablation(study, tuple(outcomes))


def _cost(variant: Variant, size: str) -> Cost:
    config = variant.training
    found = analyze(config.model, size)
    step = analyze_training(config.model, (1, 3, config.patch, config.patch))
    peak = found.memory.eager.nbytes
    complexity = found.complexity
    return Cost(complexity.parameters, complexity.flops_ntire, peak, scale_of(step))


def _check_scales(study: Study, scales: list[int]) -> None:
    if len(set(scales)) > 1:
        listed = ", ".join(
            f"{v.name} x{scale}" for v, scale in zip(study.variants, scales, strict=True)
        )
        raise InputError(f"the variants enlarge differently ({listed}): give all one scale")


@contextmanager
def _naming(variant: Variant) -> Iterator[None]:
    """Errors begin with the variant's name."""
    try:
        yield
    except SrprofError as error:
        raise type(error)(f"variant {variant.name!r}: {error}") from error


def _prefixed(progress: Progress, prefix: str) -> Progress:
    return lambda what, done, total: progress(prefix + what, done, total)
