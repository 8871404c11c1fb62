"""What a lean network saves, and the proof."""

from __future__ import annotations

from itertools import pairwise
from math import isfinite
from typing import Any

from srprof.leaning.comparison import Size
from srprof.leaning.levels import MEANING
from srprof.leaning.proof import Proof
from srprof.leaning.run import Savings
from srprof.render.document import Column, Document, Section, Table
from srprof.words import mib_size, shape_text

_MEANING = {
    "eager": "the network as it is",
    "tiles": "one overlapping tile after the other",
    **MEANING,
}


def document(savings: Savings, proof: Proof | None = None, emitted: str | None = None) -> Document:
    """Peaks after each pass, the proof if there is one, and the file that was written."""
    sections = [_peaks(savings)]
    sections += [] if proof is None else [_proof(proof)]
    sections += [] if emitted is None else [Section(f"Written to {emitted}")]
    return Document(tuple(sections), data=lambda: _data(savings, proof, emitted))


def _data(savings: Savings, proof: Proof | None, emitted: str | None) -> dict[str, Any]:
    """Before, after, what each pass saves, and the proof; sizes in bytes."""
    record, stages, tiling = savings.before.record, savings.stages, savings.tiling
    return {
        "schema": 1,
        "model": {"spec": record.model.spec, "name": record.model.name},
        "inputs": [{"shape": list(t.shape), "dtype": t.dtype} for t in record.inputs],
        "level": savings.made.level,
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
        **(
            {}
            if tiling is None
            else {"tiles": {"halo": tiling.halo, "difference": tiling.difference}}
        ),
    }


def _proof_data(proof: Proof) -> dict[str, Any]:
    peaks, timed = proof.measured, proof.timed
    return {
        "max_relative_error": _finite(proof.error),
        "tolerance": 0.0 if proof.level == "exact" else proof.tolerance,
        "identical": proof.identical,
        "holds": proof.holds,
        "outputs": [
            {
                "image": o.image,
                "size": o.size and list(o.size),
                "identical": o.identical,
                "error": _finite(o.error),
            }
            for o in proof.outputs
        ],
        "measured_on_cpu": peaks
        and {
            "size": peaks.size and list(peaks.size),
            "before": peaks.before,
            "after": peaks.after,
        },
        "time_ratio": timed
        and {
            "size": timed.size and list(timed.size),
            "median": timed.ratios.median,
            "q1": timed.ratios.q1,
            "q3": timed.ratios.q3,
            "pairs": timed.ratios.count,
        },
    }


def _peaks(savings: Savings) -> Section:
    columns = (
        Column("pass"),
        *(Column(f"{kind} MiB", "mib") for kind in savings.stages[0].peaks),
        Column("saves MiB", "mib"),
        Column("what it does"),
    )
    rows: list[tuple[object, ...]] = []
    earlier: int | None = None
    for stage in savings.stages:
        eager = stage.peaks["eager"]
        saved = None if earlier is None else earlier - eager
        rows.append((stage.name, *stage.peaks.values(), saved, _MEANING[stage.name]))
        earlier = eager
    record = savings.before.record
    before, after = (savings.stages[i].peaks["eager"] for i in (0, -1))
    share = 1 - after / before if before else 0.0
    line = f"eager peak {mib_size(before)}, lean {mib_size(after)}, {share:.0%} less"
    title = (
        f"{record.model.name} at {', '.join(map(str, record.inputs))}, level {savings.made.level}"
    )
    return Section(title, (line,), Table(columns, tuple(rows)), _tiles(savings))


def _tiles(savings: Savings) -> tuple[str, ...]:
    tiling = savings.tiling
    if tiling is None:
        return ()
    same = "to the bit" if tiling.bit_equal else f"to {tiling.difference:.1e}"
    return (
        f"Tiles have a halo of {tiling.halo} pixels; random images gave in tiles what they give "
        f"whole, {same}.",
    )


def _proof(proof: Proof) -> Section:
    sizes = ", ".join(dict.fromkeys(_size(o.size) for o in proof.outputs))
    images = " and ".join(dict.fromkeys(o.image for o in proof.outputs))
    if proof.identical:
        said = "every output is the same to the bit"
    else:
        said = f"outputs differ by {proof.error:.1e} of the largest value at most"
    lines = [f"{said}: {images} images of {sizes}, on the CPU"]
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
