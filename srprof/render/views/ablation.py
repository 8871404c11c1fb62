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
    Column("iterations", "count"),
    Column("PSNR dB", "fixed"),
    Column("L1", "fixed", decimals=5),
    Column("below bicubic's L1"),
)
#: Of the CSV, which has each variant's SPEC.
_NAMES = "variant model params flops_ntire peak training_peak iterations psnr_dB l1".split()


def document(ablation: Ablation) -> Document:
    """A line for bicubic enlargement and for each variant."""
    return Document((_section(ablation),), ablation.to_dict, main=_main(ablation))


def _main(ablation: Ablation) -> Table:
    baseline = ("bicubic", *[None] * 6, ablation.bicubic.psnr, ablation.bicubic.l1)
    rows = ((o.variant.name, o.variant.training.model, *_row(o)[1:-1]) for o in ablation.outcomes)
    return Table(tuple(map(Column, _NAMES)), (baseline, *rows))


def _section(ablation: Ablation) -> Section:
    study, bicubic = ablation.study, ablation.bicubic
    baseline = ("bicubic", *[None] * 5, bicubic.psnr, bicubic.l1, None)
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
        score.psnr,
        score.l1,
        "yes" if outcome.below_bicubic else "no",
    )
