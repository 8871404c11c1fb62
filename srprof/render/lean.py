"""What a lean network saves, and the proof, as text and JSON."""

from __future__ import annotations

import json
from itertools import pairwise
from math import isfinite
from typing import Any

from srprof.leaning.comparison import Size
from srprof.leaning.levels import MEANING
from srprof.leaning.proof import Proof
from srprof.leaning.run import Savings
from srprof.render.tables import Column, Section, Table
from srprof.render.text import plain_sections
from srprof.words import mib, shape_text

_KINDS = ("planned", "eager", "allocated", "reserved")
_MEANING = {
    "eager": "the network as it is",
    "tiles": "one overlapping tile after the other",
    **MEANING,
}


def lean_text(savings: Savings, proof: Proof, emitted: str | None) -> str:
    """Peaks after each pass, and the proof, ending with a newline."""
    found = [_peaks(savings), _proof(proof)]
    if emitted is not None:
        found.append(Section(f"Written to {emitted}", ()))
    return plain_sections(found)


def lean_json(savings: Savings, proof: Proof, emitted: str | None) -> str:
    """One object: before, after, what each pass saves, and the proof."""
    stages = savings.stages
    passes = [
        {
            "name": stage.name,
            "peak": stage.peaks,
            "saves": earlier.peaks["eager"] - stage.peaks["eager"],
        }
        for earlier, stage in pairwise(stages)
    ]
    trace = savings.before.trace
    found: dict[str, Any] = {
        "schema": 1,
        "model": {"spec": trace.spec, "name": trace.name},
        "inputs": [{"shape": list(e.info.shape), "dtype": e.info.dtype} for e in trace.inputs],
        "level": savings.made.level,
        "before": stages[0].peaks,
        "after": stages[-1].peaks,
        "passes": passes,
        "max_relative_error": _finite(proof.error),
        "tolerance": 0.0 if savings.made.level == "exact" else proof.tolerance,
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
        "measured_on_cpu": None,
        "time_ratio": None,
        "emitted": emitted,
    }
    if proof.measured is not None:
        peaks = proof.measured
        found["measured_on_cpu"] = {
            "size": peaks.size and list(peaks.size),
            "before": peaks.before,
            "after": peaks.after,
        }
    if proof.timed is not None:
        ratios = proof.timed.ratios
        found["time_ratio"] = {
            "size": proof.timed.size and list(proof.timed.size),
            "median": ratios.median,
            "q1": ratios.q1,
            "q3": ratios.q3,
            "pairs": ratios.count,
        }
    if savings.tiling is not None:
        tiling = savings.tiling
        found["tiles"] = {"halo": tiling.halo, "difference": tiling.difference}
    return json.dumps(found, indent=1) + "\n"


def _peaks(savings: Savings) -> Section:
    columns = (
        Column("pass"),
        *(Column(f"{kind} MiB", "mib") for kind in _KINDS),
        Column("saves MiB", "mib"),
        Column("what it does"),
    )
    rows: list[tuple[object, ...]] = []
    earlier: int | None = None
    for stage in savings.stages:
        eager = stage.peaks["eager"]
        saved = None if earlier is None else earlier - eager
        peaks = (stage.peaks[kind] for kind in _KINDS)
        rows.append((stage.name, *peaks, saved, _MEANING[stage.name]))
        earlier = eager
    trace = savings.before.trace
    tensors = ", ".join(f"{shape_text(e.info.shape)} {e.info.dtype}" for e in trace.inputs)
    before, after = (savings.stages[i].peaks["eager"] for i in (0, -1))
    share = 1 - after / before if before else 0.0
    line = f"eager peak {mib(before)} MiB, lean {mib(after)} MiB, {share:.0%} less"
    title = f"{trace.name} at {tensors}, level {savings.made.level}"
    return Section(title, (line,), Table(columns, tuple(rows)), _tiles(savings))


def _tiles(savings: Savings) -> tuple[str, ...]:
    found = savings.tiling
    if found is None:
        return ()
    same = "to the bit" if found.bit_equal else f"to {found.difference:.1e}"
    return (
        f"Tiles have a halo of {found.halo} pixels; random images gave in tiles what they give "
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
        found = proof.measured
        lines.append(
            f"PyTorch's CPU allocator at {_size(found.size)}: {mib(found.before)} MiB at most in "
            f"a run, lean {mib(found.after)} MiB, scratch inside convolutions included"
        )
    if proof.timed is not None:
        ratios = proof.timed.ratios
        lines.append(
            f"time at {_size(proof.timed.size)}: {ratios.median:.3f} of the network's (median of "
            f"{ratios.count} pairs, quartiles {ratios.q1:.3f} to {ratios.q3:.3f})"
        )
    return Section("Proof", tuple(lines))


def _size(size: Size | None) -> str:
    return "the given shape" if size is None else f"{size[0]}x{size[1]}"


def _finite(error: float) -> float | None:
    """JSON has no infinity."""
    return error if isfinite(error) else None
