"""A training run: what it will take, and what it gave."""

from __future__ import annotations

from srprof.render.document import Column, Document, Section, Table
from srprof.training.plan import TrainingPlan
from srprof.training.record import MERGED_TOLERANCE, TrainingResult
from srprof.words import mib

_COLUMNS = (
    Column("", key="images"),
    Column("PSNR dB", "fixed", "psnr_dB", decimals=4),
    Column("L1", "fixed", "l1", decimals=5),
)


def document(result: TrainingResult) -> Document:
    """The plan, and the validation images' scores beside bicubic enlargement's."""
    return Document((beginning(result.plan), _scores(result)), result.to_dict)


def beginning(plan: TrainingPlan) -> Section:
    """What is known before the first step."""
    config, data, memory = plan.config, plan.data, plan.memory
    patch, saved = config.patch, memory.at_peak["saved"] / memory.peak
    lines = (
        f"{config.iterations:,} iterations of {config.batch} patches of {patch}x{patch} LR from "
        f"{len(data.training)} images; validation on {len(data.validation)}",
        f"predicted peak of a step: {mib(memory.peak)} MiB, {saved:.0%} of it activations saved "
        "for backward",
    )
    title = f"{memory.trace.spec}, x{data.scale}: {memory.trace.parameters:,} parameters"
    return Section(title, lines)


def _scores(result: TrainingResult) -> Section:
    merged, loss = result.merged, result.loss
    scores = {"validation": result.score, "bicubic": result.bicubic}
    after = [f"written to {result.checkpoint}" + (f", {merged.path}" if merged else "")]
    if merged is not None:
        scores["merged"] = merged.score
        verdict = "within" if merged.agrees else "MORE THAN"
        after.insert(
            0,
            f"merging changed the PSNR before rounding by {merged.difference:+.1e} dB: {verdict} "
            f"{MERGED_TOLERANCE:g}",
        )
    rows = tuple((name, score.psnr, score.l1) for name, score in scores.items())
    last = "" if loss is None else f"; last loss {loss:.5f}"
    title = f"iterations {result.started:,} to {result.plan.config.iterations:,}{last}"
    return Section(title, (), Table(_COLUMNS, rows), tuple(after))
