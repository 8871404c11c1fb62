"""A quick timing beside its prediction, as text and JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass

from srprof.codec import encode
from srprof.cost.roofline import Estimate
from srprof.measuring.base import Device, Latency
from srprof.measuring.statistics import DOUBTS, written
from srprof.records import Trace
from srprof.render.tables import Column, Section, Table
from srprof.render.text import plain_sections
from srprof.words import shape_text


@dataclass(frozen=True)
class Timing:
    """What was timed, where, and what was predicted; None where no profile was at hand."""

    trace: Trace
    device: Device
    latency: Latency
    predicted: Estimate | None

    @property
    def difference(self) -> float | None:
        """Predicted over measured median, less 1."""
        if self.predicted is None:
            return None
        return 1e3 * self.predicted.seconds / self.latency.summary.median - 1


def timing_text(found: Timing) -> str:
    """The median with its spread, and the prediction beside it, ending with a newline."""
    latency, summary = found.latency, found.latency.summary
    inputs = ", ".join(f"{shape_text(e.info.shape)} {e.info.dtype}" for e in found.trace.inputs)
    count = latency.flags.threads
    threads = f", {count} thread{'s' if count > 1 else ''}" if found.device.kind == "cpu" else ""
    spread = f"quartiles {written(summary.q1, 3)} to {written(summary.q3, 3)}"
    rows = [
        (
            "measured",
            written(summary.median, summary.figures),
            f"the median; {spread} (spread {summary.iqr / summary.median:.1%})",
        )
    ]
    after = [f"{name}: {DOUBTS[name]}" for name in summary.doubts]
    predicted, difference = found.predicted, found.difference
    if predicted is not None and difference is not None:
        doubt = f"give or take {1e3 * predicted.uncertainty:.3g}: {predicted.uncertainty_from}"
        rows.append(("predicted", f"{1e3 * predicted.seconds:.4g}", doubt))
        rows.append(("difference", f"{difference:+.1%}", f"by {predicted.device.title}"))
    else:
        after.append(_how_to_predict(found.device.kind, found.device.name))
    title = f"{found.trace.spec} at {inputs} on {found.device.name}{threads}"
    lines = (f"{summary.count} passes after {latency.warmup} of warm-up, by {latency.clock}",)
    columns = (Column("ms"), Column("value", "number"), Column("how"))
    return plain_sections([Section(title, lines, Table(columns, tuple(rows)), tuple(after))])


def _how_to_predict(kind: str, name: str) -> str:
    return (
        f"no prediction: srprof has no profile of {name}; make one with srprof calibrate --device "
        f"{kind} -o {kind}.toml, and give --profile {kind}.toml"
    )


def timing_json(found: Timing) -> str:
    """The samples, their summary and the prediction; times in milliseconds."""
    summary, predicted = found.latency.summary, found.predicted
    report = {
        "model": {"spec": found.trace.spec, "name": found.trace.name},
        "inputs": [
            {"shape": list(e.info.shape), "dtype": e.info.dtype} for e in found.trace.inputs
        ],
        "device": encode(found.device),
        "measured": {
            "median_ms": summary.median,
            "iqr_ms": summary.iqr,
            "doubts": list(summary.doubts),
            "warmup": found.latency.warmup,
            "clock": found.latency.clock,
            "flags": encode(found.latency.flags),
            "samples_ms": list(found.latency.samples_ms),
        },
        "predicted": None
        if predicted is None
        else {
            "device": predicted.device.name,
            "predicted_ms": 1e3 * predicted.seconds,
            "uncertainty_ms": 1e3 * predicted.uncertainty,
            "uncertainty_from": predicted.uncertainty_from,
            "difference": found.difference,
        },
    }
    return json.dumps(report, indent=1) + "\n"
