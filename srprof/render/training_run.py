"""A training run for a person: what it will take, and what it gave."""

from __future__ import annotations

from srprof.training.plan import TrainingPlan
from srprof.training.run import MERGED_TOLERANCE, TrainingResult
from srprof.training.validation import Score
from srprof.words import mib


def plan_text(plan: TrainingPlan) -> str:
    """What is known before the first step, ending with a newline."""
    config, data, memory = plan.config, plan.data, plan.memory
    saved = memory.at_peak["saved"] / memory.peak
    return f"""\
{memory.trace.spec}, x{data.scale}: {memory.trace.parameters:,} parameters
{config.iterations:,} iterations of {config.batch} patches of {config.patch}x{config.patch} LR \
from {len(data.training)} images; validation on {len(data.validation)}
predicted peak of a step: {mib(memory.peak)} MiB, {saved:.0%} of it activations saved for backward
"""


def result_text(result: TrainingResult) -> str:
    """What the run gave, ending with a newline."""
    config, merged = result.plan.config, result.merged
    lines = [f"iterations {result.started:,} to {config.iterations:,}"]
    if result.loss is not None:
        lines[0] += f"; last loss {result.loss:.5f}"
    lines += [
        f"validation  {_score(result.score)}",
        f"bicubic     {_score(result.bicubic)}",
    ]
    if merged is not None:
        verdict = "within" if merged.agrees else "MORE THAN"
        lines.append(
            f"merged      {_score(merged.score)}, {merged.difference:+.1e} dB before rounding: "
            f"{verdict} {MERGED_TOLERANCE:g}"
        )
    lines.append(f"written to {result.checkpoint}" + (f", {merged.path}" if merged else ""))
    return "\n".join(lines) + "\n"


def _score(score: Score) -> str:
    return f"{score.psnr:.4f} dB, L1 {score.l1:.5f}"
