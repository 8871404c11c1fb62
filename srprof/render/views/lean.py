"""What a lean network saves, and the proof."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from math import isfinite

from srprof.codec import encode, pick
from srprof.leaning.comparison import Size
from srprof.leaning.levels import MEANING
from srprof.leaning.proof import Proof
from srprof.leaning.record import Savings
from srprof.render.charts import Series, bars, digits
from srprof.render.document import Chart, Column, Document, Section, Table
from srprof.render.figures import peak_looks
from srprof.words import MIB, mib_size, shape_text, tensors_text

_MEANING = MEANING | {
    "eager": "the network as it is",
    "tiles": "one overlapping tile after the other",
}


def document(savings: Savings, proof: Proof | None = None, emitted: str | None = None) -> Document:
    """Peaks after each pass, the proof if there is one, and the file that was written."""
    sections = [_peaks(savings)]
    sections += [] if proof is None else [_proof(proof)]
    sections += [] if emitted is None else [Section(f"Written to {emitted}")]
    return Document(tuple(sections), data=lambda: _data(savings, proof, emitted))


def _data(savings: Savings, proof: Proof | None, emitted: str | None) -> dict[str, object]:
    """Before, after, what each pass saves, and the proof; sizes in bytes."""
    record, stages, tiling = savings.before.record, savings.stages, savings.tiling
    tiles = {} if tiling is None else {"tiles": pick(tiling, "halo difference")}
    return {
        "schema": 1,
        "model": pick(record.model, "spec name"),
        "inputs": [pick(tensor, "shape dtype") for tensor in record.inputs],
        "level": savings.lean.level,
        "before": stages[0].peaks,
        "after": stages[-1].peaks,
        "passes": [
            {
                "name": stage.name,
                "peak": stage.peaks,
                "saves": earlier.peaks["eager"] - stage.peaks["eager"],
            }
            for earlier, stage in pairwise(stages)
        ],
        **({} if proof is None else _proof_data(proof)),
        "emitted": emitted,
        **tiles,
    }


def _proof_data(proof: Proof) -> dict[str, object]:
    timed = proof.timed
    ratios = timed and {**pick(timed, "size"), **pick(timed.ratios, "median q1 q3")}
    return {
        "max_relative_error": _finite(proof.error),
        "tolerance": 0.0 if proof.level == "exact" else proof.tolerance,
        **pick(proof, "identical holds"),
        "outputs": [
            pick(output, "image size identical") | {"error": _finite(output.error)}
            for output in proof.outputs
        ],
        "measured_on_cpu": encode(proof.measured),
        "time_ratio": timed and ratios and {**ratios, "pairs": timed.ratios.count},
    }


def _peaks(savings: Savings) -> Section:
    record, stages = savings.before.record, savings.stages
    columns = (
        Column("pass"),
        *(Column(f"{kind} MiB", "mib") for kind in stages[0].peaks),
        Column("saves MiB", "mib"),
        Column("what it does", long=True),
    )
    eager = [stage.peaks["eager"] for stage in stages]
    saved = (None, *(before - after for before, after in pairwise(eager)))
    rows = tuple(
        (stage.name, *stage.peaks.values(), saves, _MEANING[stage.name])
        for stage, saves in zip(stages, saved, strict=True)
    )
    share = 1 - eager[-1] / eager[0] if eager[0] else 0.0
    line = f"eager peak {mib_size(eager[0])}, lean {mib_size(eager[-1])}, {share:.0%} less"
    title = f"{record.model.name} at {tensors_text(record.inputs)}, level {savings.lean.level}"
    charts = (partial(_bars, savings),)
    return Section(title, (line,), Table(columns, rows), _tiles(savings), charts=charts)


def _bars(savings: Savings) -> Chart:
    """The peaks after each pass."""
    stages = savings.stages
    series = (
        Series(name, [digits(stage.peaks[name] / MIB) for stage in stages], color, hatch[:1])
        for name, (color, hatch) in peak_looks(stages[0].peaks).items()
    )
    caption = "Peaks after each pass and all before it."
    return bars("peak memory (MiB)", caption, [stage.name for stage in stages], *series)


def _tiles(savings: Savings) -> tuple[str, ...]:
    if (tiling := savings.tiling) is None:
        return ()
    same = "to the bit" if tiling.bit_equal else f"to {tiling.difference:.1e}"
    gave = f"random images gave in tiles what they give whole, {same}"
    return (f"Tiles have a halo of {tiling.halo} pixels; {gave}.",)


def _proof(proof: Proof) -> Section:
    sizes = ", ".join(dict.fromkeys(_size(o.size) for o in proof.outputs))
    images = " and ".join(dict.fromkeys(o.image for o in proof.outputs))
    differ = f"outputs differ by {proof.error:.1e} of the largest value at most"
    outcome = "every output is the same to the bit" if proof.identical else differ
    lines = [f"{outcome}: {images} images of {sizes}, on the CPU"]
    if not proof.holds:
        promise = "identical outputs" if proof.level == "exact" else f"at most {proof.tolerance:g}"
        lines.append(f"level {proof.level} promises {promise}: do not use it for this network")
    if proof.untaken:
        refused = ", ".join(map(_size, proof.untaken))
        lines.append(f"not compared at {refused}, which the network does not take")
    if proof.measured is not None:
        peaks = proof.measured
        lines.append(
            f"PyTorch's CPU allocator at {_size(peaks.size)}: {mib_size(peaks.before)} at most in "
            f"a run, lean {mib_size(peaks.after)}, scratch inside convolutions included"
        )
    if proof.timed is not None:
        ratios = proof.timed.ratios
        lines.append(
            f"time at {_size(proof.timed.size)}: {ratios.median:.3f} of the network's (median of "
            f"{ratios.count} pairs, quartiles {ratios.q1:.3f} to {ratios.q3:.3f})"
        )
    return Section("Proof", tuple(lines))


def _size(size: Size | None) -> str:
    return "the given shape" if size is None else shape_text(size)


def _finite(error: float) -> float | None:
    """JSON has no infinity."""
    return error if isfinite(error) else None
