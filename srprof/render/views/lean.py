"""What a lean network saves, and the proof."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from math import isfinite

from srprof.codec import encode, pick
from srprof.leaning.comparison import Size
from srprof.leaning.levels import MEANING
from srprof.leaning.proof import Proof
from srprof.leaning.record import Savings, Stage
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
    passes = ", ".join(savings.lean.passes)
    sections += [] if emitted is None else [Section(f"Written to {emitted}, made by {passes}")]
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
        **_device_data(savings),
        "before": _stage_data(stages[0]),
        "after": _stage_data(stages[-1]),
        **pick(savings, "bound gap"),
        "passes": [
            {
                "name": stage.name,
                "peak": stage.peaks,
                **_latency(stage),
                "saves": earlier.peaks["eager"] - stage.peaks["eager"],
            }
            for earlier, stage in pairwise(stages)
        ],
        **({} if proof is None else _proof_data(proof)),
        "emitted": emitted,
        **tiles,
    }


def _device_data(savings: Savings) -> dict[str, object]:
    """What the network was made for, if it was made for a device."""
    profile, form = savings.before.profile, savings.lean.form
    if profile is None:
        return {}
    return {
        "profile": profile.name,
        "objective": savings.objective,
        "backend": savings.lean.backend,
        "widths": {} if form is None else {str(n): up for n, up in form.widths.items() if up > n},
        "ended": list(savings.ended),
    }


def _stage_data(stage: Stage) -> dict[str, object]:
    return {**stage.peaks, **_latency(stage)}


def _latency(stage: Stage) -> dict[str, float]:
    return {} if stage.seconds is None else {"latency_ms": stage.seconds * 1e3}


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
        "measured_on_gpu": encode(proof.on_gpu),
        "time_ratio": timed and ratios and {**ratios, "pairs": timed.ratios.count},
    }


def _peaks(savings: Savings) -> Section:
    record, stages = savings.before.record, savings.stages
    profile = savings.before.profile
    times = () if profile is None else (Column("ms", "time"),)
    columns = (
        Column("pass"),
        *(Column(f"{kind} MiB", "mib") for kind in stages[0].peaks),
        Column("saves MiB", "mib"),
        *times,
        Column("what it does", long=True),
    )
    kind = "eager" if profile is None else "allocated"
    peaks = [stage.peaks[kind] for stage in stages]
    saved = (None, *(before - after for before, after in pairwise(peaks)))
    rows = tuple(
        (
            stage.name,
            *stage.peaks.values(),
            saves,
            *(_milliseconds(stage) for _ in times),
            _MEANING[stage.name],
        )
        for stage, saves in zip(stages, saved, strict=True)
    )
    share = 1 - peaks[-1] / peaks[0] if peaks[0] else 0.0
    line = f"{kind} peak {mib_size(peaks[0])}, lean {mib_size(peaks[-1])}, {share:.0%} less"
    title = f"{record.model.name} at {tensors_text(record.inputs)}, level {savings.lean.level}"
    notes = (*_tiles(savings), *_on_device(savings))
    lines = (line, *_predicted(savings), *_bound(savings))
    charts = (partial(_bars, savings),)
    return Section(title, lines, Table(columns, rows), notes, charts=charts)


def _bars(savings: Savings) -> Chart:
    """The peaks after each pass."""
    stages = savings.stages
    series = (
        Series(name, [digits(stage.peaks[name] / MIB) for stage in stages], color, hatch[:1])
        for name, (color, hatch) in peak_looks(stages[0].peaks).items()
    )
    caption = "Peaks after each pass and all before it."
    return bars("peak memory (MiB)", caption, [stage.name for stage in stages], *series)


def _milliseconds(stage: Stage) -> float | None:
    return None if stage.seconds is None else stage.seconds * 1e3


def _predicted(savings: Savings) -> tuple[str, ...]:
    """Time before and after, in a line."""
    profile, first, last = savings.before.profile, savings.stages[0], savings.stages[-1]
    if profile is None or not first.seconds or last.seconds is None:
        return ()
    times = f"{first.seconds * 1e3:.2f} ms, lean {last.seconds * 1e3:.2f}"
    share = last.seconds / first.seconds
    return (f"on {profile.name} {times}, {share:.2f} of the time, as predicted",)


def _on_device(savings: Savings) -> tuple[str, ...]:
    """What was done for the device, and what is not known of it."""
    profile, form = savings.before.profile, savings.lean.form
    if profile is None or form is None:
        return ()
    notes = []
    wider = [f"{n} as {total}" for n, total in form.widths.items() if total > n]
    if wider:
        notes.append(f"Channels filled up: {', '.join(wider)}.")
    if savings.ended:
        notes.append(f"They end before {'; '.join(savings.ended)}, which takes the network's own.")
    if not profile.table:
        notes.append(f"{profile.name} has no measured widths: which ones pay is the model's guess.")
    if savings.lean.backend == "inductor":
        notes.append("The times are of eager calls: what inductor adds is not known.")
    return (*notes, *_graph(savings))


def _graph(savings: Savings) -> tuple[str, ...]:
    """What a CUDA graph of the lean network takes, and what its pool keeps between calls."""
    after = savings.after
    if savings.lean.backend != "cudagraph" or after.latency is None:
        return ()
    pool = after.peaks["allocated"].nbytes - after.memory.net
    seconds = after.latency.graph
    time = "no graph can hold its calls" if seconds is None else f"{seconds * 1e3:.2f} ms"
    return (
        f"As a CUDA graph, predicted: {time}; its pool keeps {mib_size(pool)} between calls, with "
        "copies of the inputs, for each size that is captured.",
    )


def _bound(savings: Savings) -> list[str]:
    """What no order of the same calls is below."""
    bound, gap = savings.bound, savings.gap
    if bound is None or gap is None:
        return []
    if gap == 0:
        return ["no order of its calls is lower"]
    return [f"no order of its calls is below {mib_size(bound)}, which it is {gap:.1%} above"]


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
    if (gpu := proof.on_gpu) is not None:
        lines.append(
            f"on {gpu.name}: {gpu.before_ms:.2f} ms, lean {gpu.after_ms:.2f}; allocated "
            f"{mib_size(gpu.before_peak)}, lean {mib_size(gpu.after_peak)}"
        )
    return Section("Proof", tuple(lines))


def _size(size: Size | None) -> str:
    return "the given shape" if size is None else shape_text(size)


def _finite(error: float) -> float | None:
    """JSON has no infinity."""
    return error if isfinite(error) else None
