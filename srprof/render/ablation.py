"""An ablation study as text, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

from srprof.render.markdown import markdown_sections
from srprof.render.tables import Column, Section, Table
from srprof.render.text import plain_sections
from srprof.training.ablation import Ablation, Outcome
from srprof.training.run import MERGED_TOLERANCE

_COLUMNS = (
    Column("variant"),
    Column("params", "count"),
    Column("FLOPs G", "giga"),
    Column("peak MiB", "mib"),
    Column("training MiB", "mib"),
    Column("iterations", "count"),
    Column("PSNR dB", "number"),
    Column("L1", "number"),
    Column("below bicubic's L1"),
)


def _section(ablation: Ablation) -> Section:
    study, bicubic = ablation.study, ablation.bicubic
    baseline = (
        "bicubic", None, None, None, None, None, f"{bicubic.psnr:.2f}", f"{bicubic.l1:.5f}", None,
    )  # fmt: skip
    rows = (baseline, *map(_row, ablation.outcomes))
    plan = ablation.outcomes[0].result.plan
    after = [
        f"Params, FLOPs and eager peak of the inference form at {study.input}; training: predicted "
        "peak of a step.",
        f"PSNR (RGB, {ablation.scale} pixels of border left out) and L1 at x{ablation.scale} on "
        f"{len(plan.data.validation)} images that were held out.",
    ]
    differences = [abs(o.merged.difference) for o in ablation.outcomes if o.merged is not None]
    if differences:
        after.append(
            f"Merging changed the PSNR before rounding by {max(differences):.1e} dB at most; "
            f"{MERGED_TOLERANCE:g} is allowed."
        )
    lines = (study.note,) if study.note else ()
    return Section(study.title, lines, Table(_COLUMNS, rows), tuple(after))


def _row(outcome: Outcome) -> tuple[object, ...]:
    cost, score = outcome.cost, outcome.score
    plan = outcome.result.plan
    return (
        outcome.variant.name,
        cost.params,
        cost.flops,
        cost.peak,
        plan.memory.peak,
        plan.config.iterations,
        f"{score.psnr:.2f}",
        f"{score.l1:.5f}",
        "yes" if outcome.below_bicubic else "no",
    )


def _text(ablation: Ablation) -> str:
    return plain_sections([_section(ablation)])


def _markdown(ablation: Ablation) -> str:
    return markdown_sections([_section(ablation)])


def _json(ablation: Ablation) -> str:
    return json.dumps(ablation.to_dict(), indent=1) + "\n"


def _csv(ablation: Ablation) -> str:
    """A line a variant; sizes in bytes, no figure rounded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        "variant model params flops_ntire peak training_peak iterations psnr_dB l1".split()
    )
    bicubic = ablation.bicubic
    writer.writerow(["bicubic", "", "", "", "", "", "", bicubic.psnr, bicubic.l1])
    for outcome in ablation.outcomes:
        config, cost, score = outcome.variant.training, outcome.cost, outcome.score
        peak = outcome.result.plan.memory.peak
        costs = [cost.params, cost.flops, cost.peak, peak, config.iterations]
        writer.writerow([outcome.variant.name, config.model, *costs, score.psnr, score.l1])
    return out.getvalue()


#: What `srprof ablate --format` takes.
FORMATS: dict[str, Callable[[Ablation], str]] = {
    "text": _text,
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
}
