"""What is said of training: the memory of a step, what a run gave, and a study. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING

from srprof._version import __version__
from srprof.analysis.compute import headed, input_records
from srprof.analysis.record import SCHEMA, Heading
from srprof.codec import JsonObject, encode, pick
from srprof.memory import training as steps
from srprof.memory.model import GRANULARITY, Peak
from srprof.records import Trace
from srprof.shown import Shown

if TYPE_CHECKING:
    from srprof.training.plan import TrainingPlan
    from srprof.training.study import Study, Variant

#: The most by which merging may change the PSNR, in dB.
MERGED_TOLERANCE = 1e-4


#: The step that is predicted.
RECIPE = {"loss": "L1", "optimizer": "Adam", "foreach": False, "step": 2}


@dataclass(frozen=True, repr=False)
class TrainingAnalysis(Shown):
    """The memory of one training step, in bytes: forward, L1 loss, backward, Adam's update.

    It is the second step, and each after it: the first makes Adam's two moments. What libraries
    take inside a node (cuDNN's and oneDNN's scratch) is not known and comes on top.
    """

    view = "training"

    trace: Trace
    granularity: int = GRANULARITY

    @cached_property
    def memory(self) -> steps.StepMemory:
        """Bytes by node and kind, and the peaks."""
        return steps.step_memory(self.trace, self.granularity)

    @property
    def peak(self) -> int:
        """The most that the program references at the end of any node."""
        return self.memory.peak.nbytes

    @cached_property
    def at_peak(self) -> dict[str, int]:
        """What the peak is made of, by kind."""
        node = self.memory.peak.node
        assert node is not None
        return dict(zip(steps.KINDS, self.memory.kinds[node], strict=True))

    @cached_property
    def saved(self) -> tuple[steps.SavedLine, ...]:
        """What backward still needs at the peak, by the line that made it, the largest first."""
        node = self.memory.peak.node
        assert node is not None
        return steps.saved_lines(self.trace, node, self.granularity)

    def to_dict(self) -> JsonObject:
        """The object of `srprof analyze --train --format json`."""
        trace, peaks = self.trace, self.memory.phases
        return {
            **encode(headed(Heading, trace)),
            "inputs": encode(input_records(trace)),
            "training": RECIPE,
            "params": trace.parameters,
            "granularity": self.granularity,
            "peak": {**self._peak(self.memory.peak), "parts": self.at_peak},
            "phases": {phase: self._peak(peaks[phase]) for phase in steps.PHASES},
            "saved": encode(self.saved),
            "nodes": [self._row(index) for index in range(len(trace.nodes))],
        }

    def _peak(self, peak: Peak) -> JsonObject:
        step, node = self.trace.step, peak.node
        phase = None if node is None or step is None else steps.phase_of(step, node)
        return {"bytes": peak.nbytes, "node": None if step is None else node, "phase": phase}

    def _row(self, index: int) -> JsonObject:
        node, step = self.trace.nodes[index], self.trace.step
        assert step is not None
        facts = pick(node, "op module file line shape")
        kinds: dict[str, int] = dict(zip(steps.KINDS, self.memory.kinds[index], strict=True))
        return {"index": index, "phase": steps.phase_of(step, index), **facts, **kinds}


@dataclass(frozen=True, slots=True)
class Score:
    """Means over images.

    Attributes:
        psnr: in dB, of R, G and B in 8 bits, without a border of `scale` pixels.
        psnr_unrounded: the same of what the network gave, before it is rounded to 8 bits.
        l1: mean absolute difference of all pixels as a share of the range, before rounding.
    """

    psnr: float
    psnr_unrounded: float
    l1: float

    def to_dict(self) -> JsonObject:
        """As JSON has it: the PSNR of images that are the same is null."""
        psnrs = {"psnr_dB": self.psnr, "psnr_unrounded_dB": self.psnr_unrounded}
        return {**{k: None if isinf(v) else v for k, v in psnrs.items()}, "l1": self.l1}


@dataclass(frozen=True)
class Merged:
    """The merged network's file and score.

    `difference` is that of the PSNRs before images are rounded to 8 bits: a single pixel that
    falls to the other side can move a small set's rounded PSNR by 1e-4 dB.
    """

    path: Path
    score: Score
    difference: float

    @property
    def agrees(self) -> bool:
        """Whether merging left the PSNR as it was, within `MERGED_TOLERANCE`."""
        return abs(self.difference) <= MERGED_TOLERANCE

    def to_dict(self) -> JsonObject:
        difference = {"difference_dB": self.difference, "agrees": self.agrees}
        return {"file": str(self.path), **self.score.to_dict(), **difference}


@dataclass(frozen=True, repr=False)
class TrainingResult(Shown):
    """What a run gave.

    Attributes:
        started: the iteration where this part of the run began.
        loss: mean of the last losses, up to `log_every`; None if no step was made.
        score: on the validation images; bicubic: what enlargement alone gives there.
        merged: the merged network; None if there is nothing to merge.
    """

    view = "training_run"

    plan: TrainingPlan
    started: int
    loss: float | None
    score: Score
    checkpoint: Path
    merged: Merged | None

    @property
    def bicubic(self) -> Score:
        """The baseline's score."""
        return self.plan.bicubic

    def to_dict(self) -> JsonObject:
        """The object of `srprof train --format json`."""
        config, memory = self.plan.config, self.plan.memory
        return {
            "schema": 1,
            "config": encode(config),
            "scale": self.plan.data.scale,
            "params": memory.trace.parameters,
            "predicted_peak": memory.peak,
            "iterations": config.iterations,
            "started": self.started,
            "loss": self.loss,
            "validation": self.score.to_dict(),
            "bicubic": self.bicubic.to_dict(),
            "checkpoint": str(self.checkpoint),
            "merged": None if self.merged is None else self.merged.to_dict(),
        }


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
    def below_bicubic(self) -> bool:
        """Whether its L1 on the validation images is below bicubic enlargement's."""
        return self.result.score.l1 < self.result.bicubic.l1

    def to_dict(self) -> JsonObject:
        return {
            "name": self.variant.name,
            "model": self.variant.training.model,
            "params": self.cost.params,
            "flops_ntire": self.cost.flops,
            "peak": self.cost.peak,
            "training_peak": self.result.plan.memory.peak,
            "validation": self.result.score.to_dict(),
            "below_bicubic": self.below_bicubic,
            "run": self.result.to_dict(),
        }


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

    def to_dict(self) -> JsonObject:
        """The object of `srprof ablate --format json`; sizes in bytes."""
        return {
            "schema": SCHEMA,
            "srprof": __version__,
            "title": self.study.title,
            "input": self.study.input,
            "scale": self.scale,
            "bicubic": self.bicubic.to_dict(),
            "variants": [outcome.to_dict() for outcome in self.outcomes],
        }
