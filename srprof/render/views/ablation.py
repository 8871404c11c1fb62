"""An ablation study: what each variant costs and gives."""

from __future__ import annotations

from srprof.render.document import Column, Document, Section, Table
from srprof.training.record import MERGED_TOLERANCE, Ablation, Outcome

_COLUMNS = (
    Column("variant"),
    Column("params", "count"),
    Column("FLOPs G", "giga"),
    Column("peak MiB", "mib"),
    Column("training MiB", "mib"),
    Column("iterations", "count", spare=1),
    Column("PSNR dB", "fixed"),
    Column("L1", "fixed", decimals=5),
    Column("below bicubic's L1"),
)
#: Of the CSV, which has each variant's SPEC.
_NAMES = "variant model params flops_ntire peak training_peak iterations psnr_dB l1".split()


def document(ablation: Ablation) -> Document:
    """A line for bicubic enlargement and for each variant."""
    scores = ablation.bicubic.psnr, ablation.bicubic.l1
    rows = ((o.variant.name, o.variant.training.model, *_figures(o)) for o in ablation.outcomes)
    baseline = ("bicubic", *[None] * 6, *scores)
    main = Table(tuple(map(Column, _NAMES)), (baseline, *rows))
    return Document((_section(ablation),), ablation.to_dict, main=main)


def _section(ablation: Ablation) -> Section:
    study, bicubic = ablation.study, ablation.bicubic
    baseline = ("bicubic", *[None] * 5, bicubic.psnr, bicubic.l1, None)
    rows = (
        (o.variant.name, *_figures(o), "yes" if o.below_bicubic else "no")
        for o in ablation.outcomes
    )
    plan = ablation.outcomes[0].result.plan
    after = [
        f"Params, FLOPs and eager peak of the inference form at {study.input}; training: predicted "
        "peak of a step.",
        f"PSNR (RGB, {ablation.scale} pixels of border left out) and L1 at x{ablation.scale} on "
        f"{len(plan.data.validation)} images that were held out.",
    ]
    merged = (outcome.result.merged for outcome in ablation.outcomes)
    differences = [abs(found.difference) for found in merged if found is not None]
    if differences:
        after.append(
            f"Merging changed the PSNR before rounding by {max(differences):.1e} dB at most; "
            f"{MERGED_TOLERANCE:g} is allowed."
        )
    lines = (study.note,) if study.note else ()
    return Section(study.title, lines, Table(_COLUMNS, (baseline, *rows)), tuple(after))


def _figures(outcome: Outcome) -> tuple[float | None, ...]:
    cost, score, plan = outcome.cost, outcome.result.score, outcome.result.plan
    training = (plan.memory.peak, plan.config.iterations)
    return cost.params, cost.flops, cost.peak, *training, score.psnr, score.l1
