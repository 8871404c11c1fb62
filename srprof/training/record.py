"""What is said of training: the memory of a step, and what a run gave. No torch here.

The dataclasses whose names end in Record are the JSON objects, field for field.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from srprof._version import __version__
from srprof.analysis.compute import headed, input_records
from srprof.analysis.record import SCHEMA, Heading
from srprof.codec import JsonObject, Key, encode
from srprof.inputs import TensorSpec
from srprof.memory.model import GRANULARITY, Peak
from srprof.memory.training import (
    KINDS,
    PHASES,
    Phase,
    SavedLine,
    StepMemory,
    phase_of,
    saved_lines,
    step_memory,
)
from srprof.records import Trace
from srprof.shown import Shown
from srprof.training.config import TrainingConfig

if TYPE_CHECKING:
    from srprof.training.plan import TrainingPlan
    from srprof.training.study import Study, Variant

#: The most by which merging may change the PSNR, in dB.
MERGED_TOLERANCE = 1e-4


# -- one step -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recipe:
    """The step that is predicted."""

    loss: str = "L1"
    optimizer: str = "Adam"
    foreach: bool = False
    step: int = 2


@dataclass(frozen=True, slots=True)
class StepPeakRecord:
    """A peak, its node and that one's phase; `parts` is what the step's peak is made of."""

    bytes: int
    node: int | None
    phase: Phase | None
    parts: Annotated[dict[str, int], Key(sparse=True)] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepNodeRecord:
    """One call of the step; its last fields are the bytes by kind at its end."""

    index: int
    phase: Phase
    op: str
    module: str
    file: str
    line: int
    shape: tuple[int, ...]
    net: int
    state: int
    gradients: int
    images: int
    saved: int
    temporary: int


@dataclass(frozen=True, kw_only=True)
class StepRecord(Heading):
    """The object of `srprof analyze --train --format json`."""

    inputs: tuple[TensorSpec, ...]
    training: Recipe = Recipe()
    params: int
    granularity: int
    peak: StepPeakRecord
    phases: dict[str, StepPeakRecord]
    saved: tuple[SavedLine, ...]
    nodes: tuple[StepNodeRecord, ...]


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
    def memory(self) -> StepMemory:
        """Bytes by node and kind, and the peaks."""
        return step_memory(self.trace, self.granularity)

    @property
    def peak(self) -> int:
        """The most that the program references at the end of any node."""
        return self.memory.peak.nbytes

    @cached_property
    def at_peak(self) -> dict[str, int]:
        """What the peak is made of, by kind."""
        node = self.memory.peak.node
        assert node is not None
        return dict(zip(KINDS, self.memory.kinds[node], strict=True))

    @cached_property
    def saved(self) -> tuple[SavedLine, ...]:
        """What backward still needs at the peak, by the line that made it, the largest first."""
        node = self.memory.peak.node
        assert node is not None
        return saved_lines(self.trace, node, self.granularity)

    def to_dict(self) -> JsonObject:
        """The object of `srprof analyze --train --format json`."""
        trace, peak = self.trace, self._peak(self.memory.peak)
        record = headed(
            StepRecord,
            trace,
            inputs=input_records(trace),
            params=trace.parameters,
            granularity=self.granularity,
            peak=replace(peak, parts=self.at_peak),
            phases={phase: self._peak(self.memory.phases[phase]) for phase in PHASES},
            saved=self.saved,
            nodes=tuple(self._node(index) for index in range(len(trace.nodes))),
        )
        return dict(encode(record))

    def _peak(self, peak: Peak) -> StepPeakRecord:
        step = self.trace.step
        phase = None if peak.node is None or step is None else phase_of(step, peak.node)
        return StepPeakRecord(peak.nbytes, None if step is None else peak.node, phase)

    def _node(self, index: int) -> StepNodeRecord:
        node, step = self.trace.nodes[index], self.trace.step
        assert step is not None
        return StepNodeRecord(
            index,
            phase_of(step, index),
            node.op,
            node.module,
            node.file,
            node.line,
            node.shape,
            **dict(zip(KINDS, self.memory.kinds[index], strict=True)),
        )


# -- a run ----------------------------------------------------------------------------------------


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

    @property
    def record(self) -> ScoreRecord:
        """As JSON has it."""
        return ScoreRecord(_finite(self.psnr), _finite(self.psnr_unrounded), self.l1)


def _finite(psnr: float) -> float | None:
    return None if isinf(psnr) else psnr


@dataclass(frozen=True, slots=True)
class ScoreRecord:
    """A score; the PSNR of images that are the same is null."""

    psnr_dB: float | None  # noqa: N815  # the unit is written so
    psnr_unrounded_dB: float | None  # noqa: N815
    l1: float


@dataclass(frozen=True, slots=True)
class MergedRecord(ScoreRecord):
    """The merged network's score, its file, and whether merging left the PSNR as it was."""

    file: str
    difference_dB: float  # noqa: N815
    agrees: bool


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The object of `srprof train --format json`."""

    schema: int
    config: TrainingConfig
    scale: int
    params: int
    predicted_peak: int
    iterations: int
    started: int
    loss: float | None
    validation: ScoreRecord
    bicubic: ScoreRecord
    checkpoint: str
    merged: MergedRecord | None


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

    @property
    def record(self) -> MergedRecord:
        """As JSON has it."""
        score = self.score.record
        return MergedRecord(
            score.psnr_dB,
            score.psnr_unrounded_dB,
            score.l1,
            str(self.path),
            self.difference,
            self.agrees,
        )


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

    @property
    def record(self) -> RunRecord:
        """As JSON has it."""
        config, memory = self.plan.config, self.plan.memory
        return RunRecord(
            schema=1,
            config=config,
            scale=self.plan.data.scale,
            params=memory.trace.parameters,
            predicted_peak=memory.peak,
            iterations=config.iterations,
            started=self.started,
            loss=self.loss,
            validation=self.score.record,
            bicubic=self.bicubic.record,
            checkpoint=str(self.checkpoint),
            merged=None if self.merged is None else self.merged.record,
        )

    def to_dict(self) -> JsonObject:
        """The object of `srprof train --format json`."""
        return dict(encode(self.record))


# -- a study -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VariantRecord:
    """A variant of a study: sizes in bytes, at the study's input."""

    name: str
    model: str
    params: int
    flops_ntire: int
    peak: int
    training_peak: int
    validation: ScoreRecord
    below_bicubic: bool
    run: RunRecord


@dataclass(frozen=True, slots=True)
class AblationRecord:
    """The object of `srprof ablate --format json`."""

    schema: int
    srprof: str
    title: str
    input: str
    scale: int
    bicubic: ScoreRecord
    variants: tuple[VariantRecord, ...]


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

    @property
    def record(self) -> AblationRecord:
        """As JSON has it."""
        return AblationRecord(
            schema=SCHEMA,
            srprof=__version__,
            title=self.study.title,
            input=self.study.input,
            scale=self.scale,
            bicubic=self.bicubic.record,
            variants=tuple(
                VariantRecord(
                    name=outcome.variant.name,
                    model=outcome.variant.training.model,
                    params=outcome.cost.params,
                    flops_ntire=outcome.cost.flops,
                    peak=outcome.cost.peak,
                    training_peak=outcome.result.plan.memory.peak,
                    validation=outcome.score.record,
                    below_bicubic=outcome.below_bicubic,
                    run=outcome.result.record,
                )
                for outcome in self.outcomes
            ),
        )

    def to_dict(self) -> JsonObject:
        """The object of `srprof ablate --format json`."""
        return dict(encode(self.record))
